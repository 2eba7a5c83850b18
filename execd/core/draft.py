"""A step being decided: the state so far, the facts told and the orders given. Each fact changes the state at once, so a
decision always sees what the journal will say."""

from __future__ import annotations

from datetime import datetime

import msgspec

from execd.core.events import EventData, Fact, NodeId, NodeStarted
from execd.core.outside import Outside
from execd.core.signals import Order, Proceed, Record
from execd.core.state import SlotPlace, State, evolve


class Draft:
    """One step's work; made by `step`, given to whoever decides a part of it."""

    def __init__(self, state: State, at: datetime, outside: Outside) -> None:
        self.state = state
        self.at = at
        self.outside = outside
        self._facts: list[Fact] = []
        self._orders: list[Order] = []

    @property
    def told_count(self) -> int:
        """How many facts this step told so far."""
        return len(self._facts)

    @property
    def goes_on(self) -> bool:
        """Whether the rest of it follows in the next step."""
        return any(isinstance(order, Proceed) for order in self._orders)

    def place(self, slot: SlotPlace) -> None:
        """Note where the execution stands with its slot."""
        self.state = msgspec.structs.replace(self.state, slot=slot)

    def tell(self, data: EventData, *, node: NodeId | None = None) -> None:
        """Add a fact, without what must not be seen; about a node, with its current attempt."""
        attempt = None if node is None else self.state.run_of(node).attempt or None
        self._tell(Fact(data=self.outside.hide(data), at=self.at, node=node, attempt=attempt))

    def tell_start(self, node: NodeId, *, attempt: int) -> None:
        """Add the fact that an attempt begins."""
        spec = self.state.planned(node).node
        self._tell(Fact(data=NodeStarted(label=spec.label, type=spec.type), at=self.at, node=node, attempt=attempt))

    def order(self, order: Order) -> None:
        """Ask for something to be done once the facts are handed over."""
        self._orders.append(order)

    def conclude(self) -> list[Order]:
        """Give what to do: the record first, then the orders in their order."""
        return [Record(facts=tuple(self._facts)), *self._orders] if self._facts else self._orders

    def _tell(self, fact: Fact) -> None:
        self.state = evolve(self.state, fact)
        self._facts.append(fact)
