"""Who wants to hear of which pod: the slots through which the pod watcher reaches step runners without waiting."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from execd.mailbox import Slot
from execd.ports import PodObservation


class PodRegistry:
    """Slots by pod name. Written by step runners when they begin and end, read by the pod watcher."""

    def __init__(self) -> None:
        self._slots: dict[str, Slot[PodObservation]] = {}

    @contextmanager
    def watch(self, pod: str) -> Iterator[Slot[PodObservation]]:
        """Have a slot for the observations of a pod while the block lasts."""
        slot: Slot[PodObservation] = Slot()
        self._slots[pod] = slot
        try:
            yield slot
        finally:
            del self._slots[pod]

    def tell(self, observation: PodObservation) -> bool:
        """Overwrite what was last seen of a pod; False when nobody here runs it."""
        slot = self._slots.get(observation.pod)
        if slot is None:
            return False
        slot.put(observation)
        return True
