"""What bubblewrap says when it cannot work -> why, and what to do: a table, for `execd doctor` and for refusals.

Source: notes/code-execution.md 2.4, with the issues it cites.
"""

from __future__ import annotations

import msgspec


class Fault(msgspec.Struct, frozen=True):
    """One known way for a sandbox not to start."""

    text: str
    """What stands on stderr."""
    cause: str
    mend: str


FAULTS = (
    Fault(
        "failed to execute bwrap",
        "bubblewrap is not installed",
        "install it (Debian, Ubuntu, Fedora: the package `bubblewrap`)",
    ),
    Fault(
        "No permissions to create",
        "user namespaces are forbidden here",
        "set sysctl kernel.unprivileged_userns_clone=1, or allow unshare and clone in the container's seccomp profile",
    ),
    Fault(
        "nesting depth or /proc/sys/user/max_",
        "a quota on namespaces is zero or used up",
        "raise sysctl user.max_user_namespaces and its siblings user.max_*_namespaces",
    ),
    Fault(
        "Creating new namespace failed: Resource temporarily unavailable",
        "the limit on processes of this user is reached",
        "raise `ulimit -u` (TasksMax or LimitNPROC in systemd) of the user sandboxes run as",
    ),
    Fault(
        "setting up uid map: Permission denied",
        "AppArmor restricts user namespaces (Ubuntu 23.10 and later)",
        "install an AppArmor profile for bwrap, or set sysctl kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    Fault(
        "Failed RTM_NEWADDR",
        "AppArmor restricts user namespaces (Ubuntu 23.10 and later)",
        "install an AppArmor profile for bwrap, or set sysctl kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    Fault(
        "Can't mount proc",
        "/proc is masked or read-only, as in a container",
        "unmask /proc (Kubernetes: procMount Unmasked, hostUsers false), or use the Kubernetes runner",
    ),
    Fault(
        "/proc/sys/user/max_user_namespaces",
        "the sysctl tree is read-only, so nested user namespaces cannot be forbidden",
        "make /proc/sys/user writable for the container, or run execd outside of it",
    ),
    Fault("Unknown option --", "bubblewrap is too old", "install bubblewrap 0.8 or later"),
    Fault(
        "execvp",
        "a program of the sandbox is missing",
        "install the system's python3 below /usr, and bubblewrap",
    ),
    Fault(
        "Can't find source path", "a directory the sandbox shows is missing", "check that /usr exists and is readable"
    ),
    Fault(
        "setpriv: ",
        "the user for sandboxes cannot be switched to",
        "give execd CAP_SETUID and CAP_SETGID, or do not start it as root",
    ),
    Fault(
        "No such file or directory: bwrap",
        "bubblewrap is not installed",
        "install it (Debian, Ubuntu, Fedora: the package `bubblewrap`)",
    ),
    Fault(
        "No such file or directory: setpriv",
        "setpriv is missing, which execd as root needs to switch to a lower user",
        "install util-linux, or start execd as an ordinary user",
    ),
)


def explain(message: str) -> Fault:
    """Find the cause of what bubblewrap printed; what is not known is passed on as it is."""
    known = next((fault for fault in FAULTS if fault.text in message), None)
    return known or Fault(
        message, message or "the sandbox ended without a word", "run `bwrap --version` and the log at level debug"
    )
