"""Chaos on the real thing: the real server on a real file with real sandboxes, broken on purpose, and a checker from outside."""
