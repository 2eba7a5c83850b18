"""Hiding secret-looking values by their names, where a config asks for it (`maskSecrets`). Responses' bodies stay as they
are, because later steps read them; declared secrets are hidden everywhere, by their value (core/masking.py)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from execd.core.flows.js_values import js_text
from execd.core.masking import BLOT

_SECRET_NAME = re.compile(
    r"authorization|cookie|passw|secret|token|api[-_]?key|credential|private[-_]?key|access[-_]?key",
    re.IGNORECASE,
)
_QUERY = re.compile(r"(?<=[?&])([^=&#]+)=([^&#]*)")


def looks_secret(name: str) -> bool:
    """Whether what has this name should not be seen."""
    return _SECRET_NAME.search(name) is not None


def hide_named(value: Any) -> Any:
    """Hide every value in objects whose name looks secret."""
    match value:
        case Mapping():
            return {key: BLOT if looks_secret(key) and item else hide_named(item) for key, item in value.items()}
        case list() | tuple():
            return [hide_named(item) for item in value]
    return value


def hide_in_url(url: str) -> str:
    """Hide parameters whose name looks secret, and a password."""
    url = re.sub(r"(?<=://)([^/?#@:]*):[^/?#@]*@", rf"\1:{BLOT}@", url)
    return _QUERY.sub(lambda found: f"{found[1]}={BLOT}" if looks_secret(found[1]) else found[0], url)


def hide_in_request(request: Mapping[str, Any]) -> dict[str, Any]:
    """Hide what looks secret in a request as it is shown."""
    shown = {name: hide_named(value) for name, value in request.items()}
    return shown | {"url": hide_in_url(str(request.get("url", "")))}


def hide_substitution(record: Mapping[str, Any], *, url: str = "") -> dict[str, Any]:
    """Hide what was inserted if the placeholder, or the place it stands in, has such a name.

    Args:
        url: with what is hidden in it; what was inserted there and is not to be seen any more is hidden here too.
    """
    is_secret = looks_secret(str(record["original"])) or looks_secret(str(record["path"]))
    is_gone = record["path"] == "url" and js_text(record["value"]) not in url
    return {**record, "value": BLOT} if is_secret or is_gone else dict(record)
