"""How commands find the server of this machine, and do not find one that is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from execd.cli.discovery import ServerFile, read_server_file, remove_server_file, write_server_file
from execd.core.errors import StoreUnavailableError

MINE = ServerFile(url="http://127.0.0.1:1", token="t", pid=os.getpid())


def dead_pid() -> int:
    """Give the id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_server_is_found_and_its_token_is_private(tmp_path: Path) -> None:
    """The file is readable by its owner alone, since it lets one in."""
    write_server_file(tmp_path, MINE)

    assert read_server_file(tmp_path) == MINE
    assert (tmp_path / "server.json").stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A server started on a full disk says which file has no room, and shows no trace."""
    (tmp_path / "server.json").mkdir()

    with pytest.raises(StoreUnavailableError, match=r"server\.json"):
        write_server_file(tmp_path, MINE)


def test_dead_server_is_not_found(tmp_path: Path) -> None:
    """A file left by a crash sends nobody to a port where something else may listen."""
    write_server_file(tmp_path, ServerFile(url="http://127.0.0.1:1", token="t", pid=dead_pid()))

    assert read_server_file(tmp_path) is None


def test_missing_or_broken_file_is_no_server(tmp_path: Path) -> None:
    """What cannot be read is as good as nothing."""
    assert read_server_file(tmp_path) is None
    (tmp_path / "server.json").write_text('{"url": 3}')
    assert read_server_file(tmp_path) is None


def test_only_the_own_file_is_removed(tmp_path: Path) -> None:
    """A server that stops late does not hide the one that replaced it."""
    write_server_file(tmp_path, MINE)

    remove_server_file(tmp_path, pid=MINE.pid + 1)
    assert read_server_file(tmp_path) == MINE
    remove_server_file(tmp_path, pid=MINE.pid)
    assert read_server_file(tmp_path) is None
