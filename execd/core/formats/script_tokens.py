"""JavaScript cut into tokens, statements and chains of calls: as much of it as reading test scripts takes.

It is no parser of the language. What it does not know makes a chain None, and whoever reads says so. Never runs anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

MAX_SCRIPT_CHARS = 200_000
MAX_NESTING = 40
"""Of brackets; all that recurses here does so on them."""
_TOKEN = re.compile(
    r"(?P<space>\s+|//[^\n]*|/\*.*?(?:\*/|\Z))"
    r"|(?P<string>\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*')"
    r"|(?P<template>`(?:[^`\\]|\\.)*`)"
    r"|(?P<number>0[xX][0-9a-fA-F]+|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)"
    r"|(?P<word>[A-Za-z_$][A-Za-z0-9_$]*)"
    r"|(?P<mark>===|!==|=>|==|!=|<=|>=|&&|\|\||\?\.|\+\+|--|[+\-*/%]=|.)",
    re.DOTALL,
)
_REGEX = re.compile(r"/((?:[^/\\\n\[]|\\.|\[(?:[^\]\\\n]|\\.)*\])+)/([a-z]*)")
_OPEN = {"(": ")", "[": "]", "{": "}"}
_CLOSED = frozenset(_OPEN.values())
_GOES_ON = frozenset(
    {"=", "=>", ",", ".", "?.", "&&", "||", "+", "-", "*", "(", "[", "{", ":", "?", "===", "==", "!==", "!=", "<", ">"}
    | {"<=", ">=", "!"}
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "v": "\v", "0": "\0", "\n": ""}
_ESCAPE = re.compile(r"\\(?:u\{([0-9a-fA-F]{1,6})\}|u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)


class Token(msgspec.Struct, frozen=True):
    """One token; spaces and comments are none."""

    kind: str
    """string, template, number, word, mark or regex."""
    text: str
    """As written; of a string and a regex what it says."""
    starts_line: bool


Tokens = Sequence[Token]
Link = tuple[str, Any]
"""A part of a chain: ("name", word), ("index", tokens) or ("call", [tokens of each argument])."""


def read_tokens(script: str) -> list[Token] | None:
    """Cut a script; None if it is too long or too deep to be looked at."""
    if len(script) > MAX_SCRIPT_CHARS:
        return None
    tokens: list[Token] = []
    at, starts_line, depth = 0, True, 0
    while at < len(script):
        regex = _REGEX.match(script, at) if script[at] == "/" and _may_be_regex(tokens) else None
        found = regex if regex and script[at + 1] not in "/*" else _TOKEN.match(script, at)
        assert found is not None
        if found.lastgroup == "space":
            starts_line = starts_line or "\n" in found.group()
        else:
            tokens.append(_token(found, starts_line=starts_line))
            starts_line = False
            depth += (tokens[-1].text in _OPEN) - (tokens[-1].text in _CLOSED) if tokens[-1].kind == "mark" else 0
        if depth > MAX_NESTING:
            return None
        at = found.end()
    return tokens


def _may_be_regex(tokens: Tokens) -> bool:
    return not tokens or (tokens[-1].kind == "mark" and tokens[-1].text not in {")", "]", "}"})


def _token(found: re.Match[str], *, starts_line: bool) -> Token:
    if found.re is _REGEX:
        text = found[1].replace("\\/", "/")
        return Token(kind="regex", text=f"(?i){text}" if "i" in found[2] else text, starts_line=starts_line)
    kind, text = found.lastgroup or "mark", found.group()
    if kind == "string" or (kind == "template" and "${" not in text):
        return Token(kind="string", text=_ESCAPE.sub(_unescape, text[1:-1]), starts_line=starts_line)
    return Token(kind=kind, text=text, starts_line=starts_line)


def _unescape(found: re.Match[str]) -> str:
    point = found[1] or found[2] or found[3]
    if not point:
        return _ESCAPES.get(found[4], found[4])
    number = int(point, 16)
    return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else "\ufffd"


def find_close(tokens: Tokens, start: int) -> int:
    """Give where the bracket that opens at `start` closes; the end if never."""
    depth = 0
    for index in range(start, len(tokens)):
        if tokens[index].kind == "mark":
            depth += (tokens[index].text in _OPEN) - (tokens[index].text in _CLOSED)
            if depth <= 0:
                return index
    return len(tokens)


def split_statements(tokens: Tokens) -> Iterator[Tokens]:
    """Part a block into statements, at semicolons and at the ends of lines where JavaScript would."""
    start, depth = 0, 0
    for index, token in enumerate(tokens):
        is_mark = token.kind == "mark"
        if depth == 0 and index > start and token.starts_line and token.kind == "word":
            previous = tokens[index - 1]
            if previous.kind != "mark" or previous.text not in _GOES_ON:
                yield tokens[start:index]
                start = index
        if is_mark:
            depth += (token.text in _OPEN) - (token.text in _CLOSED)
            if depth == 0 and token.text == ";":
                yield tokens[start:index]
                start = index + 1
    if start < len(tokens):
        yield tokens[start:]


def split_at(tokens: Tokens, mark: str) -> list[Tokens]:
    """Part tokens at a mark that stands in no bracket."""
    parts: list[Tokens] = []
    start, depth = 0, 0
    for index, token in enumerate(tokens):
        if token.kind != "mark":
            continue
        if depth == 0 and token.text == mark:
            parts.append(tokens[start:index])
            start = index + 1
        depth += (token.text in _OPEN) - (token.text in _CLOSED)
    return [*parts, tokens[start:]]


def read_chain(tokens: Tokens) -> list[Link] | None:
    """Read `a.b[0].c(x, y)`; None if it is anything else."""
    if not tokens or tokens[0].kind != "word":
        return None
    links: list[Link] = [("name", tokens[0].text)]
    index = 1
    while index < len(tokens):
        mark = tokens[index].text if tokens[index].kind == "mark" else ""
        if mark in {".", "?."} and index + 1 < len(tokens) and tokens[index + 1].kind == "word":
            links.append(("name", tokens[index + 1].text))
            index += 2
            continue
        if mark not in {"(", "["}:
            return None
        end = find_close(tokens, index)
        inside = tokens[index + 1 : end]
        links.append(("call", split_at(inside, ",") if inside else []) if mark == "(" else ("index", inside))
        index = end + 1
    return links


class NoLiteralError(Exception):
    """The tokens are no value that JSON has."""


def read_literal(tokens: Tokens) -> Any:
    """Give the value of a literal: a text, a number, a word such as true, a list or an object of those.

    Raises:
        NoLiteralError: it is none.
    """
    if len(tokens) == 1:
        return _read_scalar(tokens[0])
    if len(tokens) == 2 and tokens[0].text == "-" and tokens[1].kind == "number":
        return -_read_number(tokens[1].text)
    if not tokens or find_close(tokens, 0) != len(tokens) - 1 or tokens[0].kind != "mark":
        raise NoLiteralError
    items = [item for item in split_at(tokens[1:-1], ",") if item]
    if tokens[0].text == "[":
        return [read_literal(item) for item in items]
    if tokens[0].text != "{":
        raise NoLiteralError
    return dict(_read_pair(item) for item in items)


def _read_pair(tokens: Tokens) -> tuple[str, Any]:
    if len(tokens) < 3 or tokens[1].text != ":" or tokens[0].kind not in {"word", "string", "number"}:
        raise NoLiteralError
    return tokens[0].text, read_literal(tokens[2:])


def _read_scalar(token: Token) -> Any:
    if token.kind == "string":
        return token.text
    if token.kind == "number":
        return _read_number(token.text)
    words = {"true": True, "false": False, "null": None, "undefined": None}
    if token.kind == "word" and token.text in words:
        return words[token.text]
    raise NoLiteralError


def _read_number(text: str) -> int | float:
    if text[:2] in {"0x", "0X"}:
        return int(text, 16)
    number = float(text)
    if not text.isdigit():
        return number if abs(number) < 1e300 else 0
    return int(text[:20])
