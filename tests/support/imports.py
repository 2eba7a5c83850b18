"""What the tests of importers look at: a step by its id, and what was said of the rest."""

from __future__ import annotations

from typing import Any

from execd.core.formats.drafting import Imported


def step_of(imported: Imported, step_id: str) -> dict[str, Any]:
    return next(node for node in imported.config["nodes"] if node["id"] == step_id)


def remarks(imported: Imported) -> str:
    return "\n".join(f"{note.path}: {note.message}" for note in imported.notes)
