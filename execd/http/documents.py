"""Bodies that people also write by hand: JSON, or YAML by their `Content-Type`; and how a definition is written out."""

from __future__ import annotations

import re

import trio
from quart import Request, Response

from execd.core.codec import encode_json
from execd.core.errors import FieldFault
from execd.core.yaml_text import parse_yaml, write_yaml
from execd.http.answers import JSON_TYPE
from execd.http.config import HttpConfig
from execd.http.problems import MediaTypeError
from execd.http.schemas import check_length, decode_json

YAML_TYPE = "application/yaml"
"""RFC 9512; the names it deprecates are taken too."""
_YAML_TYPES = frozenset({YAML_TYPE, "application/x-yaml", "text/yaml", "text/x-yaml"})
_ACCEPTED = "application/json, application/yaml"


async def read_document(request: Request, config: HttpConfig) -> object:
    """Read a request's body as JSON or YAML. YAML is read in a thread: a large one takes half a second.

    Raises:
        MediaTypeError: it says that it is something else.
        PayloadTooLargeError: it is over the limit, which for YAML is lower.
        InvalidRequestError: it cannot be read.
    """
    return (await read_document_text(request, config))[0]


async def read_document_text(request: Request, config: HttpConfig) -> tuple[object, bytes]:
    """Give the document as `read_document` does, and the bytes it stood in."""
    is_yaml = _check_type(request, config)
    body: bytes = await request.get_data(cache=False, as_text=False, parse_form_data=False)
    return (await trio.to_thread.run_sync(parse_yaml, body) if is_yaml else decode_json(body)), body


def _check_type(request: Request, config: HttpConfig) -> bool:
    """Say whether it is YAML by its own account, and refuse what is neither."""
    check_length(request, config)
    media_type = (request.mimetype or "").lower()
    is_yaml = media_type in _YAML_TYPES or media_type.endswith("+yaml")
    if not is_yaml and media_type not in {"application/json", ""} and not media_type.endswith("+json"):
        fault = FieldFault(path="Content-Type", message=f"is {media_type[:64]}", accepted=_ACCEPTED)
        raise MediaTypeError(
            f"the body is neither JSON nor YAML by its Content-Type; accepted: {_ACCEPTED}", faults=(fault,)
        )
    return is_yaml


async def write_document(document: object, *, file_name: str, is_yaml: bool) -> Response:
    """Answer with a file to keep, which `read_document` takes back."""
    content = (await trio.to_thread.run_sync(write_yaml, document)).encode() if is_yaml else encode_json(document)
    plain = plain_name(file_name)
    headers = {"Content-Disposition": f'attachment; filename="{plain}.{"yaml" if is_yaml else "json"}"'}
    return Response(content, headers=headers, content_type=YAML_TYPE if is_yaml else JSON_TYPE)


def plain_name(name: str) -> str:
    """Give a file name without its ending that no header and no file system stumbles over."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:64] or "definition"
