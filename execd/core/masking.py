"""Blotting out secrets in what came back: a server may quote what it was sent, and a program print what it was given.

A secret is found in the ways texts are usually quoted: as it is, in a URL, inside JSON, and in base64 wherever it begins
in it. What somebody encodes in yet another way is not found. Where two secrets overlap, all that belongs to either goes.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, AnyStr, Generic
from urllib.parse import quote, quote_plus

import msgspec

BLOT = "***"
MIN_SECRET_CHARS = 4
"""A shorter text is nobody's key, and blotting it out would spoil everything else."""
_HEAD_CHARS = 32
"""Of a form, what is searched for; the rest is compared where that is found, so that a long key makes no long pattern."""
_LINE_CHARS = (76, 64)
"""Where base64 is broken into lines: by base64(1) and MIME, and by PEM."""
_NUMBER = re.compile(r"-?[0-9.]+(e[+-]?[0-9]+)?", re.IGNORECASE)


class Finder(Generic[AnyStr]):
    """Finds secrets in texts or in bytes. Immutable.

    Args:
        forms: what to find, each at least `MIN_SECRET_CHARS` long; at least one.
        blot: what is put in its place.
    """

    def __init__(self, forms: Iterable[AnyStr], *, blot: AnyStr) -> None:
        self._forms: tuple[AnyStr, ...] = tuple(sorted(forms, key=len, reverse=True))
        self.blot: AnyStr = blot
        heads = sorted({re.escape(form[:_HEAD_CHARS]) for form in self._forms}, key=len, reverse=True)
        self._heads: re.Pattern[AnyStr] = re.compile((b"|" if isinstance(blot, bytes) else "|").join(heads))

    def may_be_in(self, text: AnyStr) -> bool:
        """Whether it is worth while to look closer; most texts hold none, and this is a search of C alone."""
        return self._heads.search(text) is not None

    def is_in(self, text: AnyStr) -> bool:
        """Whether one is in it."""
        return next(self.spans(text), None) is not None

    def spans(self, text: AnyStr, *, covered: int = 0, limit: int | None = None) -> Iterator[tuple[int, int]]:
        """Give what is to be blotted out, in order: where it begins and ends, overlapping ones joined.

        Args:
            covered: how much of the text's beginning belongs to one that began before it; such a span begins at -1.
            limit: only what begins before it.
        """
        begin, end, place = -1, covered, 0
        while (found := self._heads.search(text, place)) is not None and (limit is None or found.start() < limit):
            start = found.start()
            place = start + 1
            length = next((len(form) for form in self._forms if text.startswith(form, start)), 0)
            if not length:
                continue
            if start >= end:
                if end:
                    yield begin, end
                begin = start
            end = max(end, start + length)
        if end:
            yield begin, end

    def count_open(self, text: AnyStr) -> int:
        """Say how many characters at its end may be the beginning of one."""
        return max(_count_open(text[1 - len(form) :], form) for form in self._forms)


def _count_open(tail: AnyStr, form: AnyStr) -> int:
    head = form[:MIN_SECRET_CHARS]
    place = tail.find(head)
    while place >= 0:
        if form.startswith(tail[place:]):
            return len(tail) - place
        place = tail.find(head, place + 1)
    return next((count for count in (3, 2, 1) if tail[-count:] == form[:count]), 0)


class PieceMask(Generic[AnyStr]):
    """Masks what comes piece by piece; what may be the beginning of a secret waits for the next piece.

    However it is cut, what is given in the end is the same. Less than the longest secret is held. One stream each.
    """

    def __init__(self, finder: Finder[AnyStr]) -> None:
        self._finder: Finder[AnyStr] = finder
        self._held: AnyStr = finder.blot[:0]
        self._covered = 0
        """How much of what is held belongs to a secret whose blot has been given."""

    def feed(self, piece: AnyStr) -> AnyStr:
        """Take a piece; give what can be told now."""
        self._held += piece
        return self._take(len(self._held) - self._finder.count_open(self._held))

    def finish(self) -> AnyStr:
        """Give what was held back and turned out to be no secret."""
        return self._take(len(self._held))

    def cut(self) -> int:
        """End it where the rest is missing: half a secret is none of anybody's business.

        Returns:
            How much was held back and goes with the rest.
        """
        count = max(0, len(self._held) - self._covered)
        self._held, self._covered = self._held[:0], 0
        return count

    def _take(self, limit: int) -> AnyStr:
        text, place = self._held, 0
        parts: list[AnyStr] = []
        for begin, end in self._finder.spans(text, covered=self._covered, limit=limit):
            if begin >= 0:
                parts += (text[place:begin], self._finder.blot)
            place = end
        parts.append(text[place:limit])
        self._held, self._covered = text[limit:], max(0, place - limit)
        return text[:0].join(parts)


class Mask:
    """What must not be seen. Immutable."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets if len(secret) >= MIN_SECRET_CHARS for form in _forms_of(secret)}
        self.texts = Finder(forms, blot=BLOT) if forms else None
        self.bytes = Finder({form.encode() for form in forms}, blot=BLOT.encode()) if forms else None
        self._has_numbers = any(_NUMBER.fullmatch(form) for form in forms)

    def text(self, text: str) -> str:
        """Give a text without them."""
        return text if self.texts is None else _masked(text, self.texts)

    def head(self, text: str) -> str:
        """Give the head of a text whose rest is missing; what may be the beginning of a secret goes with the rest."""
        return text if self.texts is None else PieceMask(self.texts).feed(text)

    def message(self, text: str) -> str:
        """Give a message without them, which may have been cut anywhere: what begins like one at its end goes too."""
        masked = self.text(text)
        count = 0 if self.texts is None else self.texts.count_open(masked)
        return masked if count < MIN_SECRET_CHARS else f"{masked[:-count]}…"

    def may_be_in(self, json_text: str) -> bool:
        """Whether a value read from this text may hold one: escapes can spell anything. Looking costs a tenth of masking."""
        return self.texts is not None and ("\\u" in json_text or self.texts.is_in(json_text))

    def data(self, data: bytes) -> bytes:
        """Give bytes without them."""
        return data if self.bytes is None else _masked(data, self.bytes)

    def value(self, value: Any) -> Any:
        """Give a JSON value without them, in keys and numbers too. Its depth is the caller's to bound."""
        if self.texts is None:
            return value
        match value:
            case str():
                return self.text(value)
            case list() | tuple():
                return [self.value(item) for item in value]
            case dict():
                return self._table(value)
            case int() | float() if self._has_numbers and not isinstance(value, bool):
                return BLOT if self.texts.is_in(str(value)) else value
        return value

    def _table(self, table: dict[str, Any]) -> dict[str, Any]:
        """Keys that look alike when they are masked are told apart, so that no value is lost."""
        masked: dict[str, Any] = {}
        for key, item in table.items():
            name = shown = self.text(key)
            while shown in masked:
                shown = f"{name} ({len(masked) + 1})"
            masked[shown] = self.value(item)
        return masked


class StreamMask:
    """Masks a text that comes piece by piece."""

    def __init__(self, mask: Mask) -> None:
        self._pieces = None if mask.texts is None else PieceMask(mask.texts)

    def feed(self, text: str) -> str:
        """Take a piece; give what can be told now."""
        return text if self._pieces is None else self._pieces.feed(text)

    def finish(self) -> str:
        """Give what was held back and turned out to be no secret."""
        return "" if self._pieces is None else self._pieces.finish()


def _masked(text: AnyStr, finder: Finder[AnyStr]) -> AnyStr:
    if not finder.may_be_in(text):
        return text
    pieces = PieceMask(finder)
    return pieces.feed(text) + pieces.finish()


def _forms_of(secret: str) -> set[str]:
    shown = secret.encode(errors="replace").decode()
    in_json = {msgspec.json.encode(shown).decode()[1:-1], json.dumps(shown)[1:-1]}
    in_url = {quote(shown, safe=""), quote(shown), quote_plus(shown), quote(shown, safe="!'()*~")}
    found = {shown, *in_json, *(text.replace("/", "\\/") for text in in_json), *in_url, *_base64_forms(shown.encode())}
    return {form for form in found if len(form) >= MIN_SECRET_CHARS}


def _base64_forms(data: bytes) -> Iterator[str]:
    """Give it whole, in lines, and as it stands in the base64 of something longer: that has three ways to begin, and the
    characters at both ends belong to the neighbours too."""
    for altchars in (None, b"-_"):
        whole = base64.b64encode(data, altchars).decode()
        yield whole
        yield whole.rstrip("=")
        for before in (0, 1, 2):
            first, last = -(-8 * before // 6), 8 * (before + len(data)) // 6
            yield base64.b64encode(bytes(before) + data, altchars).decode()[first:last]
    whole = base64.b64encode(data).decode()
    for width in _LINE_CHARS:
        if len(whole) > width:
            yield "\n".join(whole[place : place + width] for place in range(0, len(whole), width))
