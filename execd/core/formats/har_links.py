"""Values that an answer gave and a later request sent: what makes a recording a flow.

A value is linked if it is long enough to be no accident and if exactly one place of all answers before has it. What stands
in two places is left as it is: a wrong reference is worse than a stale value.
"""

from __future__ import annotations

import re
from typing import Any

from execd.core.formats.drafting import map_texts
from execd.core.formats.placeholders import PATH, write_response
from execd.core.formats.postman_scripts import join_path
from execd.core.formats.urls import join_query, split_query

MIN_LINK_CHARS = 6
"""Of a text or a number; `12` or `true` is in half of all answers."""
MAX_LINK_CHARS = 8192
MAX_VALUES = 200_000
"""That are looked at in all answers together."""


class Links:
    """What the answers so far gave. Owned by one import."""

    def __init__(self) -> None:
        self._references: dict[str, str | None] = {}
        """Value -> reference; None where several places have it."""
        self._left = MAX_VALUES
        self.count = 0

    def keep(self, step_id: str, body: Any) -> None:
        """Remember what an answer gave. Its depth is bounded by whoever read it."""
        self._keep(step_id, body, ())

    def _keep(self, step_id: str, value: Any, parts: tuple[str | int, ...]) -> None:
        self._left -= 1
        if self._left < 0:
            return
        match value:
            case dict():
                for key, inner in value.items():
                    self._keep(step_id, inner, (*parts, str(key)))
            case list():
                for index, inner in enumerate(value):
                    self._keep(step_id, inner, (*parts, index))
            case str() | int() if not isinstance(value, bool):
                self._remember(step_id, str(value), join_path(parts))

    def _remember(self, step_id: str, text: str, path: str) -> None:
        if not MIN_LINK_CHARS <= len(text) <= MAX_LINK_CHARS or not PATH.fullmatch(path):
            return
        reference = write_response(step_id, path)
        self._references[text] = reference if self._references.get(text, reference) == reference else None

    def link(self, text: str) -> str:
        """Give the reference to a value, or the value."""
        reference = self._references.get(text)
        if reference is None:
            return text
        self.count += 1
        return reference

    def link_header(self, value: str) -> str:
        """Link a header's value, or what comes after its scheme: `Bearer …`."""
        scheme, space, rest = value.partition(" ")
        return f"{scheme} {self.link(rest)}" if space and " " not in rest else self.link(value)

    def link_url(self, url: str) -> str:
        """Link whole segments of the path and whole values of the query."""
        head, pairs, fragment = split_query(url)
        origin = re.match(r"[a-z]+://[^/]*", head)
        start = origin.end() if origin else 0
        path = "/".join(self.link(segment) for segment in head[start:].split("/"))
        linked = []
        for pair in pairs:
            name, equals, value = pair.partition("=")
            linked.append(f"{name}={self.link(value)}" if equals else pair)
        return join_query(head[:start] + path, linked) + fragment

    def link_body(self, body: Any) -> Any:
        """Link whole values of an object's or a form's fields."""
        if isinstance(body, str):
            return "&".join(self._link_pair(pair) for pair in body.split("&")) if "=" in body else body
        return map_texts(body, self.link)

    def _link_pair(self, pair: str) -> str:
        name, equals, value = pair.partition("=")
        return f"{name}={self.link(value)}" if equals else pair
