"""How a command finds the server of this machine: a file in the data directory, written by `execd serve`.

The file holds a token, so only its owner may read it (0600). One whose process is gone is as good as none.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from execd.core.errors import StoreUnavailableError

FILE_NAME = "server.json"


class ServerFile(msgspec.Struct, frozen=True):
    """Where the running server is, and how to get in."""

    url: str
    token: str
    pid: int


def read_server_file(data_dir: Path) -> ServerFile | None:
    """Give the server that runs on this data directory; None where none does."""
    try:
        found = msgspec.json.decode((data_dir / FILE_NAME).read_bytes(), type=ServerFile)
    except (OSError, msgspec.DecodeError):
        return None
    return found if _is_alive(found.pid) else None


def write_server_file(data_dir: Path, server: ServerFile) -> None:
    """Say where this server is. Whole or not at all: a reader never sees half of it.

    Raises:
        StoreUnavailableError: the data directory takes no file, because the disk is full, say.
    """
    target = data_dir / FILE_NAME
    partial = data_dir / f"{FILE_NAME}.{server.pid}"
    try:
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(msgspec.json.encode(server))
        partial.replace(target)
    except OSError as error:
        raise StoreUnavailableError(f"cannot write {target}: {error.strerror}") from error


def remove_server_file(data_dir: Path, *, pid: int) -> None:
    """Take the file away, unless another server has written its own since."""
    target = data_dir / FILE_NAME
    try:
        found = msgspec.json.decode(target.read_bytes(), type=ServerFile)
    except (OSError, msgspec.DecodeError):
        return
    if found.pid == pid:
        target.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
