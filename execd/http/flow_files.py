"""Flows and other tools' files over HTTP: made of them, written as them, and what became of one as a report for CI servers.

Nothing in a file is run, fetched or stored here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from quart import Quart, Response, request

from execd.core.codec import decode_event
from execd.core.errors import ConflictError, InvalidRequestError, NotFoundError
from execd.core.event_types import TYPE_NAMES
from execd.core.events import (
    ExecutionStarted,
    InputReceived,
    InputRequired,
    NodeCompleted,
    NodeExpanded,
    NodeFailed,
    NodeRetrying,
    NodeSkipped,
    NodeStarted,
    ResultStored,
)
from execd.core.fields import Faults, Fields, describe
from execd.core.flows.parsing import parse_flow
from execd.core.flows.reporting import FlowRecord
from execd.core.flows.specs import FlowSpec
from execd.core.formats.drafting import Exported, Imported, Note, refuse
from execd.core.formats.junit_export import export_junit
from execd.core.formats.reading import READERS, SOURCES, ImportOptions, guess_source, import_file
from execd.core.formats.writing import TARGETS, export_flow
from execd.core.workflows import decode_spec
from execd.http.access import Role
from execd.http.answers import json_response
from execd.http.beside import read_beside
from execd.http.credentials import require
from execd.http.documents import plain_name
from execd.http.executions import find_visible
from execd.http.front import Front
from execd.http.problems import NotFinishedError
from execd.http.schemas import API, read_json
from execd.ports import ExecutionRecord

MAX_TEXT_CHARS = 64 * 1024 * 1024
"""Of one file, where the server takes bodies that large; each importer has a limit of its own."""
MAX_ENVIRONMENTS = 20
PAGE_BYTES = 256 * 1024
_AUTO = "auto"
_FLOW = "flow"
_REPORTED = (
    ExecutionStarted,
    NodeStarted,
    NodeExpanded,
    NodeRetrying,
    InputRequired,
    InputReceived,
    NodeCompleted,
    NodeFailed,
    NodeSkipped,
    ResultStored,
)
_TYPES = frozenset(TYPE_NAMES[kind] for kind in _REPORTED)


class ImportBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Another tool's file."""

    text: str
    """What stands in it."""
    source: Literal["auto", "postman", "openapi", "curl", "har"] = "auto"
    """What it is; `auto`: its content tells."""
    environments: list[str] = []
    """The texts of Postman environments the collection is used with; the first is the one that is chosen."""
    keep_credentials: bool = False
    """Of curl and HAR: leave keys where they stand. Else they become secrets, and a note names each."""
    keep_all: bool = False
    """Of a HAR: take pictures, styles and scripts too."""


class ExportBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A flow, and what it should become."""

    flow: dict[str, Any]
    """As it is run; its `environment` is the one that is meant."""
    target: Literal["postman", "postman-environment", "curl"]
    name: str = ""
    """What a collection is called; else as the flow."""


class ImportedView(msgspec.Struct, frozen=True):
    """A flow made of a file."""

    source: str
    """What the file was."""
    flow: dict[str, Any]
    """Ready to be run or saved. It holds no credentials but those that were asked for."""
    notes: tuple[Note, ...]
    """What is not in it as it was in the file, and what to do about it."""


class ExportedView(msgspec.Struct, frozen=True):
    """A file made of a flow."""

    file_name: str
    text: str
    notes: tuple[Note, ...]


class FlowFileRoutes:
    """`/api/v1/import`, `/api/v1/export` and `/api/v1/executions/{id}/report`."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def register(self, app: Quart) -> None:
        app.add_url_rule(f"{API}/import", "import_file", self.import_file, methods=["POST"])
        app.add_url_rule(f"{API}/export", "export_file", self.export_file, methods=["POST"])
        app.add_url_rule(f"{API}/executions/<execution_id>/report", "report", self.report, methods=["GET"])

    async def import_file(self) -> Response:
        await require(self._front, request, Role.VIEWER)
        body = await read_json(request, self._front.config)
        return json_response(await read_beside(lambda: _import(body)))

    async def export_file(self) -> Response:
        await require(self._front, request, Role.VIEWER)
        body = await read_json(request, self._front.config)
        return json_response(await read_beside(lambda: _export(body)))

    async def report(self, execution_id: str) -> Response:
        identity = await require(self._front, request, Role.VIEWER)
        record = await find_visible(self._front, identity, execution_id)
        spec = decode_spec(record.spec, kind=record.kind)
        if not isinstance(spec, FlowSpec):
            raise ConflictError(f"{record.id} is no flow: of a {record.kind} there is no report")
        if not record.status.is_final:
            raise NotFinishedError(f"the execution is {record.status}; there is a report of what has ended")
        report = (await self._read(record)).report(record.id, name=record.name, config=spec.config)
        headers = {"Content-Disposition": f'attachment; filename="{plain_name(record.name)}.xml"'}
        return Response(export_junit([report]).encode(), headers=headers, content_type="application/xml")

    async def _read(self, record: ExecutionRecord) -> FlowRecord:
        heard, after = FlowRecord(), 0
        while page := await self._front.engine.store.read_events(
            record.id, after_seq=after, limit_bytes=PAGE_BYTES, types=_TYPES
        ):
            after = page[-1].seq
            for stored in page:
                heard.take(decode_event(stored.body))
        if not after:
            raise NotFoundError(f"the journal of {record.id} has been deleted")
        return heard


def _import(body: object) -> ImportedView:
    """Read the body of `POST /import`. Raises InvalidRequestError and PayloadTooLargeError."""
    faults = Faults()
    fields = Fields(body, faults, known=ImportBody.__struct_fields__)
    text = fields.required_text("text", max_chars=MAX_TEXT_CHARS, accepted="what stands in the file")
    asked = fields.choice("source", (_AUTO, *SOURCES), default=_AUTO)
    options = ImportOptions(
        environments=_texts(fields, faults, "environments"),
        keep_credentials=fields.flag("keep_credentials", default=False),
        keep_all=fields.flag("keep_all", default=False),
    )
    faults.raise_if_any()
    source = guess_source(text) if asked == _AUTO else asked
    if source is None:
        raise refuse("source", "is not said, and the content does not tell", ", ".join(SOURCES))
    for name, sources in READERS.items():
        if getattr(options, name) and source not in sources:
            raise refuse(name, f"means nothing for {source}", f"with {' or '.join(sources)}")
    imported: Imported = import_file(text, source, options)
    return ImportedView(source=source, flow={"kind": _FLOW, **imported.config}, notes=imported.notes)


def _texts(fields: Fields, faults: Faults, name: str) -> Sequence[str]:
    found = fields.items(name, max_count=MAX_ENVIRONMENTS, accepted="a list of texts")
    for index, item in enumerate(found):
        if not isinstance(item, str):
            faults.add(f"{name}[{index}]", describe(item), "the text of a Postman environment")
    return [item for item in found if isinstance(item, str)]


def _export(body: object) -> ExportedView:
    """Read the body of `POST /export`. Raises InvalidRequestError, with the flow's own faults too."""
    faults = Faults()
    fields = Fields(body, faults, known=ExportBody.__struct_fields__)
    flow = fields.raw("flow")
    if not isinstance(flow, Mapping):
        faults.add("flow", describe(flow), "a flow: an object with nodes")
    fields.required("target", ", ".join(TARGETS))
    target = fields.choice("target", TARGETS, default=TARGETS[0])
    name = fields.text("name", max_chars=200, accepted="text")
    faults.raise_if_any()
    assert isinstance(flow, Mapping)
    config = {"name": "flow", **flow, "kind": _FLOW}
    try:
        parse_flow(config)
        exported: Exported = export_flow(config, target, name=name or str(config["name"]))
    except InvalidRequestError as error:
        inner = tuple(msgspec.structs.replace(f, path=f"flow.{f.path}" if f.path else "flow") for f in error.faults)
        raise InvalidRequestError(error.message, faults=inner) from None
    ending = "sh" if target == "curl" else f"{target}.json"
    return ExportedView(f"{plain_name(str(config['name']))}.{ending}", exported.text, exported.notes)
