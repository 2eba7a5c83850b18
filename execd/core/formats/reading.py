"""Any file of another tool made a flow: told by its content what it is, and read by the importer for it. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from execd.core.formats.credentials import Credentials
from execd.core.formats.curl_import import import_curl
from execd.core.formats.drafting import Imported
from execd.core.formats.har_import import Keep, import_har
from execd.core.formats.openapi_import import import_openapi
from execd.core.formats.postman_import import import_collection

SOURCES = ("postman", "openapi", "curl", "har")
READERS: Mapping[str, tuple[str, ...]] = {
    "environments": ("postman",),
    "keep_credentials": ("curl", "har"),
    "keep_all": ("har",),
}
"""Which sources know an option; for others it would be ignored, so it is refused."""
_CURL = re.compile(r"^\s*(?:[A-Za-z_][A-Za-z0-9_]*=\S*\s+)*curl(?:\.exe)?\s", re.MULTILINE)
_OPENAPI = re.compile(r"^(?:openapi|swagger)\s*:", re.MULTILINE)


class ImportOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a file is read, besides what it is."""

    environments: Sequence[str] = ()
    """The texts of Postman environments the collection is used with."""
    keep_credentials: bool = False
    """Leaves credentials where they stand; else they become secrets."""
    keep_all: bool = False
    """Of a recording takes pictures, styles and scripts too."""


def guess_source(text: str) -> str | None:
    """Say what a file is by what only its kind has; None where nothing tells."""
    found = _json_or_none(text)
    if isinstance(found, dict):
        if isinstance(found.get("log"), dict):
            return "har"
        if "openapi" in found or "swagger" in found:
            return "openapi"
        if "item" in found or "collection" in found or "requests" in found:
            return "postman"
    elif _OPENAPI.search(text):
        return "openapi"
    elif _CURL.search(text):
        return "curl"
    return None


def import_file(text: str, source: str, options: ImportOptions) -> Imported:
    """Make a flow of a file that is one of `SOURCES`.

    Raises:
        PayloadTooLargeError: it is longer than its importer reads.
        InvalidRequestError: it is none of its kind, or has no request.
    """
    credentials = Credentials.AS_WRITTEN if options.keep_credentials else Credentials.AS_SECRETS
    keep = Keep.EVERYTHING if options.keep_all else Keep.API_CALLS
    importers: dict[str, Callable[[str], Imported]] = {
        "postman": partial(import_collection, environments=options.environments),
        "openapi": import_openapi,
        "curl": partial(import_curl, credentials=credentials),
        "har": partial(import_har, keep=keep, credentials=credentials),
    }
    return importers[source](text)


def _json_or_none(text: str) -> Any:
    try:
        return msgspec.json.decode(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return None
