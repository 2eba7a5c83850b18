"""The list of planted bugs, in one file for each part of execd. scripts/planted_bugs.py plants them.

A new one stands in the file of the part it breaks. Its line must stand there once: a test looks, so a change of the code
that moves the line says so at once.
"""

from __future__ import annotations

from planted.actors import ACTORS
from planted.bug import Bug
from planted.core import CORE
from planted.edges import EDGES
from planted.flows import FLOWS

BUGS: tuple[Bug, ...] = (*CORE, *ACTORS, *EDGES, *FLOWS)
