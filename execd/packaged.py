"""Files that come with execd: inside the wheel, or beside the package in a checkout."""

from __future__ import annotations

from pathlib import Path


def packaged_file(name: str) -> Path:
    """Find a file of `config/`: inside the wheel, or beside the package in a checkout."""
    package = Path(__file__).parent
    inside = package / "config" / name
    return inside if inside.exists() else package.parent / "config" / name


def packaged_page() -> Path | None:
    """Find the directory of the page: inside the wheel, or beside the package in a checkout; None where neither is."""
    package = Path(__file__).parent
    found = (folder for folder in (package / "web", package.parent / "web") if (folder / "index.html").exists())
    return next(found, None)
