"""Encryption at rest: AES-256-GCM with the server's key, and former keys for what they encrypted.

A sealed text is `v1.<key id>.<nonce and ciphertext in base64>`. What it belongs to is authenticated with it, so a row that
is copied to another workspace or name does not open there. Nonces are random: with 96 bits, a key may seal four thousand
million texts before two are likely to share one (NIST SP 800-38D, section 8.3).

*Never* puts a key or a text into an error.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from execd.core.errors import ConfigurationError
from execd.ports import SecretUnreadableError

KEY_BYTES = 32
NONCE_BYTES = 12
KEY_WORDS = "32 bytes in base64, as `openssl rand -base64 32` gives them"
_VERSION = "v1"


class AesCipher:
    """Implements `ports.Cipher`.

    Args:
        keys: the first seals; all open.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = {_id_of(key): AESGCM(key) for key in keys}
        self._current = _id_of(keys[0])

    def seal(self, text: str, *, context: Sequence[str]) -> str:
        nonce = os.urandom(NONCE_BYTES)
        data = self._keys[self._current].encrypt(nonce, text.encode(errors="surrogatepass"), _encode(context))
        return f"{_VERSION}.{self._current}.{base64.b64encode(nonce + data).decode()}"

    def unseal(self, sealed: str, *, context: Sequence[str]) -> str:
        version, _, rest = sealed.partition(".")
        key_id, _, encoded = rest.partition(".")
        key = self._keys.get(key_id)
        if version != _VERSION or key is None:
            shown = key_id[:16] if version == _VERSION else "unknown"
            raise SecretUnreadableError(f"it was encrypted with the key {shown}, which this server does not have")
        try:
            data = base64.b64decode(encoded, validate=True)
            return key.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], _encode(context)).decode(errors="surrogatepass")
        except (InvalidTag, binascii.Error, ValueError):
            raise SecretUnreadableError("what is stored of it is damaged, or belongs elsewhere") from None

    def is_current(self, sealed: str) -> bool:
        return sealed.startswith(f"{_VERSION}.{self._current}.")


def _encode(context: Sequence[str]) -> bytes:
    return msgspec.json.encode(list(context))


def _id_of(key: bytes) -> str:
    """Name a key without telling it."""
    return hashlib.sha256(b"execd key " + key).hexdigest()[:8]


def parse_key(text: str, *, where: str) -> bytes:
    """Read a key. Raises ConfigurationError, which names `where` and never the key."""
    try:
        key = base64.b64decode(text.strip().replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigurationError(f"{where} is no key; accepted: {KEY_WORDS}")
    return key


def read_key_file(path: Path) -> list[bytes]:
    """Read the keys of a file, one a line, the first the one that is used; make the file with a new key if there is none.

    Raises:
        ConfigurationError: it cannot be read or made, others may read it, or a line is no key.
    """
    try:
        if not path.exists():
            _make_key_file(path)
        mode = stat.S_IMODE(path.stat().st_mode)
        lines = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be used for the key of secrets: {error}") from error
    if mode & 0o077:
        raise ConfigurationError(f"{path}: others than its owner may read it; accepted: mode 0600")
    if not lines:
        raise ConfigurationError(f"{path}: has no key; accepted: {KEY_WORDS}")
    return [parse_key(line, where=f"{path}, key {number}") for number, line in enumerate(lines, start=1)]


def _make_key_file(path: Path) -> None:
    """Write it whole and synced before it has its name: half a key would lock everything away for good. One that another
    process made meanwhile stays."""
    written = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    fd = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, base64.b64encode(os.urandom(KEY_BYTES)) + b"\n")
        os.fsync(fd)
    finally:
        os.close(fd)
    with contextlib.suppress(FileExistsError):
        os.link(written, path)
    written.unlink()
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
