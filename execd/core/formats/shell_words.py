"""Bash text cut into commands and words, by bash's own rules of quoting; nothing is ever run or looked up.

Understood: plain words, '…', "…", $'…' with its escapes, backslashes and continued lines, comments, `NAME=value` before or
between commands, and $NAME, which is asked of whoever calls. What bash would compute (`$(…)`, backticks, `${x:-y}`) is told.
Source: the Bash manual, section 3.1.2 (quoting) and 3.7.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from execd.core.formats.drafting import refuse

MAX_WORDS = 50_000
"""Of all commands of a text."""
_RUN = re.compile(r"[^\s'\"\\$`;&|<>()#]+")
_SPACE = re.compile(r"[ \t\r\f\v]+")
_NAME = re.compile(r"\{(?P<braced>[A-Za-z_][A-Za-z0-9_]*)\}|(?P<plain>[A-Za-z_][A-Za-z0-9_]*)", re.ASCII)
_ANSI = re.compile(
    r"\\(?:(?P<oct>[0-7]{1,3})|x(?P<hex>[0-9a-fA-F]{1,2})|u(?P<u4>[0-9a-fA-F]{1,4})|U(?P<u8>[0-9a-fA-F]{1,8})"
    r"|c(?P<ctl>[\x40-\x7f])|(?P<one>.))",
    re.DOTALL,
)
_ANSI_INSIDE = re.compile(r"(?:[^'\\]|\\.)*", re.DOTALL)
_ANSI_CHARS = {
    "a": "\a", "b": "\b", "e": "\x1b", "E": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
}  # fmt: skip
_DOUBLE_END = re.compile(r'[^"\\$`]+')
_REDIRECTION = re.compile(r"(?:\d*|&)(?:>>|>|<)(?:&\d?)?")
_ACCEPTED = "commands as bash reads them"


class ShellReader:
    """Cuts one text into commands. Owned by one call.

    Args:
        lookup: gives what stands for a variable's value.
        remark: is told what bash would have computed.
    """

    def __init__(self, text: str, *, lookup: Callable[[str], str], remark: Callable[[str], None]) -> None:
        self._text = text.replace("\r\n", "\n")
        self._at = 0
        self._lookup = lookup
        self._remark = remark
        self._commands: list[list[str]] = []
        self._words: list[str] = []
        self._word: list[str] | None = None
        self._count = 0

    def read(self) -> list[list[str]]:
        """Give the words of each command. Raises InvalidRequestError where a quote is never closed."""
        while self._at < len(self._text):
            self._step(self._text[self._at])
        self._end_command()
        return self._commands

    def _step(self, char: str) -> None:
        space = _SPACE.match(self._text, self._at)
        if space:
            self._end_word()
            self._at = space.end()
        elif char in "\n;&|()":
            self._take_operator(char)
        elif char in "<>":
            self._skip_redirection()
        elif char == "#" and self._word is None:
            end = self._text.find("\n", self._at)
            self._at = len(self._text) if end < 0 else end
        else:
            self._take_part(char)

    def _take_operator(self, char: str) -> None:
        redirection = _REDIRECTION.match(self._text, self._at) if char == "&" else None
        if redirection:
            self._skip_redirection()
            return
        if char == "|" and self._text[self._at : self._at + 2] != "||":
            self._remark("what comes after | was left out")
        self._end_command()
        self._at += 1

    def _skip_redirection(self) -> None:
        """Leave out `> file`, `2>&1`, `2>/dev/null`, with the number that was read as a word."""
        if self._word is not None and "".join(self._word).isdigit():
            self._word = None
        self._end_word()
        found = _REDIRECTION.match(self._text, self._at)
        self._at = found.end() if found else self._at + 1
        if found and found.group().endswith(("&1", "&2")):
            return
        space = _SPACE.match(self._text, self._at)
        self._at = space.end() if space else self._at
        file = re.compile(r"[^\s;&|]*").match(self._text, self._at)
        self._at = file.end() if file else self._at

    def _end_word(self) -> None:
        if self._word is None:
            return
        self._count += 1
        if self._count > MAX_WORDS:
            raise refuse("", f"has more than {MAX_WORDS} words", _ACCEPTED)
        self._words.append("".join(self._word))
        self._word = None

    def _end_command(self) -> None:
        self._end_word()
        if self._words:
            self._commands.append(self._words)
        self._words = []

    def _add(self, text: str) -> None:
        if self._word is None:
            self._word = []
        self._word.append(text)

    def _take_part(self, char: str) -> None:
        run = _RUN.match(self._text, self._at)
        if run:
            self._add(run.group())
            self._at = run.end()
        elif char == "\\":
            self._take_backslash()
        elif char == "'":
            end = self._find_end("'", self._at + 1)
            self._add(self._text[self._at + 1 : end])
            self._at = end + 1
        elif char == '"':
            self._take_double(self._at + 1)
        elif char in "$`":
            self._take_dollar()
        else:
            self._add(char)
            self._at += 1

    def _take_backslash(self) -> None:
        following = self._text[self._at + 1 : self._at + 2]
        if following != "\n":
            self._add(following)
        self._at += 2

    def _find_end(self, mark: str, start: int) -> int:
        end = self._text.find(mark, start)
        if end < 0:
            line = self._text.count("\n", 0, start) + 1
            raise refuse("", f"has a {mark} in line {line} that is never closed", _ACCEPTED)
        return end

    def _take_double(self, start: int) -> None:
        self._add("")
        self._at = start
        while True:
            run = _DOUBLE_END.match(self._text, self._at)
            if run:
                self._add(run.group())
                self._at = run.end()
            char = self._text[self._at : self._at + 1]
            if char == "":
                self._find_end('"', len(self._text))
            elif char == '"':
                self._at += 1
                return
            elif char == "\\":
                self._take_escape_in_double()
            else:
                self._take_dollar(is_quoted=True)

    def _take_escape_in_double(self) -> None:
        following = self._text[self._at + 1 : self._at + 2]
        if following != "\n":
            self._add(following if following and following in '"\\$`' else "\\" + following)
        self._at += 2

    def _take_dollar(self, *, is_quoted: bool = False) -> None:
        following = self._text[self._at + 1 : self._at + 2]
        name = _NAME.match(self._text, self._at + 1) if self._text[self._at] == "$" else None
        if name:
            self._add(self._lookup(name["braced"] or name["plain"]))
            self._at = name.end()
        elif self._text[self._at] == "`" or following in {"(", "{"}:
            self._take_computed(following)
        elif following == "'" and not is_quoted:
            self._take_ansi(self._at + 2)
        elif following == '"' and not is_quoted:
            self._take_double(self._at + 2)
        else:
            self._add("$")
            self._at += 1

    def _take_computed(self, following: str) -> None:
        """Keep the text of `$(…)`, `${…}` or a pair of backticks as it is: it cannot be known what it would be."""
        start = self._at
        mark = {"(": ")", "{": "}"}.get(following, "`") if self._text[start] == "$" else "`"
        end = self._find_end(mark, start + 1) + 1
        self._add(self._text[start:end])
        self._remark(f"{self._text[start:end][:60]} was kept as it stands")
        self._at = end

    def _take_ansi(self, start: int) -> None:
        inside = _ANSI_INSIDE.match(self._text, start)
        assert inside is not None
        end = self._find_end("'", inside.end())
        self._add(_unescape_ansi(self._text[start:end]))
        self._at = end + 1


def _unescape_ansi(text: str) -> str:
    """Read the inside of $'…'. It is bytes to bash: two `\\x` may make one character."""
    data = bytearray()
    end = 0
    for found in _ANSI.finditer(text):
        data += text[end : found.start()].encode() + _ansi_bytes(found)
        end = found.end()
    data += text[end:].encode()
    head = data.partition(b"\0")[0]
    try:
        return head.decode()
    except UnicodeDecodeError as error:
        raise refuse("", f"has a $'…' that is not UTF-8 at byte {error.start}", "text in UTF-8") from None


def _ansi_bytes(found: re.Match[str]) -> bytes:
    if found["oct"]:
        return bytes([int(found["oct"], 8) & 0xFF])
    if found["hex"]:
        return bytes([int(found["hex"], 16)])
    point = found["u4"] or found["u8"]
    if point:
        number = int(point, 16)
        return chr(number).encode(errors="replace") if number < 0x110000 else b"?"
    if found["ctl"]:
        return bytes([ord(found["ctl"]) & 0x1F])
    one = found["one"]
    return _ANSI_CHARS.get(one, one if one in "\\'\"?" else "\\" + one).encode()
