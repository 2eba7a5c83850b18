"""Postman collections and environments, read into a flow of one step per request, folders from top to bottom.

Source: the Postman Collection Format v2.1.0, https://schema.getpostman.com/json/collection/v2.1.0/collection.json.
Scripts are read, never run (postman_scripts.py). Values of secrets are never taken over.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from typing import Any

import msgspec

from execd.core.formats.drafting import MAX_ID_CHARS, MAX_STEPS, Draft, Imported, Json, read_json, refuse
from execd.core.formats.flow_reading import METHODS
from execd.core.formats.loose_json import entries, table, text_of, write_json
from execd.core.formats.placeholders import Reference, split_text
from execd.core.formats.postman_requests import RequestReader
from execd.core.formats.postman_scripts import Capture, ScriptFindings, read_script
from execd.core.formats.postman_variables import Scope

_WHAT = "a Postman collection of the format v2 (JSON)"
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(-.*)?", re.ASCII)
MAX_ENVIRONMENTS = 50
MAX_RULES = 200
"""Of one step, with those of its folders."""
MAX_RULE_CHARS = 16 * 1024 * 1024
"""Of all steps: a collection's own tests stand in each of them."""


class _Level(msgspec.Struct, frozen=True):
    """What a collection, a folder or a request hands down."""

    auth: Json
    rules: dict[str, Json]
    """By what they say, so that each is there once."""
    captures: tuple[Capture, ...]


def import_collection(text: str, *, environments: Sequence[str] = ()) -> Imported:
    """Read a collection, with the environment files it is used with; the first is the one that is chosen.

    Raises:
        PayloadTooLargeError: a file is too long.
        InvalidRequestError: a file is none of Postman's, or there is no request in it.
    """
    collection = read_json(text, what=_WHAT)
    if isinstance(collection.get("collection"), dict):  # as Postman's own API wraps it
        collection = collection["collection"]
    if not isinstance(collection.get("item"), list):
        hint = " of the format v1; export it as v2.1" if "requests" in collection else ""
        raise refuse("item", f"is no list: this is no collection{hint}", _WHAT)
    if len(environments) > MAX_ENVIRONMENTS:
        raise refuse("environments", f"are {len(environments)}", f"at most {MAX_ENVIRONMENTS}")
    return _CollectionReader(collection, [_read_environment(file) for file in environments]).read()


def import_environment(text: str) -> Imported:
    """Read an environment file alone: `environments`, `environment` and `secrets`, and no nodes.

    Raises:
        PayloadTooLargeError, InvalidRequestError: as `import_collection`.
    """
    found = _read_environment(text)
    draft = Draft()
    scope = Scope(draft, collection={}, environments={found.name: found.values}, secrets=found.secrets)
    for name in sorted(found.secrets | set(found.values)):
        scope.text(f"{{{{{name}}}}}", path="values")  # what is secret is declared when it is first used
    return draft.finish_without_nodes(environment=found.name)


class _Environment(msgspec.Struct, frozen=True):
    name: str
    values: Json
    secrets: set[str]


def _read_environment(text: str) -> _Environment:
    file = read_json(text, what="a Postman environment (JSON)")
    if isinstance(file.get("environment"), dict):
        file = file["environment"]
    if not isinstance(file.get("values"), list):
        raise refuse("values", "is no list: this is no environment", "a Postman environment (JSON)")
    values = [item for item in entries(file["values"]) if item.get("enabled") is not False]
    return _Environment(
        name="".join(char for char in text_of(file.get("name"))[:100] if char.isprintable()) or "default",
        values={text_of(item.get("key")): item.get("value") for item in values},
        secrets={text_of(item.get("key")) for item in values if item.get("type") == "secret"},
    )


class _CollectionReader:
    """Walks one collection. Owned by one import."""

    def __init__(self, collection: Json, environments: list[_Environment]) -> None:
        self._collection = collection
        self._draft = Draft()
        variables = [item for item in entries(collection.get("variable")) if item.get("disabled") is not True]
        values = {text_of(item.get("key") or item.get("id")): item.get("value") for item in variables}
        secrets = {text_of(item.get("key")) for item in variables if item.get("type") == "secret"}
        self._environment = environments[0].name if environments else ""
        self._scope = Scope(
            self._draft,
            collection=values,
            environments={found.name: found.values for found in environments},
            secrets=secrets.union(*(found.secrets for found in environments)),
        )
        self._requests = RequestReader(self._draft, self._scope)
        self._has_checked_nothing = False
        self._rule_chars_left = MAX_RULE_CHARS

    def read(self) -> Imported:
        level = self._level(self._collection, _Level({}, {}, ()), path="")
        self._walk(self._collection["item"], level, path="item")
        if self._has_checked_nothing:
            self._draft.notes.add("", "requests without tests are checked for status 200", "say what else is right")
        return self._draft.finish(environment=self._environment)

    def _walk(self, items: Any, level: _Level, *, path: str) -> None:
        for index, item in enumerate(entries(items)):
            here = f"{path}[{index}]"
            if isinstance(item.get("item"), list):
                self._walk(item["item"], self._level(item, level, path=here), path=f"{here}.item")
            elif len(self._draft.nodes) >= MAX_STEPS:
                self._draft.add_step({}, path=here)
                return
            elif "request" in item:
                self._take_request(item, level, path=here)
            else:
                self._draft.notes.add(here, "is neither a folder nor a request", "mend the file")

    def _level(self, item: Json, above: _Level, *, path: str) -> _Level:
        auth = item.get("auth")
        own = self._scripts(item, path=path)
        rules = above.rules | {write_json(rule): rule for found in own for rule in found.validations}
        captures = above.captures + tuple(capture for found in own for capture in found.captures)
        if max(len(rules), len(captures)) > MAX_RULES:
            self._draft.notes.add(path, f"has more than {MAX_RULES} tests; the first were taken", "write some by hand")
            rules, captures = dict(islice(rules.items(), MAX_RULES)), captures[:MAX_RULES]
        return _Level(auth if isinstance(auth, dict) else above.auth, rules, captures)

    def _scripts(self, item: Json, *, path: str) -> tuple[ScriptFindings, ...]:
        """Read the scripts of one level, and tell what cannot be carried over."""
        found: list[ScriptFindings] = []
        for index, event in enumerate(entries(item.get("event"))):
            here = f"{path}.event[{index}]".removeprefix(".")
            lines = table(event.get("script")).get("exec")
            script = "\n".join(map(text_of, lines)) if isinstance(lines, list) else text_of(lines)
            if not script.strip() or event.get("disabled") is True:
                continue
            if event.get("listen") != "test":
                self._draft.notes.add(
                    here, "is a script that runs before the request, and was left out", "use a script step"
                )
                continue
            found.append(read_script(script))
            for statement in found[-1].unknown:
                self._draft.notes.add(
                    here, f"was not understood: {statement}", "check it with validations or a script step"
                )
        return tuple(found)

    def _take_request(self, item: Json, above: _Level, *, path: str) -> None:
        request = item["request"]
        request = request if isinstance(request, dict) else {"url": request}
        name = text_of(item.get("name")) or "Request"
        level = self._level(item | {"auth": request.get("auth")}, above, path=path)
        node = self._requests.read(request, level.auth, path=f"{path}.request")
        if node["method"] not in METHODS:
            self._draft.notes.add(
                path, f"has the method {node['method'][:20]} and was left out", "do it in a script step"
            )
            return
        if not node["url"]:
            self._draft.notes.add(path, "has no URL and was left out", "give it one")
            return
        step: Json = {"id": self._draft.new_id(_wanted_id(item, name)), "name": _without_braces(name), **node}
        rules = self._rules(item, level, path=path)
        if rules:
            step["validations"] = rules
        self._draft.add_step(step, path=path)
        self._keep_answers(step["id"], level)
        if table(item.get("protocolProfileBehavior")):
            self._draft.notes.add(path, "has settings of its own for the protocol", "see whether they matter")

    def _rules(self, item: Json, level: _Level, *, path: str) -> list[Json]:
        self._rule_chars_left -= sum(map(len, level.rules))
        if self._rule_chars_left < 0:
            self._draft.notes.add(
                path, "its tests were left out, since there are too many in all", "import it in parts"
            )
            return []
        translated: list[Json] = self._scope.value(list(level.rules.values()), path=path)
        for rule in translated:
            if any(isinstance(part, Reference) for part in split_text(text_of(list(rule.values())))):
                self._draft.notes.add(
                    path, "compares with a variable, and validations are not substituted", "write the value"
                )
        codes = {response.get("code") for response in entries(item.get("response"))}
        good = [code for code in codes if isinstance(code, int) and 200 <= code < 300]
        if translated or len(good) != 1:
            self._has_checked_nothing = self._has_checked_nothing or not translated
            return translated
        return [{"httpStatusCode": good[0]}]

    def _keep_answers(self, step_id: str, level: _Level) -> None:
        for capture in level.captures:
            self._scope.keep_answer(capture.variable, step_id=step_id, tail=capture.tail)


def _wanted_id(item: Json, name: str) -> str:
    """Give the item's own id if somebody wrote it, else one of its name."""
    own = item.get("id")
    if isinstance(own, str) and re.fullmatch(rf"[A-Za-z0-9_-]{{1,{MAX_ID_CHARS}}}", own) and not _UUID.fullmatch(own):
        return own
    return name.lower()


def _without_braces(name: str) -> str:
    return name.replace("{{", "{").replace("}}", "}")
