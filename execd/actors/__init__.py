"""One task, one state, one inbox each. Ranks: edges 0, saga 1, coordinator 2, result writer 3, stream router 4.

A blocking send goes only from a lower rank to a higher one; influence the other way uses what cannot block: spawning,
an Event, a cancel scope, a `Slot`, a `Reply`.
"""
