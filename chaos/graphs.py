"""Workflows under kills: two hundred nodes each, of which every tenth is a script that may be repeated when it is cut off.

A stage is a script that adds one to what it reads, eight `set` nodes that all read what it gave, and a join. Whatever is killed
in between, the last join knows how many stages there were, and no node that is finished runs again.
"""

from __future__ import annotations

from typing import Any

STAGES = 20
WIDTH = 8
RETRY = {"retries": 10, "delay_s": 0.0, "jitter": 0.0, "on_failure": False, "on_lost": True}

_STEP = """
import json, socket, sys, time
def tell(word):
    with socket.create_connection(("127.0.0.1", WITNESS), 20) as line:
        line.sendall(f"{word} TOKEN-STAGE\\n".encode())
        line.recv(1)
tell("started")
number = json.load(sys.stdin)["n"]
time.sleep(0.02)
print(json.dumps({"n": number + 1}))
"""


def nodes(token: str, witness_port: int) -> list[dict[str, Any]]:
    """Give the nodes of one workflow."""
    found: list[dict[str, Any]] = [{"id": "first", "type": "set", "values": {"n": 0}}]
    before = "first"
    for stage in range(STAGES):
        found += _stage(stage, before, token, witness_port)
        before = f"join{stage}"
    return found


def _stage(stage: int, before: str, token: str, witness_port: int) -> list[dict[str, Any]]:
    source = _STEP.replace("TOKEN-STAGE", f"{token}-{stage}").replace("WITNESS", str(witness_port))
    step, sides = f"step{stage}", [f"side{stage}_{number}" for number in range(WIDTH)]
    value = f"{{{{ nodes.{step}.output.result.n }}}}"
    return [
        {
            "id": step,
            "type": "script",
            "language": "python",
            "source": source,
            "input": f"{{{{ nodes.{before}.output }}}}",
            "needs": [before],
            "limits": {"network": True, "wall_s": 45.0},
            "retry": RETRY,
        },
        *({"id": side, "type": "set", "values": value, "needs": [step]} for side in sides),
        {"id": f"join{stage}", "type": "set", "values": {"n": value}, "needs": sides},
    ]
