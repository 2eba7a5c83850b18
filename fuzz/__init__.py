"""A real server, and right requests with something wrong in them, at every door; `python -m fuzz` writes docs/fuzz.md."""
