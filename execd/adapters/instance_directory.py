"""A directory of this execd process alone, which sandboxes can reach: the compiled shim and, unsandboxed, work directories.

The data directory will not do when root starts execd: it may lie below `/root`, and sandboxes run as a lower user. The
name says whose it is (process id and start time), so the next execd removes what a killed one left.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from execd.adapters.bubblewrap import INSIDE_UID

PREFIX = "execd-"
ROOT_PLACES = (Path("/run"), Path("/tmp"))  # noqa: S108 - the name is random, and made with O_EXCL semantics
COMPILE = "import py_compile, sys; py_compile.compile(sys.argv[1], cfile=sys.argv[2], dfile='<sandbox>', doraise=True)"
COMPILE_DEADLINE_S = 20.0
SHIM_SOURCES = ("shim.py", "shim_program.py")


def instance_name() -> str:
    """Name this process so that another can tell whether it still lives; different at each call."""
    pid = os.getpid()
    return f"{PREFIX}{process_namespace()}-{pid}-{_start_ticks(pid)}-{secrets.token_hex(4)}"


def is_abandoned(name: str) -> bool:
    """Say whether a name made by `instance_name` belongs to a process that is gone.

    Only of this PID namespace: another container may share the directory or the cgroups, and its processes cannot be
    seen from here.
    """
    parts = name.removeprefix(PREFIX).split("-")
    if not name.startswith(PREFIX) or len(parts) != 4 or not parts[1].isdigit():
        return False
    return parts[0] == process_namespace() and _start_ticks(int(parts[1])) != parts[2]


def process_namespace() -> str:
    """Give the number of this process's PID namespace."""
    return str(Path("/proc/self/ns/pid").stat().st_ino)


def _start_ticks(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None


@contextmanager
def open_instance_directory(data_dir: Path) -> Iterator[Path]:
    """Make the directory, after removing those of dead processes, and remove it at the end."""
    place = _choose_place(data_dir)
    sweep_directories(place)
    directory = place / instance_name()
    directory.mkdir(mode=0o755)
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def sweep_directories(place: Path) -> list[str]:
    """Remove directories of dead execd processes and give their names."""
    abandoned = [entry for entry in place.glob(f"{PREFIX}*") if is_abandoned(entry.name) and not entry.is_symlink()]
    for entry in abandoned:
        if entry.stat().st_uid == os.geteuid():
            shutil.rmtree(entry, ignore_errors=True)
    return [entry.name for entry in abandoned]


def _choose_place(data_dir: Path) -> Path:
    if os.geteuid() == 0:
        return next(place for place in ROOT_PLACES if os.access(place, os.W_OK))
    place = data_dir / "run"
    place.mkdir(parents=True, exist_ok=True)
    return place


def install_shim(directory: Path, python: Path) -> Path:
    """Lay the shim, compiled by the interpreter that will run it, into a directory of its own. Blocks for about 50 ms.

    Raises:
        OSError: it could not be written.
        subprocess.SubprocessError: the interpreter does not work, or is too old to compile it.
    """
    target = directory / "shim"
    target.mkdir(mode=0o755, exist_ok=True)
    for source in SHIM_SOURCES:
        compiled = target / f"{source}c"
        command = [str(python), "-I", "-S", "-c", COMPILE, str(Path(__file__).with_name(source)), str(compiled)]
        subprocess.run(command, check=True, capture_output=True, timeout=COMPILE_DEADLINE_S, env={})
        compiled.chmod(0o644)
    # Names for the ids inside, so that `getpass.getuser()` and `ls -l` have something to say.
    _write(target / "passwd", f"sandbox:x:{INSIDE_UID}:{INSIDE_UID}:sandbox:/tmp:/bin/sh\n")
    _write(target / "group", f"sandbox:x:{INSIDE_UID}:\n")
    return target


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o644)
