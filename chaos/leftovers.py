"""What a dead server may not leave: processes of its sandboxes, cgroups, directories.

Found by the name of its instance (`execd-<pid namespace>-<pid>-…`), which stands in the mounts of every process inside a
sandbox, whatever that process calls itself and whoever adopted it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import trio

CGROUPS = Path("/sys/fs/cgroup")
PLACES = (Path("/run"), Path("/tmp"))
SETTLE_S = 5.0
"""How long the kernel may take to end a killed server's sandboxes on a busy machine."""
LOOK_S = 0.1


async def find_leftovers(pids: Sequence[int], *, data_dir: Path, processes_only: bool = False) -> list[str]:
    """Look for what these dead servers left, until nothing is there or the time is up; give what is."""
    found: list[str] = []
    with trio.move_on_after(SETTLE_S):
        while True:
            found = await trio.to_thread.run_sync(_look, tuple(pids), data_dir, processes_only)
            if not found:
                break
            await trio.sleep(LOOK_S)
    return found


def _look(pids: Sequence[int], data_dir: Path, processes_only: bool) -> list[str]:
    namespace = Path("/proc/self/ns/pid").stat().st_ino
    names = tuple(f"execd-{namespace}-{pid}-" for pid in pids)
    found = _processes(names)
    if processes_only:
        return found
    places = [*PLACES, data_dir / "run"]
    directories = [path for place in places for path in place.glob("execd-*") if path.name.startswith(names)]
    groups = [path for path in _groups() if path.name.startswith(names)]
    return found + [str(path) for path in (*directories, *groups)]


def _processes(names: tuple[str, ...]) -> list[str]:
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            mounts = Path(f"/proc/{entry}/mountinfo").read_text()
            command = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            state = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z" and any(name in mounts or name in command for name in names):
            found.append(f"process {entry}: {command[:120]}")
    return found


def _groups() -> list[Path]:
    """List groups two levels deep: below a v1 hierarchy or the v2 root, and below the group this campaign runs in."""
    own = {line.rpartition(":")[2].lstrip("/") for line in Path("/proc/self/cgroup").read_text().splitlines()}
    roots = [CGROUPS, *(path for path in CGROUPS.iterdir() if path.is_dir())] if CGROUPS.is_dir() else []
    return [group for root in roots for path in own | {""} for group in (root / path).glob("execd-*")]
