"""Bugs in the actors: sagas, the line, the writer, the router and the leases."""

from __future__ import annotations

from planted.bug import Bug

ACTORS = (
    Bug(
        "1",
        "a seq is skipped",
        "execd/actors/journal.py",
        "enumerate(facts, start=after_seq + 1)",
        "enumerate(facts, start=after_seq + 2)",
    ),
    Bug(
        "1",
        "a page is handed out twice",
        "execd/actors/broadcast.py",
        "self.last_seq = events[-1].seq\n        self._seen",
        "self.last_seq = events[0].seq\n        self._seen",
    ),
    Bug(
        "1",
        "what was stored and not published is never shown",
        "execd/actors/stream_router.py",
        "LOOK_AGAIN_S = 5.0",
        "LOOK_AGAIN_S = 1e9",
    ),
    Bug("1", "replay is off by one", "execd/actors/broadcast.py", "seq + 1 - first)", "seq + 2 - first)"),
    Bug(
        "2",
        "published before it is stored",
        "execd/actors/result_writer.py",
        "    outcomes = await _until_available(lambda: store.write(writes), counters=counters)\n",
        "    early = tuple(event for message in batch for event in events_of(message.write))\n"
        "    await to_router.send(PublishEvents(events=early))\n"
        "    await trio.sleep(0.01)\n"
        "    outcomes = await _until_available(lambda: store.write(writes), counters=counters)\n",
    ),
    Bug(
        "2",
        "a program starts before its announcement is stored",
        "execd/actors/step_runner.py",
        "                await wait_announced(self._announced)\n",
        "",
    ),
    Bug(
        "2",
        "a request is made before its announcement is stored",
        "execd/actors/call_runner.py",
        "            await wait_announced(announced)\n",
        "",
        "tests/actors/test_calls.py",
    ),
    Bug(
        "4",
        "a slot that is asked for again is never given",
        "execd/actors/slot_line.py",
        "            handle.asked_for_slot.answer(None)\n",
        "",
        "tests/actors/test_turns.py",
    ),
    Bug(
        "4",
        "what was accepted is forgotten at a restart",
        "execd/actors/coordinator.py",
        "self._take_over(await self._lease.begin(self._owner), inbox, nursery)",
        "await self._lease.begin(self._owner)",
    ),
    Bug(
        "4",
        "accepted before it is stored",
        "execd/actors/coordinator.py",
        "        await self._to_writer.send(StoreWrite(write=write, reply=message.reply))",
        "        from execd.ports import Stored\n        message.reply.answer(Stored())\n"
        "        await self._to_writer.send(StoreWrite(write=write, reply=message.reply))",
    ),
    Bug(
        "5",
        "an actor writes past the result writer",
        "execd/actors/coordinator.py",
        "    def drain(self) -> None:",
        "    async def _shortcut(self, store) -> None:\n        await store.write([])\n\n    def drain(self) -> None:",
    ),
    Bug(
        "6",
        "what is adopted back starts beside its stale saga",
        "execd/actors/coordinator.py",
        "if stale is not None and record.id in self._live:",
        "if False:",
        "tests/actors/test_leases.py",
    ),
    Bug(
        "6",
        "a silent program that was lost runs on",
        "execd/actors/lease_keeper.py",
        "                if self._may_have_lapsed:\n",
        "                if False:\n",
        "tests/actors/test_leases.py",
    ),
    Bug(
        "4",
        "a dead instance's executions wait for a restart",
        "execd/actors/lease_keeper.py",
        "            if adopted:\n",
        "            if False:\n",
        "tests/actors/test_leases.py",
    ),
    Bug(
        "7",
        "a slow viewer holds up everybody",
        "execd/actors/stream_router.py",
        "            self._forget_cold()\n\n    async def _look_again",
        "            self._forget_cold()\n"
        "            while any(cursor.lag_bytes for log_ in self._logs.values() for cursor in log_.cursors):\n"
        "                await trio.sleep(0.01)\n\n    async def _look_again",
    ),
    Bug(
        "7",
        "a slow viewer is never evicted",
        "execd/actors/broadcast.py",
        "return self.lag_bytes > self._max_lag_bytes",
        "return False",
    ),
    Bug(
        "7",
        "hot history is not bounded",
        "execd/actors/broadcast.py",
        "while self.kept_bytes > self._limit_bytes and",
        "while False and",
    ),
    Bug(
        "7",
        "a wake-up is lost",
        "execd/actors/stream_router.py",
        "        channel.wake()\n        if channel.is_ended:",
        "        if channel.is_ended:",
    ),
)
