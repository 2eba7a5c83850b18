"""The security schemes of an OpenAPI document, said as a step's `auth`; every credential is a secret by name."""

from __future__ import annotations

from typing import Any

import msgspec

from execd.core.formats.drafting import Draft, Json
from execd.core.formats.loose_json import table
from execd.core.formats.openapi_schemas import Schemas


class Credential(msgspec.Struct, frozen=True):
    """What a step sends to be let in."""

    auth: Json | None = None
    cookie: str = ""
    """A pair for the `Cookie` header, which `auth` has no word for."""


class Security:
    """Gives each operation its credential. Owned by one import."""

    def __init__(self, document: Json, draft: Draft, schemas: Schemas) -> None:
        self._default = document.get("security")
        found = table(table(document.get("components")).get("securitySchemes"))
        self._schemes = {
            str(name): schemas.resolve(scheme, path=f"securitySchemes.{name}") for name, scheme in found.items()
        }
        self._draft = draft
        self._made: dict[str, Credential] = {}

    def credential_of(self, operation: Json, *, path: str) -> Credential:
        """Give the first alternative that a flow can say; nothing where none is asked."""
        alternatives = operation.get("security", self._default)
        if not isinstance(alternatives, list) or not alternatives or {} in alternatives:
            return Credential()
        for alternative in alternatives:
            names = list(table(alternative))
            if len(names) == 1 and (made := self._credential(str(names[0]))) is not None:
                return made
        for alternative in alternatives:
            made = next((found for name in table(alternative) if (found := self._credential(str(name)))), None)
            if made is not None:
                self._draft.notes.add(
                    path, "asks for several credentials at once; the first was taken", "add the others"
                )
                return made
        self._draft.notes.add(path, "asks for a credential that cannot be said here", "sign it in a script step")
        return Credential()

    def _credential(self, name: str) -> Credential | None:
        if name not in self._made:
            made = self._make(name, self._schemes.get(name, {}))
            if made is None:
                return None
            self._made[name] = made
        return self._made[name]

    def _make(self, name: str, scheme: Json) -> Credential | None:
        kind, http_scheme = scheme.get("type"), str(scheme.get("scheme", "")).lower()
        if kind == "http" and http_scheme == "basic":
            username, password = self._secret(f"{name}_username"), self._secret(f"{name}_password")
            return Credential(auth={"type": "basic", "username": username, "password": password})
        if (kind == "http" and http_scheme == "bearer") or kind in {"oauth2", "openIdConnect"}:
            if kind != "http":
                path = f"securitySchemes.{name}"
                self._draft.notes.add(
                    path, f"is {kind}; the flow only sends the token", "get the token in a step before"
                )
            return Credential(auth={"type": "bearer", "token": self._secret(f"{name}_token")})
        if kind == "apiKey" and isinstance(scheme.get("name"), str):
            return self._key(name, scheme)
        return None

    def _key(self, name: str, scheme: Json) -> Credential:
        value, place = self._secret(name), scheme.get("in")
        if place == "cookie":
            return Credential(cookie=f"{scheme['name']}={value}")
        where = "query" if place == "query" else "header"
        return Credential(auth={"type": "api_key", "name": scheme["name"], "value": value, "in": where})

    def _secret(self, name: Any) -> str:
        placeholder = self._draft.declare_secret(name)
        secret = placeholder.strip("{ }").removeprefix(".secrets.")
        self._draft.notes.add(f"securitySchemes.{name}", f"needs the secret {secret}", f"store it as {secret}")
        return placeholder
