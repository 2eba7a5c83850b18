"""The reference as one page of HTML, rendered from the OpenAPI document: no script, nothing from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; --line: #8884; --dim: #888; --accent: #2563eb }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem }
code, pre { font: 14px/1.4 ui-monospace, monospace } pre { overflow: auto; border: 1px solid var(--line); padding: .5rem }
h2 { border-bottom: 1px solid var(--line); margin-top: 2.5rem } h3 { margin: 1.5rem 0 .25rem }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 } th { text-align: left; font-weight: 600 }
td, th { border-bottom: 1px solid var(--line); padding: .25rem .75rem .25rem 0; vertical-align: top }
.method { color: var(--accent); text-transform: uppercase } .dim { color: var(--dim) } nav a { margin-right: 1rem }
"""


def render_reference(document: Mapping[str, Any]) -> str:
    """Give the whole page."""
    info = document["info"]
    operations = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    parts = [
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{escape(info['title'])}: reference</title>",
        f"<meta name=viewport content='width=device-width'><style>{STYLE}</style></head><body>",
        f"<h1>{escape(info['title'])} <small class=dim>{escape(info['version'])}</small></h1>",
        f"<p>{_prose(info['description'])}</p><nav>",
        *(f"<a href='#{tag['name']}'>{escape(tag['name'])}</a>" for tag in document["tags"]),
        "<a href='#schemas'>schemas</a><a href='/openapi.json'>openapi.json</a></nav>",
    ]
    for tag in document["tags"]:
        parts.append(f"<h2 id='{tag['name']}'>{escape(tag['name'])}</h2><p>{_prose(tag['description'])}</p>")
        parts.extend(_operation(*found) for found in operations if tag["name"] in found[2]["tags"])
    parts.append("<h2 id=schemas>schemas</h2>")
    parts.extend(_schema(name, schema) for name, schema in sorted(document["components"]["schemas"].items()))
    return "".join(parts) + "</body></html>"


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> str:
    title = f"<h3 id='{operation['operationId']}'><code><span class=method>{method}</span> {escape(path)}</code></h3>"
    words = f"<p>{_prose(operation['summary'])} {_prose(operation['description'])}</p>"
    return title + words + _parameters(operation["parameters"]) + _body(operation) + _responses(operation["responses"])


def _parameters(parameters: list[Mapping[str, Any]]) -> str:
    if not parameters:
        return ""
    rows = "".join(
        f"<tr><td><code>{escape(found['name'])}</code></td><td class=dim>{escape(found['in'])}</td>"
        f"<td>{_prose(found.get('description', ''))} {_choices(found['schema'])}</td></tr>"
        for found in parameters
    )
    return f"<table><tr><th>parameter</th><th>in</th><th></th></tr>{rows}</table>"


def _choices(schema: Mapping[str, Any]) -> str:
    return ", ".join(f"<code>{escape(choice)}</code>" for choice in schema.get("enum", ()))


def _body(operation: Mapping[str, Any]) -> str:
    if "requestBody" not in operation:
        return ""
    return f"<p>Body: {_schema_links(operation['requestBody']['content'])}</p>"


def _responses(responses: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{status}</code></td><td>{_prose(found['description'])}</td>"
        f"<td>{_schema_links(found.get('content', {}))}</td></tr>"
        for status, found in responses.items()
    )
    return f"<table><tr><th>status</th><th></th><th></th></tr>{rows}</table>"


def _schema_links(content: Mapping[str, Any]) -> str:
    links = []
    for media_type, found in content.items():
        name = found["schema"].get("$ref", "").rpartition("/")[2]
        link = f" <a href='#schema-{name}'>{escape(name)}</a>" if name else ""
        links.append(f"<span class=dim>{escape(media_type)}</span>{link}")
    return ", ".join(links)


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    text = escape(json.dumps(schema, indent=2, ensure_ascii=False))
    return f"<details id='schema-{name}'><summary><code>{escape(name)}</code></summary><pre>{text}</pre></details>"


def _prose(text: str) -> str:
    """Escape, and show what stands between back-ticks as code."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if place % 2 else piece for place, piece in enumerate(pieces))
