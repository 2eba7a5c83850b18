"""curl command lines, as documentation and browsers' "copy as cURL" give them, read into a flow of one step per URL.

Source: curl's manual, checked against curl 7.88 itself. What curl sends of its own (`User-Agent`, `Accept`) is not taken over.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from execd.core.flows.bodies import BODY_METHODS, FORM
from execd.core.formats.credentials import (
    Credentials,
    hide_auth,
    hide_body,
    hide_form,
    hide_headers,
    hide_query,
    is_credential,
    read_authorization,
)
from execd.core.formats.curl_options import (
    NOTED_FLAGS,
    NOTED_WITH_ARGUMENT,
    SILENT_FLAGS,
    SILENT_WITH_ARGUMENT,
    CurlOption,
    read_options,
)
from execd.core.formats.drafting import Draft, Imported, Json, check_size, refuse
from execd.core.formats.flow_reading import METHODS
from execd.core.formats.loose_json import quote_placeholders
from execd.core.formats.placeholders import Reference, split_text, write_variable
from execd.core.formats.shell_words import ShellReader
from execd.core.formats.urls import UNRESERVED, encode_literals, join_query, name_of_request, split_query

MAX_CURL_CHARS = 4 * 1024 * 1024
"""Bash itself takes 2 MiB of arguments per command."""
MAX_VARIABLE_CHARS = 64 * 1024
"""Twenty lines that each say the last one twice make gigabytes."""
_ASSIGNMENT = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.ASCII | re.DOTALL)
_DATA_OPTIONS = frozenset({"data", "data-ascii", "data-binary", "data-raw", "data-urlencode", "json"})
_GLOB = re.compile(r"\[\w+-\w+(?::\d+)?\]|\{[^{}]*,[^{}]*\}")


def import_curl(text: str, *, credentials: Credentials = Credentials.AS_SECRETS) -> Imported:
    """Read one or more curl commands, as in a shell script.

    Raises:
        PayloadTooLargeError: the text is longer than `MAX_CURL_CHARS`.
        InvalidRequestError: there is no curl command, or a quote is never closed.
    """
    check_size(text, max_chars=MAX_CURL_CHARS)
    _check_shell(text)
    draft = Draft()
    shell = _Variables(draft)
    remarks: list[str] = []
    reader = ShellReader(text.replace("\0", ""), lookup=shell.placeholder_of, remark=remarks.append)
    for number, words in enumerate(reader.read(), start=1):
        _take_command(draft, shell, shell.take_assignments(words), f"command {number}", credentials)
    for remark in remarks:
        draft.notes.add("", remark, "bash computes it; put a variable in its place")
    shell.tell_undefined()
    return draft.finish()


def _check_shell(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise refuse("", "has a lone surrogate", "text in Unicode") from None
    if re.match(r'\s*curl(\.exe)?\s+(-\S+\s+)*\^["\r\n]', text):
        raise refuse("", "is written for the command prompt of Windows", "bash: choose `Copy as cURL (bash)`")


class _Variables:
    """The shell's variables: what the text assigns, and what it reads. Owned by one import."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._secrets: dict[str, str] = {}
        self._read: dict[str, None] = {}

    def placeholder_of(self, name: str) -> str:
        if not is_credential(name):
            self._read[name] = None
            return write_variable(name)
        if name not in self._secrets:
            self._secrets[name] = self._draft.declare_secret(name)
        return self._secrets[name]

    def take_assignments(self, words: list[str]) -> list[str]:
        """Keep `NAME=value` that stands before a command; give the other words."""
        count = 1 if words[:1] == ["export"] else 0
        while count < len(words) and (found := _ASSIGNMENT.fullmatch(words[count])):
            if is_credential(found[1]):
                self._draft.notes.add(
                    "", f"the value of {found[1]} was not taken", f"store it as the secret {found[1]}"
                )
                self.placeholder_of(found[1])
            else:
                self._draft.variables[found[1]] = self._expanded(found[1], found[2])
            count += 1
        return words[count:]

    def _expanded(self, name: str, value: str) -> str:
        """Write out what earlier assignments say, as bash would: variables of a flow do not read one another."""
        parts = [
            str(self._draft.variables.get(part.name, part.text)) if isinstance(part, Reference) else part
            for part in split_text(value)
        ]
        expanded = "".join(parts)
        if len(expanded) <= MAX_VARIABLE_CHARS:
            return expanded
        self._draft.notes.add("", f"${name} would have {len(expanded)} characters and was left empty", "shorten it")
        return ""

    def tell_undefined(self) -> None:
        for name in self._read:
            if name not in self._draft.variables:
                self._draft.notes.add("", f"${name} is set nowhere in the text", f"give the variable {name} a value")


def _take_command(draft: Draft, shell: _Variables, words: list[str], path: str, credentials: Credentials) -> None:
    if not words or words[0] in {":", "set"}:
        return
    if words[0].rpartition("/")[2] not in {"curl", "curl.exe"}:
        draft.notes.add(path, f"{words[0][:40]!r} is not curl and was left out", "do its work in a script step")
        return
    options: list[CurlOption] = []
    for option in [*read_options(words[1:]), CurlOption(name="next")]:
        if option.name != "next":
            options.append(option)
        elif options:
            _Command(draft, path, credentials).take(options)
            options = []


class _Command:
    """One curl command, option by option. Owned by one import."""

    def __init__(self, draft: Draft, path: str, credentials: Credentials) -> None:
        self._draft = draft
        self._path = path
        self._hides = credentials is Credentials.AS_SECRETS
        self._urls: list[str] = []
        self._query: list[str] = []
        self._headers: dict[str, str] = {}
        self._data: list[str] = []
        self._form: Json = {}
        self._auth: Json | None = None
        self._method: str | None = None
        self._timeout: float | None = None
        self._retry: Json = {}
        self._flags: set[str] = set()

    def take(self, options: list[CurlOption]) -> None:
        for option in options:
            self._take_option(option)
        for name in sorted(self._flags & {"digest", "ntlm", "negotiate"}):
            self._auth = None
            self._note(f"--{name} was left out, and the user and password with it", "give the step an `auth`")
        if not self._urls:
            self._note("has no URL", "give it one")
        if self._chosen_method() not in METHODS:
            self._note(f"has the method {self._chosen_method()[:20]} and was left out", "do it in a script step")
            return
        for url in self._urls:
            self._draft.add_step(self._step(url), path=self._path)

    def _note(self, message: str, advice: str) -> None:
        self._draft.notes.add(self._path, message, advice)

    def _take_option(self, option: CurlOption) -> None:
        name, argument = option.name, option.argument or ""
        match name:
            case "url":
                self._urls.append(argument)
            case "header":
                self._take_header(argument)
            case "user-agent" | "referer":
                self._headers[{"user-agent": "User-Agent", "referer": "Referer"}[name]] = argument
            case "cookie":
                self._take_cookie(argument)
            case "request":
                self._method = argument.upper()
            case "form" | "form-string":
                self._take_part(argument, is_literal=name == "form-string")
            case "url-query":
                self._query.append(argument.removeprefix("+") if argument[:1] == "+" else self._encoded(argument))
            case _ if name in _DATA_OPTIONS:
                self._take_data(name, argument)
            case _:
                self._take_other(name, argument)

    def _take_other(self, name: str, argument: str) -> None:
        match name:
            case "user":
                self._take_user(argument)
            case "oauth2-bearer":
                self._auth = {"type": "bearer", "token": argument}
            case "max-time" | "retry" | "retry-delay":
                self._take_number(name, argument)
            case "get" | "head" | "digest" | "ntlm" | "negotiate":
                self._flags.add(name)
            case "location" | "location-trusted":
                self._flags.add("location")
            case "range":
                self._add_header("Range", f"bytes={argument}" + ("" if "-" in argument else "-"))
            case "insecure":
                self._note("-k was left out: certificates are checked", "have execd trust the certificate")
            case _ if name in SILENT_FLAGS or name in SILENT_WITH_ARGUMENT:
                return
            case _ if name in NOTED_WITH_ARGUMENT or name in NOTED_FLAGS:
                self._note(f"--{name} was left out", "flows have nothing of the kind")
            case _:
                self._note(f"the option {name[:40]} is not known here and was left out", "see whether it matters")

    def _take_header(self, line: str) -> None:
        if line.startswith("@"):
            self._note(f"-H {line[:60]} reads a file and was left out", "write the headers into the step")
            return
        name, colon, value = line.partition(":")
        if not colon:
            name, colon, value = line.partition(";")
        name, value = name.strip(), value.strip()
        if not name or (not value and ";" not in line):
            return  # `-H 'Accept:'` takes away a header that curl would add, and this flow does not
        self._add_header(name, value)

    def _add_header(self, name: str, value: str) -> None:
        same = next((known for known in self._headers if known.lower() == name.lower()), None)
        if same is None:
            self._headers[name] = value
            return
        joint = "; " if name.lower() == "cookie" else ", "
        self._headers[same] += joint + value
        self._note(f"the header {name[:60]} stood twice; its values were joined", "see whether the server minds")

    def _take_cookie(self, argument: str) -> None:
        if "=" in argument:
            self._add_header("Cookie", argument)
        else:
            self._note("-b reads a file of cookies and was left out", "`cookies: true` keeps those that answers set")

    def _take_user(self, argument: str) -> None:
        username, colon, password = argument.partition(":")
        if not colon:
            password = self._draft.declare_secret("password")
            self._note("-u has no password", "store it as the secret that the step names")
        self._auth = {"type": "basic", "username": username, "password": password}

    def _take_number(self, name: str, argument: str) -> None:
        try:
            number = float(argument)
        except ValueError:
            number = -1.0
        if not 0 < number < 1_000_000:
            return
        if name == "max-time":
            self._timeout = number
        else:
            self._retry |= {"attempts": min(int(number) + 1, 11)} if name == "retry" else {"delay_s": min(number, 300)}

    def _take_data(self, name: str, argument: str) -> None:
        if name == "json":
            self._headers.setdefault("Content-Type", "application/json")
            self._headers.setdefault("Accept", "application/json")
        is_file = argument.startswith("@") and name not in {"data-raw", "data-urlencode"}
        if name == "data-urlencode":
            self._data.append(self._encoded(argument))
        elif is_file:
            self._flags.add("sends")
            self._note(f"its body comes from the file {argument[1:60]}", "write the body into the step")
        elif name == "json" and self._data:
            self._data[-1] += argument
        else:
            self._data.append(argument)

    def _encoded(self, argument: str) -> str:
        """Do what --data-urlencode does: `content`, `=content`, `name=content`, `@file`, `name@file`."""
        found = re.match(r"([^=@]*)([=@]?)", argument)
        assert found is not None
        name, mark = found[1], found[2]
        content = argument[found.end() :] if mark else argument
        if mark == "@":
            self._note(f"a part of its body comes from the file {content[:60]}", "write it into the step")
            content = ""
        encoded = encode_literals(content, lambda text: quote(text, safe=UNRESERVED))
        return f"{name}={encoded}" if mark and name else encoded

    def _take_part(self, argument: str, *, is_literal: bool) -> None:
        name, _, value = argument.partition("=")
        if name in self._form:
            self._note(f"the part {name[:60]} stands twice; the last was taken", "send lists with a script step")
        if not is_literal and value[:1] in {"@", "<"}:
            self._flags.add("sends")
            self._note(f"the part {name[:60]} comes from a file and was left out", "send files with a script step")
            return
        if not is_literal and re.search(r";\s*(type|filename|headers|encoder)=", value):
            self._note(f"the type of the part {name[:60]} was left out", "see whether the server minds")
            value = re.split(r";\s*(?:type|filename|headers|encoder)=", value)[0]
        self._form[name] = value

    def _step(self, url: str) -> Json:
        method = self._chosen_method()
        url = join_query(*self._parts_of(url))
        if _GLOB.search(url):
            self._note("curl would make several URLs of this one; it was taken as it is", "write a step for each")
        headers, auth = dict(self._headers), self._auth
        node: Json = {"id": "", "name": name_of_request(method, url), "method": method, "url": url}
        body = self._body(headers)
        for name in [name for name in headers if name.lower() == "authorization" and auth is None]:
            auth = read_authorization(headers[name])
            if auth is not None:
                del headers[name]
        self._finish(node, headers, auth, body)
        node["id"] = self._draft.new_id(node["name"].lower())
        return node

    def _finish(self, node: Json, headers: dict[str, str], auth: Json | None, body: object) -> None:
        if self._hides:
            node["url"] = hide_query(self._draft, node["url"], path=self._path)
            headers = hide_headers(self._draft, headers, path=self._path)
            auth = hide_auth(self._draft, auth, path=self._path) if auth else None
            if isinstance(body, str) and self._is_form(headers):
                body = hide_form(self._draft, body, path=f"{self._path}.body")
            body = hide_body(self._draft, body, path=f"{self._path}.body")
        if body and node["method"] not in BODY_METHODS:
            self._note(f"has a body, and flows send none with {node['method']}", "do it in a script step")
        if body not in (None, ""):
            node["body"] = body
        found = {"headers": headers, "auth": auth, "timeout": self._timeout, "retry": self._retry}
        node |= {key: value for key, value in found.items() if value}

    def _is_form(self, headers: dict[str, str]) -> bool:
        kind = next((value for name, value in headers.items() if name.lower() == "content-type"), FORM)
        return kind.startswith(FORM) and not any(text[:1] in {"{", "["} for text in self._data)

    def _chosen_method(self) -> str:
        if "head" in self._flags:
            return self._method or "HEAD"
        sends = ((self._data or "sends" in self._flags) and "get" not in self._flags) or self._form
        return self._method or ("POST" if sends else "GET")

    def _parts_of(self, url: str) -> tuple[str, list[str]]:
        added = list(self._query) + (self._data if "get" in self._flags else [])
        head, pairs, _ = split_query(url)
        if "://" not in head and not head.startswith("{{"):
            head = "http://" + head
        return head, [*pairs, *added]

    def _body(self, headers: dict[str, str]) -> object:
        if self._form:
            headers["Content-Type"] = "multipart/form-data"
            return self._form
        if "get" in self._flags or not self._data:
            return None
        text = "&".join(self._data)
        kind = next((value for name, value in headers.items() if name.lower() == "content-type"), "")
        if "json" not in kind.lower():
            return text
        body, bare = quote_placeholders(text)
        self._draft.typed_words |= {name.strip("{} ").removeprefix(".vars.") for name in bare}
        return body
