"""Blotting out secrets in what came back: a server may quote what it was sent.

A secret is found in the ways texts are usually quoted: as it is, in a URL, and inside JSON. What somebody encodes in yet
another way is not found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, quote_plus

import msgspec

BLOT = "***"
MIN_SECRET_CHARS = 4
"""A shorter text is nobody's key, and blotting it out would spoil everything else."""


class Mask:
    """What must not be seen. Immutable."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets if len(secret) >= MIN_SECRET_CHARS for form in _forms_of(secret)}
        self._forms = tuple(sorted(forms, key=len, reverse=True))
        self._texts = re.compile("|".join(map(re.escape, self._forms))) if forms else None
        self._bytes = None if self._texts is None else re.compile(self._texts.pattern.encode(errors="replace"))

    def text(self, text: str) -> str:
        """Give a text without them."""
        return text if self._texts is None else self._texts.sub(BLOT, text)

    def head(self, text: str) -> str:
        """Give the head of a text whose rest is missing; what may be the beginning of a secret goes with the rest."""
        masked = self.text(text)
        return masked[: len(masked) - self.count_held(masked)]

    def may_be_in(self, json_text: str) -> bool:
        """Whether a value read from this text may hold one: escapes can spell anything. Looking costs a tenth of masking."""
        return self._texts is not None and ("\\u" in json_text or self._texts.search(json_text) is not None)

    def data(self, data: bytes) -> bytes:
        """Give bytes without them."""
        return data if self._bytes is None else self._bytes.sub(BLOT.encode(), data)

    def value(self, value: Any) -> Any:
        """Give a JSON value without them, in keys too. Its depth is the caller's to bound."""
        if self._texts is None:
            return value
        match value:
            case str():
                return self.text(value)
            case list() | tuple():
                return [self.value(item) for item in value]
            case dict():
                return {self.text(key): self.value(item) for key, item in value.items()}
        return value

    def count_held(self, text: str) -> int:
        """Say how many characters at its end may be the beginning of a secret."""
        longest = len(self._forms[0]) - 1 if self._forms else 0
        for count in range(min(longest, len(text)), 0, -1):
            if any(form.startswith(text[-count:]) for form in self._forms):
                return count
        return 0


class StreamMask:
    """Masks a text that comes piece by piece; what may be the beginning of a secret waits for the next piece."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._held = ""

    def feed(self, text: str) -> str:
        """Take a piece; give what can be told now."""
        text = self._mask.text(self._held + text)
        count = self._mask.count_held(text)
        self._held = text[len(text) - count :]
        return text[: len(text) - count]

    def finish(self) -> str:
        """Give what was held back and turned out to be no secret."""
        held, self._held = self._held, ""
        return held


def _forms_of(secret: str) -> set[str]:
    shown = secret.encode(errors="replace").decode()
    quoted = msgspec.json.encode(shown).decode()[1:-1]
    return {shown, quoted, quoted.replace("/", "\\/"), quote(shown, safe=""), quote_plus(shown)}
