"""The pure parts of the local runner: command lines, limits, records, verdicts, groups, stdin."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from execd.adapters.bubblewrap import Enclosure, bubblewrap_arguments, lower_user_prefix
from execd.adapters.cgroups import Cgroup, CgroupUsage, open_cgroup_tree
from execd.adapters.exit_verdict import Remains, exit_frame
from execd.adapters.instance_directory import instance_name, is_abandoned, process_namespace, sweep_directories
from execd.adapters.run_plan import Machine, plan_run, resource_limits
from execd.adapters.sandbox_faults import FAULTS, explain
from execd.adapters.seccomp import compiled_filter
from execd.adapters.shim_protocol import EndRecord, StartedRecord, decode_record, file_contents
from execd.core.errors import ConfigurationError
from execd.core.outcome import classify
from execd.core.runtimes import Runtime
from execd.core.specs import InputFile, Limits, ScriptSpec

MACHINE = Machine(python=Path("/usr/bin/python3"), is_enclosed=True, bounds_memory=True, bounds_processes=True)
PYTHON = Runtime(
    argv=("python3", "-u", "{file}"), file_name="main.py", image="", warm=True, preload=("json",), env={"A": "1"}
)
END = EndRecord(
    exit_code=0,
    signal=None,
    limiter=None,
    configured=None,
    observed=None,
    cancelled=False,
    wall_ms=1,
    cpu_ms=1,
    peak_memory_bytes=1,
)


def arguments(**enclosure: object) -> list[str]:
    chosen = Enclosure(**{"scratch_bytes": 4096, **enclosure})
    return bubblewrap_arguments(chosen, ["python3"], shim_directory=Path("/run/x/shim"), seccomp_fd=7)


def test_the_isolating_arguments_are_all_there() -> None:
    """Each one closes a hole that was measured to be open without it."""
    command = arguments()

    for flag in (
        "--unshare-all",
        "--unshare-user",
        "--disable-userns",
        "--die-with-parent",
        "--new-session",
        "--as-pid-1",
    ):
        assert flag in command
    assert command[command.index("--cap-drop") + 1] == "ALL"
    assert command[command.index("--seccomp") + 1] == "7"
    assert "--share-net" not in command
    assert "--bind" not in command


def test_every_tmpfs_has_a_size_before_it() -> None:
    """One without grows to half of the machine's memory; the size must precede, with nothing but a mode between."""
    command = arguments()

    for place in (index for index, word in enumerate(command) if word == "--tmpfs"):
        assert "--size" in command[place - 4 : place]


def test_read_only_remounts_come_after_all_mounts() -> None:
    """A mount over a read-only root would be writable again, or fail."""
    command = arguments(network=True)
    last_mount = max(
        i for i, word in enumerate(command) if word in {"--tmpfs", "--ro-bind", "--ro-bind-try", "--proc", "--dev"}
    )

    assert command.index("--remount-ro") > last_mount


def test_the_network_is_shared_only_when_asked_for() -> None:
    """Names and certificates come with it, or nothing could be reached."""
    command = arguments(network=True)

    assert "--share-net" in command
    assert "/etc/resolv.conf" in command


def test_the_lower_user_keeps_no_groups_and_no_capabilities() -> None:
    """Root's supplementary groups open files that its uid does not."""
    assert {"--reuid=65534", "--regid=65534", "--clear-groups"} <= set(lower_user_prefix(65534, 65534))


def test_the_filter_is_made_once_and_small() -> None:
    """It is handed to every sandbox; a kilobyte each is nothing, a compilation each would be."""
    assert 400 < len(compiled_filter()) < 4096
    assert compiled_filter() is compiled_filter()


def test_limits_become_resource_limits() -> None:
    """SIGXCPU must come before SIGKILL, and memory per process only where no cgroup bounds the run."""
    limits = Limits(cpu_s=1.5, processes=5, memory_bytes=1000)
    grouped = {name: (soft, hard) for name, soft, hard in resource_limits(limits, PYTHON, MACHINE)}
    lone = Machine(python=MACHINE.python, is_enclosed=False, bounds_memory=False, bounds_processes=False)
    ungrouped = {name: (soft, hard) for name, soft, hard in resource_limits(limits, PYTHON, lone)}

    assert grouped["RLIMIT_CPU"] == (2, 3)
    assert grouped["RLIMIT_NPROC"] == (6, 6)
    assert "RLIMIT_AS" not in grouped
    assert ungrouped["RLIMIT_AS"] == (1000, 1000)
    assert "RLIMIT_NPROC" not in ungrouped


def test_a_plan_becomes_the_program_unless_its_environment_forbids() -> None:
    """PYTHONHASHSEED is read when an interpreter starts, which a warm one has done."""
    spec = ScriptSpec(language="python", source="x", limits=Limits())
    plain = plan_run(spec, "python", PYTHON, MACHINE)
    seeded = plan_run(
        ScriptSpec(language="python", source="x", env={"PYTHONHASHSEED": "0"}, limits=Limits()),
        "python",
        PYTHON,
        MACHINE,
    )

    assert plain.becomes_program
    assert plain.message["argv"] is None
    assert plain.blueprint.interpreter == ("/usr/bin/python3", "-u")
    assert not seeded.becomes_program
    assert seeded.message["argv"] == ["python3", "-u", "main.py"]
    assert seeded.message["env"]["A"] == "1"


@pytest.mark.parametrize("file", [InputFile(path="a", base64="?"), InputFile(path="/a"), InputFile(path="a/../b")])
def test_a_bad_input_file_is_refused_by_name(file: InputFile) -> None:
    """Before anything starts, and saying which one it was."""
    with pytest.raises(ConfigurationError, match="files"):
        file_contents((file,))


@pytest.mark.parametrize("line", [b"", b"{}", b'{"type":"exit"}', b'{"type":"started","x":1}', b"\xff", b"[1]"])
def test_what_is_not_a_record_is_none(line: bytes) -> None:
    """The pipe comes from where programs live; a record is believed only if it is one."""
    assert decode_record(line) is None


def test_records_are_read() -> None:
    """The shim writes them by hand, so that the two sides must be compared."""
    assert decode_record(b'{"type":"started"}') == StartedRecord()


def test_broken_output_is_never_a_success() -> None:
    """Exit code 0 with half of the output is a lie."""
    exited = exit_frame(Remains(end=END, is_started=True, is_broken=True))

    assert classify(exited.record, exited.pod).reason == "platform:output_incomplete"


def test_no_record_is_lost() -> None:
    """Bubblewrap's own exit code proves nothing about the program."""
    exited = exit_frame(Remains(is_started=True))

    assert classify(exited.record, exited.pod).reason == "platform:sandbox_lost"


def test_no_start_is_the_platforms_fault_with_its_cause() -> None:
    """What bubblewrap said is what an operator needs."""
    exited = exit_frame(Remains(diagnostics="bwrap: No permissions to create new namespace"))
    outcome = classify(exited.record, exited.pod)

    assert outcome.reason == "platform:sandbox_unavailable"
    assert outcome.failure is not None
    assert "No permissions" in outcome.failure.message


def test_a_hung_shim_is_a_timeout_when_we_had_to_kill_it() -> None:
    """The parent's own timer ran out: that much is known, whatever the shim would have said."""
    exited = exit_frame(Remains(is_started=True, forced="DeadlineExceeded"))

    assert classify(exited.record, exited.pod).reason == "limit:wall"


def test_an_oom_kill_of_the_group_is_named() -> None:
    """Signal 9 alone could be anybody's."""
    exited = exit_frame(Remains(end=END, is_started=True, group=CgroupUsage(oom_kills=1)))

    assert classify(exited.record, exited.pod).reason == "limit:memory"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.text)
def test_each_known_complaint_has_a_cause_and_a_remedy(fault: object) -> None:
    """An operator reads the cause, not bubblewrap's source."""
    assert explain(f"bwrap: {fault.text} xyz").mend  # type: ignore[attr-defined]


def test_a_missing_bubblewrap_is_named_whoever_notices() -> None:
    """Started by root it is setpriv that cannot find it."""
    for words in ("setpriv: failed to execute bwrap: No such file or directory", "No such file or directory: bwrap"):
        assert explain(words).cause == "bubblewrap is not installed"


def test_an_unknown_complaint_is_passed_on() -> None:
    """Better the raw words than a wrong guess."""
    assert "weird" in explain("something weird").cause


def test_instances_know_whether_they_live() -> None:
    """What a killed execd left is swept; what a living neighbour uses is not."""
    mine, here = instance_name(), process_namespace()
    pid = mine.split("-")[1]

    assert not is_abandoned(mine)
    assert is_abandoned(f"execd-{here}-{pid}-1-abc")
    assert is_abandoned(f"execd-{here}-4194305-1-abc")
    assert not is_abandoned("execd-1-4194305-1-abc"), "another container's"
    assert not is_abandoned("execd-notes")
    assert not is_abandoned("other-1-2-3")


def test_sweeping_spares_the_living_and_follows_no_link(tmp_path: Path) -> None:
    """The place may be /tmp, where anybody can lay a link with our name."""
    here = process_namespace()
    (tmp_path / f"execd-{here}-4194305-1-aa").mkdir()
    (tmp_path / "precious").mkdir()
    (tmp_path / f"execd-{here}-4194305-1-bb").symlink_to(tmp_path / "precious")
    (tmp_path / instance_name()).mkdir()

    assert sweep_directories(tmp_path) == [f"execd-{here}-4194305-1-aa"]
    assert (tmp_path / "precious").exists()


def test_a_version_2_group_is_bounded_and_read(tmp_path: Path) -> None:
    """This machine may have only version 1; the file names are the kernel's contract."""
    directory = tmp_path / "run"
    group = Cgroup(2, {"memory": directory, "pids": directory, "cpu": directory})
    group.limit(Limits(memory_bytes=1000, processes=7))
    (directory / "memory.events").write_text("low 0\noom 1\noom_kill 2\n")
    (directory / "memory.peak").write_text("900\n")
    (directory / "cpu.stat").write_text("usage_usec 5000\nuser_usec 1\n")
    (directory / "pids.events").write_text("max 3\n")

    assert (directory / "memory.max").read_text() == "1000"
    assert (directory / "memory.swap.max").read_text() == "0"
    assert (directory / "pids.max").read_text() == "7"
    assert group.usage() == CgroupUsage(oom_kills=2, peak_memory_bytes=900, cpu_ms=5, refused_forks=3)


def test_a_place_without_cgroups_gives_none(tmp_path: Path) -> None:
    """The runner must come up on a laptop, and say what is weaker there."""
    tree = open_cgroup_tree(tmp_path)

    assert (tree.version, tree.controllers) == (0, ())
    assert tree.make("x", Limits()) is None
    assert os.listdir(tmp_path) == []
