"""How one part of the description points to a schema of another."""

from __future__ import annotations

REF = "#/components/schemas/{name}"


def ref(name: str) -> dict[str, str]:
    """Point to a schema."""
    return {"$ref": REF.format(name=name)}
