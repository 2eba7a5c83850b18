"""What is submitted, and what must come out of it. `TOKEN` and `WITNESS` in a source are filled in for each wish."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from chaos import graphs

Ending = tuple[str, str | None]
"""A final status and the code of its error."""

COMPLETED: Ending = ("completed", None)
CANCELLED: Ending = ("cancelled", "cancelled")
INTERRUPTED: Ending = ("interrupted", "interrupted")
WORKER_LOST: Ending = ("failed", "worker_lost")
RETRIES = 10
"""The most there may be: losing all of them takes eleven kills within one script."""

PYTHON_TELL = """
import socket, sys, time
def tell(word):
    with socket.create_connection(("127.0.0.1", WITNESS), 20) as line:
        line.sendall(f"{word} TOKEN\\n".encode())
        line.recv(1)
"""
BASH_TELL = """
tell() { exec 3<>/dev/tcp/127.0.0.1/WITNESS; echo "$1 TOKEN" >&3; read -r -n 1 -u 3 _; exec 3>&-; }
"""


@dataclass(frozen=True)
class Recipe:
    """One sort of script."""

    name: str
    language: str
    source: str
    ends: tuple[Ending, ...] = (COMPLETED,)
    """How it may end when no worker is lost."""
    stdout: Callable[[str], bytes] = lambda _token: b""
    """What a run that ended as it should has written and kept, by its token."""
    written_bytes: Callable[[str], int] | None = None
    """How much it wrote in all, where a limit keeps less; None where all is kept."""
    has_whole_output: bool = True
    """Whether `stdout` holds for its endings; not for what is cut off at some moment."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the body."""
    steer: str = ""
    """`cancel`, `cancel at once`, `interrupt` or `stdin`; of flows `answer` and `leave`, too."""
    nodes: Callable[[str, int], list[dict[str, Any]]] | None = None
    """Of a workflow: its nodes, by its token and the witness's port; None for a script."""
    flow: Callable[[str, int], dict[str, Any]] | None = None
    """Of a flow: its config, by its token and the port of the outside."""
    door: str = ""
    """Of a flow that comes by FlowSphere's door: `attached` or `detached`."""

    @property
    def tells_witness(self) -> bool:
        return "WITNESS" in self.source

    @property
    def retries(self) -> int:
        return int(self.more.get("retries", 0))

    def body(self, token: str, *, witness_port: int, outside_port: int) -> dict[str, Any]:
        """Fill it in."""
        if self.flow is not None:
            config = {"name": token, **self.flow(token, outside_port)}
            is_detached = self.door == "detached"
            return {"config": config, "options": {"detach": is_detached}} if self.door else {"kind": "flow", **config}
        if self.nodes is not None:
            return {"kind": "workflow", "name": token, "nodes": self.nodes(token, witness_port)}
        source = self.source.replace("TOKEN", token).replace("WITNESS", str(witness_port))
        limits = {"wall_s": 45.0, **self.more.get("limits", {}), **({"network": True} if self.tells_witness else {})}
        return {
            "kind": "script",
            "language": self.language,
            "name": token,
            "source": source,
            **self.more,
            "limits": limits,
        }


def _line(token: str) -> bytes:
    return f"{token}\n".encode()


def _ten(token: str) -> bytes:
    return b"".join(f"{token} {number}\n".encode() for number in range(10))


FLOOD_LINES = 20_000


def _flood(token: str) -> bytes:
    return b"".join(b"%s %08d %s\n" % (token.encode(), number, b"x" * 60) for number in range(FLOOD_LINES))


def _bytes(token: str) -> bytes:
    return token.encode() + bytes(range(256)) * 400


OUTPUT_LIMIT_BYTES = 10_000

_TEN_SOURCE = "tell('started')\nfor n in range(10):\n    print('TOKEN', n)\n    time.sleep(0.08)\ntell('finished')\n"
_TEN_BASH = "tell started; for n in 0 1 2 3 4 5 6 7 8 9; do echo TOKEN $n; sleep 0.08; done; tell finished\n"

RECIPES: tuple[Recipe, ...] = (
    Recipe("short", "python", "print('TOKEN')", stdout=_line),
    Recipe("short, bash", "bash", "echo TOKEN", stdout=_line),
    Recipe("short, told", "python", PYTHON_TELL + "tell('started')\nprint('TOKEN')\ntell('finished')", stdout=_line),
    Recipe("slow, told", "python", PYTHON_TELL + _TEN_SOURCE, stdout=_ten),
    Recipe("slow, told, bash", "bash", BASH_TELL + _TEN_BASH, stdout=_ten),
    Recipe("slow, retries", "python", PYTHON_TELL + _TEN_SOURCE, stdout=_ten, more={"retries": RETRIES}),
    Recipe("slow, retries, bash", "bash", BASH_TELL + _TEN_BASH, stdout=_ten, more={"retries": RETRIES}),
    Recipe(
        "flood",
        "python",
        "import sys\nfor k in range(0, 20000, 500):\n"
        "    sys.stdout.buffer.write(b''.join(b'TOKEN %08d %s\\n' % (n, b'x' * 60) for n in range(k, k + 500)))\n",
        stdout=_flood,
    ),
    Recipe("flood, bash", "bash", f"seq -f 'TOKEN %08.0f {'x' * 60}' 0 {FLOOD_LINES - 1}", stdout=_flood),
    Recipe(
        "bytes",
        "python",
        "import sys\nsys.stdout.buffer.write(b'TOKEN' + bytes(range(256)) * 400)",
        stdout=_bytes,
    ),
    Recipe("exit 3", "python", "print('TOKEN')\nraise SystemExit(3)", ends=(("failed", "exit"),), stdout=_line),
    Recipe("signal", "bash", "echo TOKEN; kill -SEGV $$", ends=(("failed", "signal:SEGV"),), stdout=_line),
    Recipe(
        "wall limit",
        "python",
        "import time\nprint('TOKEN')\ntime.sleep(60)",
        ends=(("timeout", "limit:wall"),),
        stdout=_line,
        more={"limits": {"wall_s": 0.5}},
    ),
    Recipe(
        "output limit",
        "python",
        "import sys\nsys.stdout.buffer.write(b'TOKEN' + bytes(range(256)) * 400)",
        stdout=lambda token: _bytes(token)[:OUTPUT_LIMIT_BYTES],
        written_bytes=lambda token: len(_bytes(token)),
        more={"limits": {"output_bytes": OUTPUT_LIMIT_BYTES}},
    ),
    Recipe(
        "stdin",
        "python",
        "print('TOKEN')\nprint(input())",
        stdout=lambda token: _line(token) * 2,
        more={"stdin_open": True, "limits": {"wall_s": 60.0}},
        steer="stdin",
    ),
    Recipe(
        "cancel",
        "python",
        PYTHON_TELL + "tell('started')\nprint('TOKEN')\ntime.sleep(40)",
        ends=(CANCELLED,),
        has_whole_output=False,
        steer="cancel",
    ),
    Recipe("cancel, bash", "bash", "echo TOKEN; sleep 40", ends=(CANCELLED,), has_whole_output=False, steer="cancel"),
    Recipe(
        "cancel at once",
        "python",
        PYTHON_TELL + "tell('started')\ntime.sleep(40)",
        ends=(CANCELLED,),
        has_whole_output=False,
        steer="cancel at once",
    ),
    Recipe(
        "cancel, retries",
        "python",
        PYTHON_TELL + "tell('started')\nprint('TOKEN')\ntime.sleep(40)",
        ends=(CANCELLED,),
        has_whole_output=False,
        more={"retries": RETRIES},
        steer="cancel",
    ),
    Recipe(
        "interrupt",
        "python",
        PYTHON_TELL + _TEN_SOURCE,
        ends=(COMPLETED, INTERRUPTED),
        has_whole_output=False,
        steer="interrupt",
    ),
    Recipe("workflow", "", "", has_whole_output=False, nodes=graphs.nodes),
    Recipe(
        "workflow, cancel",
        "",
        "",
        ends=(CANCELLED, COMPLETED),
        has_whole_output=False,
        steer="cancel",
        nodes=graphs.nodes,
    ),
)

BY_NAME: Mapping[str, Recipe] = {recipe.name: recipe for recipe in RECIPES}
