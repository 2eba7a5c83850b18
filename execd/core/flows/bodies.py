"""Bodies of requests: JSON, forms and multipart, as axios writes them. What names a body's type decides how it is written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote_plus

import msgspec

from execd.core.flows.js_values import is_truthy, js_json, js_text

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})
"""Only these send a body; of the others it is dropped."""


class Encoded(msgspec.Struct, frozen=True):
    """A body as it is sent."""

    data: bytes | None
    content_type: str | None
    """What the header has to say; None, or empty: nothing."""


def encode_body(method: str, body: Any, content_type: str | None) -> Encoded:
    """Write a body.

    Args:
        body: any JSON value; what JavaScript takes for false is not sent.
        content_type: as the step's headers have it; None where they have none, empty where they take it back.
    """
    if method.upper() not in BODY_METHODS:
        return Encoded(None, content_type)
    if not is_truthy(body):
        return Encoded(None, FORM if content_type is None else content_type)
    if content_type is None:
        content_type = FORM if isinstance(body, str) else JSON
    if isinstance(body, str):
        return Encoded(_encode_text(body, content_type), content_type)
    is_table = isinstance(body, Mapping | list | tuple)
    if is_table and FORM in content_type:
        return Encoded(encode_form(body), content_type)
    if is_table and MULTIPART in content_type:
        return _encode_multipart(body)
    return Encoded(_to_json(body), content_type)


def _encode_text(text: str, content_type: str) -> bytes:
    """Text is sent as it is; under a JSON type, text that is no JSON becomes a JSON string."""
    if JSON not in content_type:
        return text.encode(errors="replace")
    trimmed = text.strip()
    try:
        msgspec.json.decode(trimmed)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return _to_json(text)
    return trimmed.encode()


def _to_json(value: Any) -> bytes:
    """Lone surrogates, which a prompt's answer may have, are replaced: no UTF-8 has them."""
    try:
        return js_json(value)
    except UnicodeEncodeError:
        return js_json(_cleaned(value))


def _cleaned(value: Any) -> Any:
    match value:
        case str():
            return value.encode(errors="replace").decode()
        case Mapping():
            return {_cleaned(key): _cleaned(item) for key, item in value.items()}
        case list() | tuple():
            return [_cleaned(item) for item in value]
    return value


def encode_form(table: Any) -> bytes:
    """Write `a=1&b%5Bc%5D=2`: spaces as `+`, null left out."""
    return "&".join(f"{form_text(name)}={form_text(text)}" for name, text in _pairs(table)).encode()


def form_text(text: str) -> str:
    """Encode a name or value of a form. Source: WHATWG URL, application/x-www-form-urlencoded percent-encode set."""
    return quote_plus(text, safe="*", errors="replace").replace("~", "%7E")


def _pairs(table: Any) -> Iterator[tuple[str, str]]:
    """Give every leaf by its name: `a[b]` in objects, `c[]` of a list of plain values, `c[0][d]` of any other list."""
    rows = table.items() if isinstance(table, Mapping) else ((str(index), item) for index, item in enumerate(table))
    for key, value in rows:
        name = key.strip()
        if isinstance(value, list | tuple) and not any(isinstance(item, Mapping | list | tuple) for item in value):
            bare = name.removesuffix("[]")
            yield from ((f"{bare}[]", js_text(item)) for item in value if item is not None)
        elif name.endswith("{}") and isinstance(value, Mapping | list | tuple):
            yield name, _to_json(value).decode()
        else:
            yield from _inner_pairs(name, value)


def _inner_pairs(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if value is None:
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _inner_pairs(f"{name}[{key.strip().removesuffix('[]')}]", item)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _inner_pairs(f"{name}[{index}]", item)
    else:
        yield name, js_text(value)


def _encode_multipart(table: Any) -> Encoded:
    """The boundary is made of the content, so that it is the same each time and never part of it by chance."""
    parts = b"".join(_part(name, text) for name, text in _pairs(table))
    boundary = f"----execd{hashlib.sha256(parts).hexdigest()[:32]}"
    data = b"".join(b"--" + boundary.encode() + b"\r\n" + _part(name, text) + b"\r\n" for name, text in _pairs(table))
    return Encoded(data + f"--{boundary}--\r\n".encode(), f"{MULTIPART}; boundary={boundary}")


def _part(name: str, text: str) -> bytes:
    """Source: WHATWG HTML, multipart form data: quotes and line ends of a name are percent-encoded."""
    shown = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    return f'Content-Disposition: form-data; name="{shown}"\r\n\r\n{text}'.encode(errors="replace")
