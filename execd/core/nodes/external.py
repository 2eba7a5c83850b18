"""A node of an engine elsewhere: nothing here runs it, it only stands in the graph that its reports are about."""

from __future__ import annotations

from datetime import datetime

import msgspec

from execd.core.fields import Fields
from execd.core.nodes.kinds import Beginning, NodeType, Reading


class ExternalNode(msgspec.Struct, frozen=True):
    """Nothing: its engine knows what it does."""


class ExternalType(NodeType[ExternalNode]):
    """Stands in no registry of what a workflow may use."""

    name = "external"
    spec_type = ExternalNode

    def read(self, fields: Fields, reading: Reading) -> ExternalNode:
        return ExternalNode()

    def begin(self, spec: ExternalNode, values: object, at: datetime) -> Beginning:
        raise AssertionError("only its engine begins it")
