"""Postman's `{{name}}`, each turned into the placeholder that gives the same value at the same place of the flow.

A name means, in this order: a value of Postman's own (`$guid`), what a script took out of an earlier answer, a secret, a
variable. A collection's variable that is made of others is written out where it is used, since a flow's are not.
"""

from __future__ import annotations

import re
from typing import Any

from execd.core.formats.credentials import is_credential
from execd.core.formats.drafting import Draft, Json, Names
from execd.core.formats.loose_json import write_json, write_scalar
from execd.core.formats.placeholders import write_response, write_variable

_USE = re.compile(r"\{\{([^{}]*)\}\}")
_MAX_NESTING = 10
"""Of variables in variables; Postman itself stops after nineteen rounds."""
MAX_VARIABLE_CHARS = 16 * 1024
"""Of one variable's value when it is written out."""
MAX_EXPANDED_CHARS = 2 * 1024 * 1024
"""Of all values that are written out; sixty variables that each say the last one twice would be 2^60."""
_GUID = "{{ $guid }}"
_STAMP = "{{ $timestamp }}"
DYNAMIC = {
    "$guid": _GUID, "$randomUUID": _GUID, "$timestamp": _STAMP,
}  # fmt: skip
"""What a flow has too."""
SAMPLES = {
    "$isoTimestamp": "2026-01-01T00:00:00.000Z", "$randomInt": "42", "$randomBoolean": "true",
    "$randomAlphaNumeric": "a", "$randomPassword": f"Pw-{_GUID}", "$randomPrice": "19.99",
    "$randomEmail": f"user-{_GUID}@example.com", "$randomExampleEmail": f"user-{_GUID}@example.com",
    "$randomUserName": f"user-{_GUID}", "$randomFirstName": "Ada", "$randomLastName": "Lovelace",
    "$randomFullName": "Ada Lovelace", "$randomPhoneNumber": "555-0100", "$randomCity": "Springfield",
    "$randomStreetName": "Main Street", "$randomStreetAddress": "1 Main Street", "$randomCountry": "Norway",
    "$randomCountryCode": "NO", "$randomZipCode": "12345", "$randomCompanyName": "Example Inc",
    "$randomJobTitle": "Engineer", "$randomUrl": "https://example.com", "$randomDomainName": "example.com",
    "$randomIP": "192.0.2.1", "$randomIPV6": "2001:db8::1", "$randomMACAddress": "00:00:5e:00:53:01",
    "$randomColor": "blue", "$randomHexColor": "#0000ff", "$randomWord": "word", "$randomWords": "some words",
    "$randomProduct": "Chair", "$randomProductName": "Wooden Chair", "$randomDepartment": "Garden",
    "$randomLoremWord": "lorem", "$randomLoremWords": "lorem ipsum dolor", "$randomCurrencyCode": "EUR",
    "$randomLoremSentence": "Lorem ipsum dolor sit amet.", "$randomLoremParagraph": "Lorem ipsum dolor sit amet.",
    "$randomDateFuture": "2030-01-01T00:00:00.000Z", "$randomDatePast": "2020-01-01T00:00:00.000Z",
    "$randomDateRecent": "2026-01-01T00:00:00.000Z", "$randomLatitude": "59.9", "$randomLongitude": "10.7",
    "$randomUserAgent": "Mozilla/5.0", "$randomLocale": "en", "$randomAbbreviation": "HTTP",
    "$randomFileName": "file.txt", "$randomFileExt": "txt", "$randomImageUrl": "https://example.com/image.png",
}  # fmt: skip
"""What a flow has no equivalent of: a value of the kind that is always the same, or the same but for a new id in it."""


class Scope:
    """What names mean at one point of a collection. Owned by one import.

    Args:
        collection: the collection's variables and globals.
        environments: name -> values, the first is the chosen one.
        secrets: names whose values are known to be secret.
    """

    def __init__(self, draft: Draft, *, collection: Json, environments: dict[str, Json], secrets: set[str]) -> None:
        self._draft = draft
        self._collection = collection
        self._in_environments = {name for values in environments.values() for name in values}
        everything = [collection, *environments.values()]
        keys = {name for values in everything for name, value in values.items() if value and is_credential(name)}
        self._secrets = dict.fromkeys(secrets | keys, "")
        self._answers: dict[str, str] = {}
        self._words: dict[str, str] = {}
        self._names = Names("A-Za-z0-9_")
        self._expanded_chars = 0
        self._keep_variables(collection, environments)

    def _keep_variables(self, collection: Json, environments: dict[str, Json]) -> None:
        """Put plain values under `variables`, and what an environment may change under `environments`."""
        common: Json = {}
        for name, value in collection.items():
            if name not in self._secrets and not self._is_macro(name):
                kept = common if name in self._in_environments else self._draft.variables
                kept[self.word_of(name)] = self._plain(value, collection, path=f"variable.{name}")
        if common:
            self._draft.environments["_common"] = common
        for title, values in environments.items():
            self._draft.environments[title] = {
                self.word_of(name): self._plain(value, collection | values, path=f"{title}.{name}")
                for name, value in values.items()
                if name not in self._secrets
            }

    def word_of(self, name: str) -> str:
        """Give a variable's name in the letters a placeholder may have."""
        if name not in self._words:
            self._words[name] = self._names.take(name, default="variable")
            if self._words[name] != name:
                self._draft.notes.add(f"variable.{name}", f"is called {self._words[name]} in the flow", "mind the name")
        return self._words[name]

    def _is_macro(self, name: str) -> bool:
        value = self._collection.get(name)
        return isinstance(value, str) and "{{" in value and name not in self._in_environments

    def _plain(self, value: Any, known: Json, *, path: str) -> Any:
        """Give a value that a variable of a flow may have: a text has the values it is made of written out."""
        if isinstance(value, str) and "{{" in value:
            return self._written_out(value, known, path=path)
        if isinstance(value, str | bool | int | float):
            return value
        return "" if value is None else write_json(value)

    def _written_out(self, value: str, known: Json, *, path: str) -> str:
        def write(found: re.Match[str]) -> str:
            name = found[1].strip()
            is_known = name in known and name not in self._secrets
            return write_scalar(known[name]) if is_known else found.group()

        for _ in range(_MAX_NESTING):
            if "{{" not in value or self._is_spent(path):
                break
            value = _USE.sub(write, value)
            self._expanded_chars += len(value)
            if len(value) > MAX_VARIABLE_CHARS:
                self._draft.notes.add(path, f"was cut to {MAX_VARIABLE_CHARS} characters", "shorten what it is made of")
                value = value[:MAX_VARIABLE_CHARS]
        if "{{" in value:
            self._draft.notes.add(path, "is made of others that a variable cannot hold", "write it into the steps")
            value = self.text(value, path=path)
        return value

    def _is_spent(self, path: str) -> bool:
        is_spent = self._expanded_chars > MAX_EXPANDED_CHARS
        if is_spent:
            self._draft.notes.add(
                path, "there is too much of variables in variables to write out", "write it into the steps"
            )
        return is_spent

    def keep_answer(self, name: str, *, step_id: str, tail: str) -> None:
        """From here on a name stands for a part of that step's answer."""
        self._answers[name] = write_response(step_id, tail)

    def value(self, value: Any, *, path: str) -> Any:
        """Translate every text of a JSON value, keys as they are. Its depth is bounded by whoever read it."""
        match value:
            case str():
                return self.text(value, path=path)
            case list():
                return [self.value(item, path=path) for item in value]
            case dict():
                return {key: self.value(item, path=path) for key, item in value.items()}
        return value

    def text(self, text: str, *, path: str) -> str:
        """Translate a text."""
        return self._text(text, path, 0) if "{{" in text else text

    def _text(self, text: str, path: str, depth: int) -> str:
        return _USE.sub(lambda found: self._use(found[1].strip(), path, depth), text)

    def _use(self, name: str, path: str, depth: int) -> str:
        if name.startswith("$"):
            return self._dynamic(name, path)
        if name in self._answers:
            return self._answers[name]
        if name in self._secrets:
            return self._secret(name)
        if self._is_macro(name):
            return self._macro(name, path, depth)
        if name not in self._collection and name not in self._in_environments:
            self._draft.notes.add(
                path, f"uses {{{{{name}}}}}, which has no value", f"define variables.{self.word_of(name)}"
            )
        return self._placeholder(name)

    def _placeholder(self, name: str) -> str:
        return (
            f"{{{{ .env.{self.word_of(name)} }}}}"
            if name in self._in_environments
            else write_variable(self.word_of(name))
        )

    def _macro(self, name: str, path: str, depth: int) -> str:
        if depth >= _MAX_NESTING:
            self._draft.notes.add(
                path, f"uses {{{{{name}}}}}, which uses itself", f"set variables.{self.word_of(name)}"
            )
            return write_variable(self.word_of(name))
        if self._is_spent(path):
            return write_variable(self.word_of(name))
        value = str(self._collection[name])
        self._expanded_chars += len(value)
        return self._text(value, path, depth + 1)

    def _secret(self, name: str) -> str:
        if not self._secrets[name]:
            self._secrets[name] = self._draft.declare_secret(name)
            secret = self._secrets[name].strip("{ }").removeprefix(".secrets.")
            self._draft.notes.add(f"variable.{name}", "its value was not taken", f"store it as the secret {secret}")
        return self._secrets[name]

    def _dynamic(self, name: str, path: str) -> str:
        if name in DYNAMIC:
            return DYNAMIC[name]
        sample = SAMPLES.get(name, name.removeprefix("$random").removeprefix("$") or "random")
        self._draft.notes.add(
            path, f"{{{{{name}}}}} is always {sample[:40]!r} here", "use {{ $guid }} where it must be new"
        )
        return sample
