"""URLs as people and variables write them, made into those that are asked. Source: WHATWG URL, section 4.4, "URL parsing"."""

from __future__ import annotations

import re

_ODD = re.compile(r"[\x00-\x20\\]|/\.|/%2e|^https?:(?!//[^/])", re.IGNORECASE)
"""Most URLs have none of this, and are as they should be."""
_EDGES = "".join(map(chr, range(0x21)))
_UNSEEN = str.maketrans("", "", "\t\n\r")
_PARTS = re.compile(r"(https?):([^?#]*)(.*)", re.IGNORECASE | re.DOTALL)


def wire_url(text: str) -> str:
    """Give the URL without what browsers leave out: spaces around it, line ends in it, `\\` for `/`, and `.` and `..` in its
    path. What is no URL of http stays as it is."""
    if _ODD.search(text) is None:
        return text
    text = text.strip(_EDGES).translate(_UNSEEN)
    found = _PARTS.fullmatch(text)
    if found is None:
        return text
    authority, slash, path = found[2].replace("\\", "/").lstrip("/").partition("/")
    return f"{found[1]}://{authority}{_without_dots(slash + path)}{found[3]}"


def _without_dots(path: str) -> str:
    kept: list[str] = []
    segments = path.split("/")
    for place, segment in enumerate(segments):
        meant = segment.lower().replace("%2e", ".")
        if meant == ".." and len(kept) > 1:
            kept.pop()
        if meant not in {".", ".."}:
            kept.append(segment)
        elif place == len(segments) - 1:
            kept.append("")
    return "/".join(kept)
