"""The wire vocabularies of the systems execd grew from, each a projection of the same journal (execd/http/framing.py)."""
