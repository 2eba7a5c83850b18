"""execd runs code in a sandbox and lets people watch it live; the journal comes first.

`execd.open_engine` and `execd.Settings` are all an embedding program needs; they are imported when first asked for, so that
`import execd` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from execd.version import VERSION

if TYPE_CHECKING:
    from execd.embed import open_engine
    from execd.settings import Settings

__all__ = ["Settings", "__version__", "open_engine"]
__version__ = VERSION


def __getattr__(name: str) -> Any:
    """Give a public name, importing it now."""
    if name == "open_engine":
        from execd.embed import open_engine

        return open_engine
    if name == "Settings":
        from execd.settings import Settings

        return Settings
    raise AttributeError(name)
