"""The version of execd, for everyone who has to say it."""

VERSION = "0.1.0"
