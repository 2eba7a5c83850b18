"""Keeping credentials out of flows: what in a recorded request is one, and the `auth` that says the same.

A name ending in a word that is used for credentials makes a value one (`x-api-key`, `refreshToken`; not `max_tokens`, not
`token_type`). Values alone are never guessed at.
"""

from __future__ import annotations

import base64
import re
from enum import Enum
from typing import Any

from execd.core.formats.drafting import Draft, Json
from execd.core.formats.urls import join_query, split_query

_ENDINGS = re.compile(
    r"(authorization|cookie|token|secret|password|passwd|pwd|passphrase|apikey|accesskey|privatekey|subscriptionkey"
    r"|authkey|sessionid|sessionkey|credential|credentials|jwt|sid)\Z"
)
_LETTERS = re.compile(r"[^a-z0-9]+")


class Credentials(Enum):
    """What an importer does with credentials it comes across."""

    AS_SECRETS = "as_secrets"
    """Puts a placeholder in their place and names the secret; the default everywhere."""
    AS_WRITTEN = "as_written"
    """Leaves them in the config, for whoever asked for that."""


def is_credential(name: str) -> bool:
    """Whether what stands under this name of a header, a parameter or a field is somebody's key."""
    return _ENDINGS.search(_LETTERS.sub("", name.lower())) is not None


def hide_auth(draft: Draft, auth: Json, *, path: str) -> Json:
    """Give an `auth` whose credentials are placeholders."""
    hidden = dict(auth)
    for key in ("password", "token", "value"):
        if isinstance(hidden.get(key), str):
            hidden[key] = draft.hide(f"{auth.get('name', '')}_{key}".strip("_").lower(), hidden[key], path=path)
    return hidden


def read_authorization(value: str) -> Json | None:
    """Give the `auth` that sends this `Authorization` header, if there is one."""
    scheme, _, rest = value.strip().partition(" ")
    rest = rest.strip()
    if scheme.lower() == "bearer" and rest:
        return {"type": "bearer", "token": rest}
    if scheme.lower() != "basic" or not rest:
        return None
    try:
        username, colon, password = base64.b64decode(rest, validate=True).decode().partition(":")
    except ValueError:
        return None
    return {"type": "basic", "username": username, "password": password} if colon else None


def hide_headers(draft: Draft, headers: dict[str, str], *, path: str) -> dict[str, str]:
    """Give headers without credentials."""
    return {name: _hidden_header(draft, name, value, path=f"{path}.headers.{name}") for name, value in headers.items()}


def _hidden_header(draft: Draft, name: str, value: str, *, path: str) -> str:
    if name.lower() == "cookie":
        return "; ".join(_hidden_cookie(draft, pair.strip(), path=path) for pair in value.split(";") if pair.strip())
    return draft.hide(name.lower(), value, path=path) if is_credential(name) else value


def _hidden_cookie(draft: Draft, pair: str, *, path: str) -> str:
    """Hide any cookie's value: their names tell nothing."""
    name, equals, value = pair.partition("=")
    return f"{name}={draft.hide(f'cookie_{name}', value, path=path)}" if equals else pair


def hide_query(draft: Draft, url: str, *, path: str) -> str:
    """Give a URL without credentials in its parameters or before its host."""
    head, pairs, fragment = split_query(url)
    shown = [_hidden_pair(draft, pair, path=f"{path}.url") for pair in pairs]
    return join_query(_hidden_userinfo(draft, head, path=path), shown) + fragment


def _hidden_pair(draft: Draft, pair: str, *, path: str) -> str:
    name, equals, value = pair.partition("=")
    return f"{name}={draft.hide(name, value, path=path)}" if equals and is_credential(name) else pair


def _hidden_userinfo(draft: Draft, head: str, *, path: str) -> str:
    scheme, mark, rest = head.partition("://")
    host, slash, tail = rest.partition("/")
    user, at, host_only = host.rpartition("@")
    name, colon, password = user.partition(":")
    if not (mark and at and colon):
        return head
    return f"{scheme}://{name}:{draft.hide('url_password', password, path=f'{path}.url')}@{host_only}{slash}{tail}"


def hide_body(draft: Draft, body: Any, *, path: str) -> Any:
    """Give a body without credentials: in the fields of objects and of a form's text."""
    match body:
        case dict():
            return {
                key: draft.hide(key, value, path=f"{path}.{key}")
                if isinstance(value, str) and is_credential(key)
                else hide_body(draft, value, path=f"{path}.{key}")
                for key, value in body.items()
            }
        case list():
            return [hide_body(draft, item, path=f"{path}[{index}]") for index, item in enumerate(body)]
    return body


def hide_form(draft: Draft, text: str, *, path: str) -> str:
    """Give the text of a form without credentials."""
    return "&".join(_hidden_pair(draft, pair, path=path) for pair in text.split("&"))
