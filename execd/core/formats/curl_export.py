"""A flow written as a bash script of curl commands that sends the same requests, one after another.

Variables are written out; secrets, inputs and the environment become shell variables that must be set, and what comes from
an earlier answer is taken out of it with jq. A value is quoted so that bash never reads it as anything but itself.
Not written: validations, conditions, prompts, rows of data. Notes say so.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote

import msgspec

from execd.core.flows.bodies import FORM, form_text
from execd.core.formats.drafting import Exported, Json, Names, NoteBook
from execd.core.formats.flow_reading import FlowStep, form_pairs, read_steps, resolve_variables
from execd.core.formats.loose_json import with_js_numbers, write_json, write_scalar
from execd.core.formats.placeholders import Reference, split_text
from execd.core.formats.urls import encode_literals, encode_text, join_query, split_query

_SAFE_IN_URL = "!#$%&'()*+,/:;=?@[]~-._"
"""What is a URL's own, and what is percent-encoded already."""
_LEFT_OUT = ("conditions", "userPrompts", "validations", "retry")


def export_curl(config: Json) -> Exported:
    """Write a flow as a script for bash, curl 7.76 or later, and jq where a step needs an earlier answer.

    Raises:
        InvalidRequestError: it is no flow.
    """
    steps = [resolve_variables(step, config) for step in read_steps(config)]
    script = _Script(config, steps)
    commands = [script.write(step) for step in steps]
    script.tell_left_out()
    text = "\n".join([*script.head(), *commands])
    return Exported(text=text, notes=script.notes.finish())


class _Script:
    """A script while it is being written. Owned by one export."""

    def __init__(self, config: Json, steps: list[FlowStep]) -> None:
        self.notes = NoteBook()
        self._config = config
        self._steps = steps
        self._shell_names = Names("A-Za-z0-9_")
        self._names: dict[str, str] = {}
        self._needed: dict[str, None] = {}
        self._read_answers = {
            part.name for step in steps for text in _texts_of(step) for part in split_text(text)
            if isinstance(part, Reference) and part.kind == "responses"
        }  # fmt: skip
        self._written: set[str] = set()

    def head(self) -> list[str]:
        """Give the first lines: what must be set before the first request, so that none is sent in vain."""
        lines = ["#!/usr/bin/env bash", "set -euo pipefail"]
        for key in self._needed:
            shown = re.sub(r"[^A-Za-z0-9_. -]", "", key)
            lines.append(f': "${{{self._names[key]}:?set it to {shown}}}"')
        return [*lines, ""]

    def tell_left_out(self) -> None:
        for key in ("data", "cookies"):
            if self._config.get(key):
                self.notes.add(key, "is not in the script", "run it as a flow")
        for step in self._steps:
            for key in _LEFT_OUT:
                if step.raw.get(key):
                    self.notes.add(f"{step.path}.{key}", "is not in the script", "run it as a flow")
            if step.is_finally:
                self.notes.add(step.path, "runs only if all before it succeed", "mind it when a command fails")

    def write(self, step: FlowStep) -> str:
        """Write one step: a comment, the command, and what later steps take out of its answer."""
        lines = [f"# {_one_line(step.name)}"]
        command = " \\\n  ".join(self._words(step))
        self._written.add(step.id)
        if step.id not in self._read_answers:
            return "\n".join([*lines, command, ""])
        name = self._shell_name(f"answer:{step.id}", f"answer_{step.id}")
        return "\n".join([*lines, f"{name}=$({command})", ""])

    def _words(self, step: FlowStep) -> list[str]:
        method = step.method.upper()
        words = [f"curl --silent --show-error --location --globoff{self._method_option(step, method)}"]
        words.append(self._quoted(_url_of(step), encode=lambda text: quote(text, safe=_SAFE_IN_URL)))
        words += self._auth_words(step)
        words += [f"--header {self._header(name, value)}" for name, value in step.headers.items()
                  if not (self._is_multipart(step) and name.lower() == "content-type")]  # fmt: skip
        if step.sends_body:
            words += self._body_words(step)
        elif method == "POST":
            words.append("--data-raw ''")
        elif step.body:
            self.notes.add(f"{step.path}.body", f"is not sent with {method}, here as in the flow", "")
        if step.timeout:
            words.append(f"--max-time {step.timeout:g}")
        return words

    def _method_option(self, step: FlowStep, method: str) -> str:
        """Say the method only where curl would not find it itself: with -X it would repeat a POST after a redirect."""
        if method == "HEAD":
            return " --head"
        implied = "POST" if method == "POST" else "GET"
        return "" if method == implied else f" --request {self._quoted(method)}"

    def _header(self, name: str, value: str) -> str:
        line = f"{name}: {value}" if value.strip() else f"{name};"
        return self._quoted(re.sub(r"[\r\n]+", "", line))

    def _is_multipart(self, step: FlowStep) -> bool:
        return step.sends_body and isinstance(step.body, dict) and "multipart/form-data" in step.header("content-type")

    def _auth_words(self, step: FlowStep) -> list[str]:
        auth = step.auth or {}
        match auth.get("type"):
            case "basic":
                user = f"{write_scalar(auth.get('username', ''))}:{write_scalar(auth.get('password', ''))}"
                return [f"--user {self._quoted(user)}"]
            case "bearer":
                return [f"--header {self._header('Authorization', 'Bearer ' + write_scalar(auth.get('token', '')))}"]
            case "api_key" if auth.get("in") != "query":
                return [f"--header {self._header(str(auth.get('name')), write_scalar(auth.get('value', '')))}"]
        return []

    def _body_words(self, step: FlowStep) -> list[str]:
        kind = step.header("content-type")
        if self._is_multipart(step):
            return [f"--form-string {self._quoted(f'{name}={value}')}" for name, value in form_pairs(step.body)]
        if isinstance(step.body, dict) and FORM in kind:
            pairs = [f"{encode_literals(name, form_text)}={encode_literals(value, form_text)}"
                     for name, value in form_pairs(step.body)]  # fmt: skip
            return [f"--data-raw {self._quoted('&'.join(pairs))}"]
        added = [] if kind or isinstance(step.body, str) else ["--header 'Content-Type: application/json'"]
        return [*added, f"--data-raw {self._quoted(self._text_of(step, kind))}"]

    def _text_of(self, step: FlowStep, kind: str) -> str:
        """Give the text that is sent: under a JSON type, what is not JSON is sent as a JSON text."""
        if not isinstance(step.body, str):
            return write_scalar(with_js_numbers(step.body))
        if "application/json" not in kind:
            return step.body
        try:
            msgspec.json.decode("".join(map(_plain, split_text(step.body.strip()))).encode(errors="replace"))
        except (msgspec.DecodeError, RecursionError):
            return write_json(step.body)
        return step.body.strip()

    def _quoted(self, text: str, *, encode: Callable[[str], str] = str) -> str:
        """Write a word of bash that is this text, with shell variables where it has placeholders."""
        words = [self._piece(part, encode) for part in split_text(text)]
        return "".join(word for word in words if word) or "''"

    def _piece(self, part: str | Reference, encode: Callable[[str], str]) -> str:
        if isinstance(part, str):
            return quote_for_bash(encode(part))
        match part.kind:
            case "dynamic":
                return {
                    "guid": '"$(uuidgen 2>/dev/null || cat /proc/sys/kernel/random/uuid)"',
                    "timestamp": '"$(date +%s)"',
                }[part.name]
            case "responses":
                return self._answer_piece(part)
        key = f"the {part.kind.removesuffix('s')} {part.name}"
        self._needed[key] = None
        return f'"${{{self._shell_name(key, part.name)}}}"'

    def _answer_piece(self, part: Reference) -> str:
        path = _jq_path(part.path)
        if part.name in self._written and path is not None:
            name = self._shell_name(f"answer:{part.name}", f"answer_{part.name}")
            return f'"$(jq -r {quote_for_bash(path)} <<<"${name}")"'
        key = f"{part.path} of the answer of {part.name}"
        self._needed[key] = None
        self.notes.add(f"responses.{part.name}{part.path}", "cannot be taken from the answer here", "set the variable")
        return f'"${{{self._shell_name(key, f"{part.name}{part.path}")}}}"'

    def _shell_name(self, key: str, wanted: str) -> str:
        if key not in self._names:
            wanted = f"v{wanted}" if wanted[:1].isdigit() else wanted
            self._names[key] = self._shell_names.take(wanted.replace("-", "_"), default="value")
        return self._names[key]


def _url_of(step: FlowStep) -> str:
    """Give the URL, with the key that `auth` puts into it."""
    auth = step.auth or {}
    if auth.get("type") != "api_key" or auth.get("in") != "query":
        return step.url
    head, pairs, _ = split_query(step.url)
    pair = f"{encode_text(str(auth.get('name')))}={encode_text(write_scalar(auth.get('value', '')))}"
    return join_query(head, [*pairs, pair])


def quote_for_bash(text: str) -> str:
    """Write a text as one word that bash reads as exactly it; nothing for the empty text."""
    if not text:
        return ""
    if all(char.isprintable() or char in "\n\t" for char in text):
        return (
            text if re.fullmatch(r"[A-Za-z0-9_./:@%+,-]+", text, re.ASCII) else "'" + text.replace("'", "'\\''") + "'"
        )
    return "$'" + "".join(map(_ansi_escape, text)) + "'"


def _ansi_escape(char: str) -> str:
    if char in "\\'":
        return "\\" + char
    if char.isprintable():
        return char
    return "".join(f"\\{byte:03o}" for byte in char.encode(errors="replace"))


def _plain(part: str | Reference) -> str:
    return part if isinstance(part, str) else "0"


def _one_line(text: str) -> str:
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:200]


def _jq_path(path: str) -> str | None:
    """Write a path as jq reads it; None for what is not in the body."""
    if path.startswith((".$", ".length")) or path.endswith(".length"):
        return None
    steps: list[str] = []
    for name, index in re.findall(r"\.([^.\[\]]*)((?:\[\d+\])?)", path):
        steps.append(_jq_name(name) + index)
    return "." + "".join(steps)


def _jq_name(name: str) -> str:
    if not name:
        return ""
    return f"[{name}]" if name.isdigit() else f'["{name}"]'


def _texts_of(step: FlowStep) -> list[str]:
    return [step.url, *step.headers.values(), write_scalar(step.body), write_scalar(step.auth or {})]
