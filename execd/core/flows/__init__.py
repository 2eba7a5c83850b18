"""HTTP flows: lists of requests with prompts, conditions and checks, in the shape FlowSphere gave them. Pure.

A config is checked by `validator`, compiled once by `compiling` to a chain of nodes, and each step then begins and is
concluded without looking at the config again. Source of every quirk: the behaviour of FlowSphere 0.2.0.
"""
