"""The bubblewrap command line: what a sandbox sees, and nothing else of the machine.

Pure but for looking at which of `/bin`, `/lib` … are links here. Each argument's reason is in notes/code-execution.md 2.1.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

SEARCH_PATH = "/usr/local/bin:/usr/bin:/bin"
"""PATH inside, and where interpreters are looked for outside: only `/usr` is visible inside."""
INSIDE_UID = 65534
BOX = "/box"
"""The working directory inside."""
SHIM_DIRECTORY = "/.execd"
SHARED_MEMORY_BYTES = 16 * 1024 * 1024
ROOT_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
NETWORK_FILES = (
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
)
"""What names and certificates need; `/etc` is otherwise unseen."""


class Enclosure(msgspec.Struct, frozen=True, kw_only=True):
    """What is particular to one sandbox; it is fixed before the program is known and part of the warm pool's key."""

    scratch_bytes: int
    """The size of `/box` and of `/tmp`: both are memory, and count as such where a cgroup is available."""
    network: bool = False


def bubblewrap_arguments(
    enclosure: Enclosure, command: Sequence[str], *, shim_directory: Path, seccomp_fd: int
) -> list[str]:
    """Give the whole argument list. The order matters: mounts over mounts, and read-only remounts last."""
    return [
        "bwrap",
        *("--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session", "--as-pid-1"),
        *(("--share-net",) if enclosure.network else ()),
        *("--cap-drop", "ALL", "--uid", str(INSIDE_UID), "--gid", str(INSIDE_UID), "--hostname", "sandbox"),
        *_system_mounts(),
        *(_network_mounts() if enclosure.network else ()),
        *("--ro-bind", str(shim_directory), SHIM_DIRECTORY),
        *("--ro-bind", str(shim_directory / "passwd"), "/etc/passwd"),
        *("--ro-bind", str(shim_directory / "group"), "/etc/group"),
        *("--proc", "/proc", "--ro-bind-try", "/proc/sys", "/proc/sys", "--dev", "/dev"),
        *("--size", str(SHARED_MEMORY_BYTES), "--perms", "1777", "--tmpfs", "/dev/shm"),  # noqa: S108 - inside
        *("--size", str(enclosure.scratch_bytes), "--perms", "1777", "--tmpfs", "/tmp"),  # noqa: S108 - inside
        *("--size", str(enclosure.scratch_bytes), "--tmpfs", BOX),
        *("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", BOX),
        *("--clearenv", "--setenv", "PATH", SEARCH_PATH, "--setenv", "HOME", "/tmp", "--setenv", "LANG", "C.UTF-8"),  # noqa: S108 - inside
        *("--seccomp", str(seccomp_fd), "--", *command),
    ]


def _system_mounts() -> list[str]:
    mounts = ["--ro-bind", "/usr", "/usr"]
    for name in ROOT_LINKS:
        path = f"/{name}"
        if os.path.islink(path):
            mounts += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            mounts += ["--ro-bind", path, path]
    for path in ("/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime"):
        mounts += ["--ro-bind-try", path, path]
    return mounts


def _network_mounts() -> list[str]:
    return [argument for path in NETWORK_FILES for argument in ("--ro-bind-try", path, path)]


def lower_user_prefix(uid: int, gid: int) -> list[str]:
    """Give the words that start a command as another user, with no supplementary groups and no capabilities.

    `setpriv` rather than `Popen(user=...)`: the latter cannot use vfork, and forking execd costs milliseconds of its loop.
    """
    ids = (f"--reuid={uid}", f"--regid={gid}", "--clear-groups")
    return ["setpriv", *ids, "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--"]


def find_interpreter(name: str = "python3") -> Path | None:
    """Find a program that is also there inside: on the search path, and in truth below `/usr`."""
    for folder in SEARCH_PATH.split(":"):
        found = shutil.which(name, path=folder)
        if found is not None and Path(found).resolve().is_relative_to("/usr"):
            return Path(found)
    return None
