"""Draws workflows: nodes of every type, bodies in bodies, branches and joins, retries and pins."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import msgspec

from execd.actors.engine import LARGE_GRAPH_NODES
from execd.core.event_parts import Prompt
from execd.core.events import NodeId
from execd.core.graph import Graph, Need, Node, OnError, Pin
from execd.core.nodes import type_of
from execd.core.nodes.bodies import CallSpec, MapSpec
from execd.core.nodes.conditions import IfSpec, SwitchSpec
from execd.core.nodes.http_call import HttpSpec
from execd.core.nodes.llm import LlmSpec
from execd.core.nodes.scripts import StepSpec
from execd.core.nodes.set_values import SetSpec
from execd.core.nodes.waiting import InputSpec, WaitSpec
from execd.core.specs import Limits, RetryPolicy, ScriptSpec
from tests.simulation.calls import KEY_HEADER, KEY_MARK
from tests.simulation.hidden import NAME
from tests.simulation.plan import CallPlan, ProgramPlan
from tests.simulation.program_drawing import draw_step

MOST_NODES = 14
"""Drawn for one workflow, bodies and all; a `map` runs its own several times."""
LARGE = 200
"""Nodes or items from which a workflow takes more than one step (`FACTS_PER_STEP` in core/advancing.py)."""
_KINDS = ("script",) * 6 + ("set",) * 4 + ("http", "http", "llm") + ("if",) * 2 + ("switch", "wait", "input")
_BODIES = ("map", "map", "workflow")
_OUTPUTS = {
    "set": "nodes.{}.output.n",
    "script": "nodes.{}.output.exit_code",
    "http": "nodes.{}.output.status",
    "switch": "nodes.{}.output.value",
}
"""The number that a node of each type gives."""


class _Names(msgspec.Struct, frozen=True):
    """What the expressions of a node may read: numbers, and anything."""

    numbers: tuple[str, ...]
    values: tuple[str, ...]
    items: str | None = None
    """The output of a `map` before it."""
    secrets: tuple[str, ...] = (f"secrets.{NAME}",)


class DrawnGraph:
    """A workflow, and what its scripts do."""

    def __init__(self, rng: random.Random, label: str) -> None:
        self.programs: dict[str, tuple[ProgramPlan, ...]] = {}
        self.calls: dict[str, tuple[CallPlan, ...]] = {}
        self._rng = rng
        self._left = MOST_NODES
        names = _Names(numbers=("input.k", "vars.c"), values=("input", "vars.list"))
        is_many = rng.random() < 0.05
        nodes = self._many(label) if is_many else self._nodes(label, rng.choice((1, 2, 3, 4, 5, 6, 8)), names, depth=0)
        self.graph = Graph(
            nodes=nodes,
            parallelism=rng.choice((1, 2, 3, 4)),
            timeout_s=rng.choice((*[None] * 7, round(rng.uniform(2, 40), 3))),
            input={"k": rng.randrange(4)},
            vars={"c": rng.randrange(4), "list": [{"n": n} for n in range(rng.randrange(4))]},
            pins=self._pins(nodes) if rng.random() < 0.1 else {},
        )

    def _nodes(self, path: str, count: int, around: _Names, *, depth: int) -> tuple[Node, ...]:
        """Each needs some of those before it: any acyclic graph has such an order."""
        nodes: list[Node] = []
        before: dict[str, set[str]] = {}
        for number in range(count):
            name = f"{'nab'[depth]}{number}"
            sources = [node for node in nodes if self._rng.random() < 0.35]
            if nodes and not sources and self._rng.random() < 0.6:
                sources = [self._rng.choice(nodes)]
            needs = tuple(need for source in sources for need in self._edges(source))
            before[name] = {s.id for s in sources}.union(*(before[s.id] for s in sources))
            names = _seen(around, [node for node in nodes if node.id in before[name]])
            nodes.append(self._node(NodeId(name), f"{path}/{name}", needs, names, depth=depth))
            self._left -= 1
            if self._left <= 0:
                break
        self._rng.shuffle(nodes)
        return tuple(nodes)

    def _edges(self, source: Node) -> list[Need]:
        """Mostly one of its branches, if it has any; sometimes two that lead to the same node."""
        rng = self._rng
        ports = ["out", *type_of(source.spec).ports(source.spec)]
        if source.on_error is OnError.BRANCH:
            ports.append("error")
        chosen = [rng.choice(ports[1:] if len(ports) > 1 and rng.random() < 0.7 else ports)]
        if rng.random() < 0.12:
            chosen.append(rng.choice(ports))
        return [Need(source.id, port) for port in dict.fromkeys(chosen)]

    def _node(self, name: NodeId, path: str, needs: tuple[Need, ...], names: _Names, *, depth: int) -> Node:
        rng = self._rng
        has_body = depth < 2 and self._left > 1 and rng.random() < 0.22
        kind = rng.choice(_BODIES if has_body else _KINDS)
        spec: msgspec.Struct = getattr(self, f"_{kind}")(path, names)
        body = None
        if has_body:
            inner = _inside(spec, names)
            count = rng.choice((1, 1, 2, 3))
            body = Graph(nodes=self._nodes(path, count, inner, depth=depth + 1))
        return Node(
            id=name,
            type=kind,
            label=name,
            spec=spec,
            needs=needs,
            retry=RetryPolicy() if has_body else self._retry(kind),
            on_error=rng.choice((OnError.STOP, OnError.STOP, OnError.CONTINUE, OnError.BRANCH)),
            body=body,
        )

    def _retry(self, kind: str) -> RetryPolicy:
        rng = self._rng
        return RetryPolicy(
            retries=rng.choice((0, 0, 0, 1, 2)) if kind in {"script", "http", "llm"} or rng.random() < 0.3 else 0,
            delay_s=rng.choice((0.0, 0.1, rng.uniform(0, 3))),
            factor=rng.choice((1.0, 2.0)),
            jitter=rng.choice((0.0, 0.1, 1.0)),
            on_failure=rng.random() < 0.5,
            on_lost=rng.random() < 0.5,
        )

    def _number(self, names: _Names) -> str:
        rng = self._rng
        terms = [rng.choice((*names.numbers, str(rng.randrange(4)))) for _ in range(rng.choice((1, 1, 2)))]
        return " + ".join(terms)

    def _script(self, path: str, names: _Names) -> StepSpec:
        rng = self._rng
        self.programs[path] = tuple(draw_step(rng, is_long=0.15 if path.count("/") == 1 else 0.5) for _ in range(3))
        script = ScriptSpec(language="python", source=path, limits=Limits())
        given = {"k": f"{{{{ {self._number(names)} }}}}"} if rng.random() < 0.3 else None
        if rng.random() < 0.3:
            env = {"TOKEN": f"{{{{ {rng.choice(names.secrets)} }}}}"}
            secrets = {"KEY": NAME} if rng.random() < 0.5 else {}
            script = msgspec.structs.replace(script, env=env, secrets=secrets)
        return StepSpec(script=script, input=given)

    def _http(self, path: str, names: _Names) -> HttpSpec:
        query = f"?k={{{{ {self._number(names)} }}}}" if self._rng.random() < 0.3 else ""
        self.calls[path] = tuple(draw_call(self._rng) for _ in range(3))
        headers = {KEY_HEADER: f"{{{{ {self._rng.choice(names.secrets)} }}}}"} if self._rng.random() < 0.3 else None
        return HttpSpec(url=f"http://outside/{path}{query}", headers=headers)

    def _llm(self, path: str, names: _Names) -> LlmSpec:
        self.calls[path] = tuple(draw_call(self._rng) for _ in range(3))
        prompt = f"How much is {{{{ {self._number(names)} }}}}?"
        if self._rng.random() < 0.3:
            prompt += f" {KEY_MARK}{{{{ {self._rng.choice(names.secrets)} }}}}"
        return LlmSpec(base_url=f"http://outside/{path}", model="m", prompt=prompt)

    def _set(self, path: str, names: _Names) -> SetSpec:
        rng = self._rng
        number = self._number(names)
        values: dict[str, Any] = {"n": rng.choice((f"{{{{ {number} }}}}", 2))}
        if rng.random() < 0.5:
            values["v"] = f"{{{{ {rng.choice((*names.values, *names.numbers))} }}}}"
        if rng.random() < 0.3:
            values["secret"] = f"not {{{{ {rng.choice(names.secrets)} }}}}"
        if rng.random() < 0.3:
            values["list"] = [f"{number}: {{{{ {number} }}}}", {"deep": f"{{{{ {names.numbers[0]} }}}}"}]
        return SetSpec(values=values)

    def _if(self, path: str, names: _Names) -> IfSpec:
        rng = self._rng
        number = self._number(names)
        conditions = (f"{{{{ {number} > {rng.randrange(4)} }}}}", f"{{{{ {number} == {rng.randrange(4)} }}}}")
        return IfSpec(condition=rng.choice((*conditions * 4, True, False, f"{{{{ {number} }}}}")))

    def _switch(self, path: str, names: _Names) -> SwitchSpec:
        return SwitchSpec(value=f"{{{{ {self._number(names)} }}}}", cases={"none": 0, "one": 1, "two": 2})

    def _wait(self, path: str, names: _Names) -> WaitSpec:
        rng = self._rng
        if rng.random() < 0.1:
            return WaitSpec(until="2020-01-31T09:00:00Z")
        lengths = (0.0, rng.uniform(0, 5), rng.uniform(0, 30), f"{{{{ {self._number(names)} }}}}")
        return WaitSpec(seconds=rng.choice(lengths))

    def _input(self, path: str, names: _Names) -> InputSpec:
        rng = self._rng
        prompts = [Prompt(key="name", label=f"Who are you, {{{{ {self._number(names)} }}}}?")]
        if rng.random() < 0.6:
            prompts.append(Prompt(key="pass", label="And your word?", secret=True))
        return InputSpec(prompts=tuple(prompts), expires_s=rng.uniform(1, 15) if rng.random() < 0.4 else None)

    def _map(self, path: str, names: _Names) -> MapSpec:
        rng = self._rng
        items: Any = rng.choice(([{"n": n} for n in range(rng.choice((0, 1, 2, 3, 5)))], "{{ vars.list }}"))
        if names.items is not None and rng.random() < 0.5:
            items = f"{{{{ {names.items} }}}}"
        return MapSpec(
            items=items,
            concurrency=rng.choice((1, 2, 3, 4)),
            on_item_error=rng.choice(("stop", "continue")),
            timeout_s=self._timeout(),
        )

    def _workflow(self, path: str, names: _Names) -> CallSpec:
        return CallSpec(input={"k": f"{{{{ {self._number(names)} }}}}"}, timeout_s=self._timeout())

    def _timeout(self) -> float | None:
        lengths = (self._rng.uniform(0.5, 15), self._rng.uniform(0.5, 3))
        return self._rng.choice((None, None, None, *(round(length, 3) for length in lengths)))

    def _many(self, label: str) -> tuple[Node, ...]:
        """Some hundred nodes, or items, that do nothing but give a value, and a script after them."""
        rng = self._rng
        count = rng.randrange(300, 1000)
        if rng.random() < 0.5:
            body = Graph(nodes=(self._plain("a0", "{{ item + index }}"),))
            spec = MapSpec(items=list(range(count)), concurrency=rng.choice((1, 7, 1000)))
            many = [Node(id=NodeId("n0"), type="map", label="n0", spec=spec, body=body)]
        else:
            # A graph that is compiled in a thread comes when the machine likes, and a seed would not be the whole story.
            count = min(count, LARGE_GRAPH_NODES - 1)
            gap = rng.choice((1, 1, 10))
            many = [
                self._plain(f"n{n}", "{{ input.k }}" if n % 20 == 0 else n, *((f"n{max(0, n - gap)}",) if n else ()))
                for n in range(count)
            ]
        last = self._script(f"{label}/last", _Names(numbers=("input.k",), values=("input",)))
        after = Node(id=NodeId("last"), type="script", label="last", spec=last, needs=(Need(many[-1].id),))
        return (*many, after)

    def _plain(self, name: str, value: Any, *needs: str) -> Node:
        spec = SetSpec(values={"n": value})
        return Node(
            id=NodeId(name), type="set", label=name, spec=spec, needs=tuple(Need(NodeId(need)) for need in needs)
        )

    def _pins(self, nodes: Sequence[Node]) -> dict[NodeId, Pin]:
        pins = {}
        for node in nodes:
            if self._rng.random() < 0.4 and len(nodes) < LARGE:
                ports = type_of(node.spec).ports(node.spec)
                output = {"n": self._rng.randrange(4), "value": 1, "exit_code": 0}
                pins[node.id] = Pin(output=output, port=self._rng.choice(ports) if ports else None)
        return pins


def draw_call(rng: random.Random) -> CallPlan:
    """Draw what a call to the outside meets."""
    return CallPlan(
        after_s=rng.choice((0.0, rng.uniform(0, 1), rng.uniform(0, 10))),
        status=rng.choice((200,) * 7 + (503, 404)),
        is_broken=rng.random() < 0.1,
        pieces=rng.choice((0, 1, 10)),
    )


def draw_graph(rng: random.Random, label: str) -> DrawnGraph:
    """Draw the workflow of a submission."""
    return DrawnGraph(rng, label)


def is_large(graph: Graph) -> bool:
    """Whether it takes several steps."""
    return len(graph.nodes) > LARGE or any(
        isinstance(node.spec, MapSpec) and isinstance(node.spec.items, list) and len(node.spec.items) > LARGE
        for node in graph.nodes
    )


def has_script_in_map(graph: Graph) -> bool:
    """Whether a `map`, at whatever depth, runs programs of its own."""
    return any(
        node.body is not None
        and (has_script_in_map(node.body) or (node.type == "map" and any(n.type == "script" for n in node.body.nodes)))
        for node in graph.nodes
    )


def _seen(around: _Names, nodes: Sequence[Node]) -> _Names:
    """Add what the nodes before one give."""
    numbers = [_OUTPUTS[node.type].format(node.id) for node in nodes if node.type in _OUTPUTS]
    values = [f"nodes.{node.id}.{what}" for node in nodes for what in ("output", "status")]
    lists = [f"nodes.{node.id}.output" for node in nodes if node.type == "map"]
    typed = [
        f"nodes.{node.id}.output.{prompt.key}"
        for node in nodes
        if isinstance(node.spec, InputSpec)
        for prompt in node.spec.prompts
        if prompt.secret
    ]
    return _Names(
        secrets=(*around.secrets, *typed, *typed),
        numbers=(*around.numbers, *numbers),
        values=(*around.values, *values),
        items=lists[-1] if lists else around.items,
    )


def _inside(spec: msgspec.Struct, names: _Names) -> _Names:
    """A `map`'s body sees what is around it, and its item; a `workflow`'s only its input."""
    if isinstance(spec, CallSpec):
        return _Names(numbers=("input.k", "vars.c"), values=("input", "vars.list"))
    has_numbers = isinstance(spec, MapSpec) and (isinstance(spec.items, list) or spec.items == "{{ vars.list }}")
    more = ("index", "item.n") if has_numbers else ("index",)
    numbers, values = (*names.numbers, *more), (*names.values, "item")
    return _Names(numbers=numbers, values=values, items=names.items, secrets=names.secrets)
