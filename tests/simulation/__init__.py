"""A deterministic simulation of execd: one seed is one world, with its crashes, and reruns identically."""
