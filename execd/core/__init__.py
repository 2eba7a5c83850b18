"""Everything that decides, and nothing that does: pure functions and records, no I/O, no clock, no randomness."""
