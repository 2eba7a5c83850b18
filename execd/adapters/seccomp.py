"""The system call filter of every local sandbox: allow by default, refuse what reaches kernel code no script needs.

Refusals are errors, not kills: libraries probe for calls. The compiled filter is specific to the processor it was made
on; libseccomp's default kills calls that come in through another ABI.

Source: notes/code-execution.md 2.3; the default profiles of Docker and flatpak.
"""

from __future__ import annotations

import errno
import functools
import os
import socket

import pyseccomp

REFUSED_GROUPS = (
    # reading and steering other processes
    "ptrace process_vm_readv process_vm_writev process_madvise kcmp pidfd_getfd",
    # the kernel's own programs and side doors
    "bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register vmsplice lookup_dcookie",
    # keyrings are shared between all sandboxes of one uid
    "add_key keyctl request_key",
    # mounts and namespaces
    "mount umount umount2 fsopen fsconfig fsmount fspick move_mount open_tree mount_setattr pivot_root chroot",
    "unshare setns",
    # modules, boot, time
    "init_module finit_module delete_module create_module query_module get_kernel_syms",
    "kexec_load kexec_file_load reboot swapon swapoff acct",
    "settimeofday clock_settime clock_settime64 clock_adjtime clock_adjtime64 adjtimex stime syslog iopl ioperm",
    # files by handle, quotas, and whose memory lies where
    "open_by_handle_at name_to_handle_at quotactl quotactl_fd nfsservctl",
    "mbind set_mempolicy set_mempolicy_home_node get_mempolicy migrate_pages move_pages",
)

NAMESPACE_FLAGS = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000, 0x00000080)
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, NEWTIME."""

REFUSED_FAMILIES = (socket.AF_VSOCK, socket.AF_NETLINK, socket.AF_PACKET, socket.AF_ALG)

TERMINAL_INJECTIONS = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX: typing into the terminal of somebody else."""

LOW_32_BITS = 0xFFFFFFFF


@functools.cache
def compiled_filter() -> bytes:
    """Give the filter as the kernel wants it; made once, about a kilobyte.

    Raises:
        OSError: libseccomp is missing or refuses.
    """
    rules = pyseccomp.SyscallFilter(defaction=pyseccomp.ALLOW)
    for name in (name for group in REFUSED_GROUPS for name in group.split()):
        _refuse(rules, errno.EPERM, name)
    # glibc falls back to clone, whose flags a filter can see, only on ENOSYS.
    _refuse(rules, errno.ENOSYS, "clone3")
    for flag in NAMESPACE_FLAGS[:-1]:  # NEWTIME shares its bit with the exit signal in clone; only unshare takes it
        _refuse(rules, errno.EPERM, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, flag, flag))
    for family in REFUSED_FAMILIES:
        _refuse(rules, errno.EAFNOSUPPORT, "socket", pyseccomp.Arg(0, pyseccomp.EQ, int(family)))
    for request in TERMINAL_INJECTIONS:
        # The kernel looks at the low half only, so a request with rubbish above it must match too.
        _refuse(rules, errno.EPERM, "ioctl", pyseccomp.Arg(1, pyseccomp.MASKED_EQ, LOW_32_BITS, request))
    return _export(rules)


def _refuse(rules: pyseccomp.SyscallFilter, number: int, name: str, *conditions: pyseccomp.Arg) -> None:
    try:
        rules.add_rule(pyseccomp.ERRNO(number), name, *conditions)
    except ValueError:  # this processor or this libseccomp has no such call, so nobody can make it
        return


def _export(rules: pyseccomp.SyscallFilter) -> bytes:
    with os.fdopen(os.memfd_create("seccomp"), "w+b") as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()
