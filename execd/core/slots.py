"""When an execution needs its slot: one that only waits gives it back, and asks for one again before it does more.

A slot is what the coordinator counts; holding one is the only part of a state that no fact tells, because it is about this
process and not about the execution. Without one only what needs no place goes on: values are set, branches are chosen, waits
end, answers are taken.
"""

from __future__ import annotations

from execd.core.draft import Draft
from execd.core.finals import may_go_on
from execd.core.signals import AskSlot, LeaveSlot
from execd.core.state import SlotPlace, State
from execd.core.transitions import IS_UNDER_WAY, Phase


def mind_slot(draft: Draft) -> None:
    """Give the slot back, or ask for one, as what may be done next needs it."""
    state = draft.state
    if state.phase not in IS_UNDER_WAY:
        return
    if state.slot is SlotPlace.HELD and not (draft.goes_on or _needs_slot(state)):
        draft.order(LeaveSlot())
        draft.place(SlotPlace.LEFT)
    elif state.slot is SlotPlace.LEFT and _needs_slot(state):
        draft.order(AskSlot())
        draft.place(SlotPlace.ASKED)


def _needs_slot(state: State) -> bool:
    """Whether something runs; or, unless it is paused, will run again or is ready to, and needs a place."""
    if state.running:
        return True
    if state.phase is not Phase.RUNNING:
        return False
    if any(state.planned(node).type.takes_place for node in state.retrying):
        return True
    if state.is_winding_down and not state.root.plan.finals:
        return False
    return any(state.planned(node).type.takes_place and may_go_on(state, node) for node in state.ready)
