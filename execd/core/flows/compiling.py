"""From a config to the graph that runs it: a chain of steps, each after the one before it whatever became of that.

A failed step stops the chain, because it fails the graph; a skipped one does not. Steps in `finally` run also then. With
rows of data the chain is the body that runs once for each row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from execd.core.event_parts import Prompt
from execd.core.events import NodeId
from execd.core.flows.configs import (
    environment_of,
    prompts_of,
    rows_of,
    secret_prompts_of,
    table_of,
    title_of,
    with_condition,
)
from execd.core.flows.data_rows import read_rows
from execd.core.flows.endings import Keeping
from execd.core.flows.js_values import is_number, js_text
from execd.core.flows.placeholders import Reader
from execd.core.flows.references import paths_read
from execd.core.flows.retries import read_policy
from execd.core.flows.specs import FlowSpec
from execd.core.flows.steps import Step, StepOptions
from execd.core.graph import Graph, Need, Node, OnError
from execd.core.ids import NODE_ID
from execd.core.nodes.flow_steps import (
    FlowPromptSpec,
    FlowRowEndSpec,
    FlowRowsSpec,
    FlowStepSpec,
    FlowVerdictSpec,
)
from execd.core.nodes.kinds import AFTER

ROWS, ROW_END, VERDICT = NodeId("rows"), NodeId("row.end"), NodeId("rows.verdict")
MAX_LABEL_CHARS = 200


def flow_graph(spec: FlowSpec) -> Graph:
    """Compile a config, valid or not: what cannot be read is as if it were not there.

    Raises:
        DataError: its rows of data cannot be read.
    """
    rows = read_rows(spec.config.get("data"))
    chain = _Chain(spec, names=frozenset().union(*rows) if rows else frozenset())
    nodes = chain.nodes()
    if rows is None:
        return Graph(nodes=nodes, pins=spec.pins)
    last = tuple(Need(node.id, AFTER) for node in nodes[-1:])
    ending = Node(id=ROW_END, type="flow_row_end", label="Row", spec=FlowRowEndSpec(), needs=last)
    body = Graph(nodes=(*nodes, ending))
    each = Node(id=ROWS, type="flow_rows", label="Rows of data", spec=FlowRowsSpec(rows), body=body)
    verdict = Node(
        id=VERDICT, type="flow_verdict", label="All rows", spec=FlowVerdictSpec(rows=ROWS), needs=(Need(ROWS),)
    )
    return Graph(nodes=(each, verdict), pins=spec.pins)


def step_ids(config: Mapping[str, Any]) -> tuple[NodeId, ...]:
    """Name the node of every step, `finally` included: its own id where that is a name, else `step-N`."""
    listed = [js_text(table_of(node).get("id", "")) for node in _listed(config)]
    taken = {name for name in listed if NODE_ID.fullmatch(name)}
    found: dict[NodeId, None] = {}
    for index, name in enumerate(listed):
        if not NODE_ID.fullmatch(name) or name in found:
            name = f"step-{index + 1}"
            while name in taken:
                name += "-"
            taken.add(name)
        found[NodeId(name)] = None
    return tuple(found)


def options_of(config: Mapping[str, Any], *, start_step: int = 0) -> StepOptions:
    """Read what a config says of all its steps."""
    return StepOptions(
        typed=config.get("typed") is True,
        strict=config.get("strict") is True,
        keeping=Keeping(hides_named=config.get("maskSecrets") is True, keeps_cookies=config.get("cookies") is True),
        start_step=start_step,
    )


def compile_alone(
    config: Mapping[str, Any], node: Mapping[str, Any], *, replaced: frozenset[str] = frozenset()
) -> Step:
    """Compile one step, of the config or beside it, to be run by itself.

    Args:
        replaced: names whose values come with the moment: those of a row of data.
    """
    listed = [table_of(each) for each in _listed(config)]
    if config.get("honorLegacyKeys") is True:
        node = with_condition(node, listed)
    unseen = frozenset(key for each in (*listed, node) for key in secret_prompts_of(each, config))
    options = msgspec.structs.replace(options_of(config), unseen=unseen)
    reader = Reader(table_of(config.get("variables")), replaced=replaced)
    return Step(node, config, reader, index=0, options=options)


def _listed(config: Mapping[str, Any]) -> list[Any]:
    return [*rows_of(config.get("nodes")), *rows_of(config.get("finally"))]


class _Chain:
    """Makes the nodes of one config, in their order."""

    def __init__(self, spec: FlowSpec, *, names: frozenset[str]) -> None:
        config = spec.config
        self._config = config
        self._input = spec.input
        self._start_step = spec.start_step
        listed = [table_of(node) for node in _listed(config)]
        is_honored = config.get("honorLegacyKeys") is True
        self._listed = [with_condition(node, listed) for node in listed] if is_honored else listed
        self._final_from = len(rows_of(config.get("nodes")))
        self._ids = step_ids(config)
        self._reader = Reader(table_of(config.get("variables")), replaced=names | frozenset(spec.input))
        self._options = options_of(config, start_step=spec.start_step)
        self._env = environment_of(config)
        self._secrets = tuple(name for name in rows_of(config.get("secrets")) if isinstance(name, str))
        self._wanted = paths_read(config)
        self._by_name: dict[str, NodeId] = {}
        for node, identifier in zip(self._listed, self._ids, strict=True):
            if "id" in node:
                self._by_name.setdefault(js_text(node["id"]), identifier)
        self._asking: list[NodeId] = []

    def nodes(self) -> tuple[Node, ...]:
        made: list[Node] = []
        for index, node in enumerate(self._listed):
            if prompts_of(node) and (index >= self._start_step or self._is_final(index)):
                made.append(self._prompt(index, node, made))
                self._asking.append(made[-1].id)
            made.append(self._step(index, node, made))
        return tuple(made)

    def _is_final(self, index: int) -> bool:
        return index >= self._final_from

    def _prompt(self, index: int, node: Mapping[str, Any], made: list[Node]) -> Node:
        unseen = secret_prompts_of(node, self._config)
        prompts = tuple(Prompt(key=key, label=text, secret=key in unseen) for key, text in prompts_of(node).items())
        wait_s: Any = self._config.get("promptTimeout")
        return Node(
            id=NodeId(f"{self._ids[index]}.prompts"),
            type="input",
            label=title_of(node)[:MAX_LABEL_CHARS],
            spec=FlowPromptSpec(prompts=prompts, expires_s=float(wait_s) if is_number(wait_s) else None),
            needs=_after(made),
            is_always_run=self._is_final(index),
        )

    def _step(self, index: int, node: Mapping[str, Any], made: list[Node]) -> Node:
        is_final = self._is_final(index)
        step = Step(
            node,
            self._config,
            self._reader,
            index=self._start_step if is_final else index,
            options=self._options,
            wanted=self._wanted.get(js_text(node.get("id")), ()),
        )
        spec = FlowStepSpec(
            step=step,
            nodes=self._by_name,
            asking=tuple(self._asking),
            earlier=self._ids[:index] if self._options.keeping.keeps_cookies else (),
            input=self._input,
            env=self._env,
            secrets=self._secrets,
        )
        return Node(
            id=self._ids[index],
            type="flow_step",
            label=title_of(node)[:MAX_LABEL_CHARS],
            spec=spec,
            needs=_after(made),
            retry=read_policy(node.get("retry")),
            on_error=OnError.CONTINUE if node.get("continueOnError") is True else OnError.STOP,
            is_always_run=is_final,
        )


def _after(made: list[Node]) -> tuple[Need, ...]:
    return (Need(made[-1].id, AFTER),) if made else ()
