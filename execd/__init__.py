"""execd runs code in a sandbox and lets people watch it live; the journal comes first."""

__version__ = "0.1.0"
