"""The judge: what every viewer saw, what the API says and what the file holds must be one story, and a true one.

Works after the facts and from outside: from the book, the API of the quiet server, and the SQLite file of the stopped one.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime

import msgspec

from chaos.book import Book, Viewing, Wish, digest
from chaos.database import Stored, check_integrity, read_executions
from chaos.flow_checks import check_flow
from chaos.flows import secret_of
from chaos.graph_checks import check_graph
from chaos.journals import Journal, check_journal, read_journal
from chaos.recipes import CANCELLED, COMPLETED, WORKER_LOST
from chaos.world import WORKSPACES, World

API_PATIENCE_S = 20.0
ENDS_SLACK_S = 2.0
"""Between a server's death and the first event of its successor."""


class _Events(msgspec.Struct):
    items: tuple[msgspec.Raw, ...]
    next_after: int
    head_seq: int


async def check_api(world: World) -> dict[str, list[bytes]]:
    """Ask the quiet server about every accepted execution; give the journals it tells, as digests by execution."""
    listed = {workspace: await _list_all(world, workspace) for workspace in WORKSPACES}
    told: dict[str, list[bytes]] = {}
    for wish in world.book.accepted():
        if wish.execution_id not in told:
            status = listed[wish.workspace].get(wish.execution_id)
            told[wish.execution_id] = await _check_one(world, wish, status)
    return told


async def _list_all(world: World, workspace: str) -> dict[str, str]:
    found: dict[str, str] = {}
    cursor = ""
    while True:
        answer = await world.ask_patiently(
            "GET", f"/executions?limit=200{cursor}", workspace, patience_s=API_PATIENCE_S
        )
        page = answer.json()
        for item in page["items"]:
            if item["id"] in found:
                world.book.blame("doubles", item["id"], "the list has it twice")
            found[item["id"]] = item["status"]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


async def _check_one(world: World, wish: Wish, listed_status: str | None) -> list[bytes]:
    target, blame = f"/executions/{wish.execution_id}", world.book.blame
    shown = await world.ask_patiently("GET", target, wish.workspace, patience_s=API_PATIENCE_S)
    if shown.status != 200 or listed_status is None:
        blame("lost", wish.execution_id, f"it was accepted; now GET gives {shown.status}, the list {listed_status}")
        return []
    bodies = await _read_events(world, wish)
    result = await world.ask_patiently("GET", f"{target}/result", wish.workspace, patience_s=API_PATIENCE_S)
    if result.status != 200 or not bodies:
        blame("lost", wish.execution_id, f"it has no result: {result.status}, status {shown.json()['status']}")
        return [digest(body) for body in bodies]
    statuses = {shown.json()["status"], listed_status, result.json()["status"]}
    if len(statuses) != 1:
        blame("differs", wish.execution_id, f"GET, list and result name different statuses: {statuses}")
    if json.loads(bodies[-1])["data"] != result.json():
        blame("differs", wish.execution_id, "GET /result is not what result_stored says")
    other = next(workspace for workspace in WORKSPACES if workspace != wish.workspace)
    foreign = await world.ask_patiently("GET", target, other, patience_s=API_PATIENCE_S)
    if foreign.status != 404:
        blame("other", wish.execution_id, f"workspace {other} is answered {foreign.status} about it")
    return [digest(body) for body in bodies]


async def _read_events(world: World, wish: Wish) -> list[bytes]:
    bodies: list[bytes] = []
    after = 0
    while True:
        target = f"/executions/{wish.execution_id}/events?limit=1000&after={after}"
        answer = await world.ask_patiently("GET", target, wish.workspace, patience_s=API_PATIENCE_S)
        page = msgspec.json.decode(answer.body, type=_Events)
        if not page.items:
            return bodies
        bodies += [bytes(item) for item in page.items]
        after = page.next_after


def check_file(world: World, told: dict[str, list[bytes]]) -> int:
    """Read the file of the stopped server and compare everything with it; give how many executions there are."""
    book, path = world.book, world.server.data_dir / "execd.db"
    for fault in check_integrity(path):
        book.blame("other", "", f"the file is damaged: {fault}")
    wishes = {wish.token: wish for wish in book.wishes}
    viewings: dict[str, list[Viewing]] = {}
    for viewing in book.viewings:
        viewings.setdefault(viewing.execution_id, []).append(viewing)
    stored_ids: set[str] = set()
    names: Counter[str] = Counter()
    for stored in read_executions(path):
        stored_ids.add(stored.id)
        names[stored.name] += 1
        _check_stored(world, stored, wishes.get(stored.name), told.get(stored.id), viewings.get(stored.id, []))
    for wish in book.accepted():
        if wish.execution_id not in stored_ids:
            book.blame("lost", wish.execution_id, f"{wish.token} was accepted and is not in the file")
    for name, count in names.items():
        if count > 1:
            book.blame("doubles", "", f"{name} became {count} executions under one Idempotency-Key")
    _check_never_accepted(world, names)
    _check_secrets(world)
    _note_flows(world)
    return len(stored_ids)


def _check_stored(
    world: World, stored: Stored, wish: Wish | None, told: list[bytes] | None, viewings: list[Viewing]
) -> None:
    book = world.book
    if wish is None:
        book.blame("other", stored.id, f"nobody wished for {stored.name}")
        return
    if wish.execution_id not in {"", stored.id}:
        book.blame("doubles", stored.id, f"{wish.token} was told {wish.execution_id}")
    check_journal(book, stored)
    digests = [digest(event.body) for event in stored.events]
    if told is not None and told != digests:
        book.blame("differs", stored.id, f"GET /events told {len(told)} events, the file has {len(digests)}, not equal")
    for viewing in viewings:
        _check_viewing(book, viewing, stored, digests)
    if stored.is_final and stored.events:
        check_end = _check_end if wish.recipe.flow is None else _check_flow_end
        check_end(world, wish, stored, read_journal(stored))


def _check_viewing(book: Book, viewing: Viewing, stored: Stored, digests: list[bytes]) -> None:
    seen = [event.digest for event in viewing.seen]
    if seen == digests:
        return
    if not viewing.is_complete and seen == digests[: len(seen)]:
        return  # told already: this viewer never saw the end
    first = next(
        (n for n, (one, other) in enumerate(zip(seen, digests, strict=False)) if one != other),
        min(len(seen), len(digests)),
    )
    text = f"a viewer ({viewing.door}) saw {len(seen)} events, the file has {len(digests)}; they part at {first + 1}"
    book.blame("differs", stored.id, text)


def _check_end(world: World, wish: Wish, stored: Stored, journal: Journal) -> None:
    """Four questions: how it may end, whether a lost worker was really lost, what it wrote, how often it began."""
    book, recipe = world.book, wish.recipe
    end = (stored.status, journal.error_code)
    if end == WORKER_LOST:
        _check_loss(world, wish, stored, journal)
    elif end in wish.excused and end not in recipe.ends:
        book.excused[str(end[1])] += 1
    elif end not in recipe.ends and not (end == CANCELLED and "cancel" in wish.commands_taken):
        book.blame("wrong ends", stored.id, f"{recipe.name} ended {end}; expected {recipe.ends}")
    elif "cancel" in wish.commands_taken and end != CANCELLED:
        book.blame("wrong ends", stored.id, f"the cancel was taken, and it ended {end}")
    elif recipe.has_whole_output:
        _check_output(book, wish, stored, journal)
    _check_starts(world, wish, stored, journal)
    if recipe.nodes is not None:
        check_graph(book, world.witness, stored, wish.token)


def _check_flow_end(world: World, wish: Wish, stored: Stored, journal: Journal) -> None:
    """A death excuses two things: a step that may not be done again is lost, and nobody is there to see a client leave, who
    perhaps was never told that it is served."""
    story = check_flow(world.book, wish, stored, world.outside.of(wish.token))
    expected = {CANCELLED} if "cancel" in wish.commands_taken else set(wish.recipe.ends)
    if _has_died(world, journal):
        expected |= {COMPLETED} if wish.recipe.steer == "leave" else set()
        expected |= {WORKER_LOST} if story.has_rightly_lost else set()
    end = (stored.status, journal.error_code)
    if end not in expected:
        world.book.blame("wrong ends", stored.id, f"{wish.recipe.name} ended {end}; expected {expected}")


def _check_output(book: Book, wish: Wish, stored: Stored, journal: Journal) -> None:
    """The bytes it kept are the program's, and it says how many there were."""
    kept = journal.output("stdout")
    written = len(kept) if wish.recipe.written_bytes is None else wish.recipe.written_bytes(wish.token)
    if kept != wish.recipe.stdout(wish.token):
        book.blame("wrong ends", stored.id, f"{wish.recipe.name} wrote {len(kept)} bytes, not the right ones")
    if journal.result["streams"]["stdout"]["total_bytes"] != written:
        totals = journal.result["streams"]["stdout"]
        book.blame("wrong ends", stored.id, f"{wish.recipe.name} wrote {written} bytes, the result says {totals}")


def _check_loss(world: World, wish: Wish, stored: Stored, journal: Journal) -> None:
    if journal.attempts <= wish.recipe.retries and "cancel" not in wish.commands_taken:
        text = f"worker_lost after {journal.attempts} attempts, {wish.recipe.retries} retries were asked for"
        world.book.blame("wrong ends", stored.id, text)
    if "cancel" in wish.commands_taken:
        world.book.blame("wrong ends", stored.id, "the cancel was taken, and it ended worker_lost")
    if not _has_died(world, journal):
        world.book.blame("wrong ends", stored.id, "worker_lost, though no server died while it lived")


def _has_died(world: World, journal: Journal) -> bool:
    """Whether a server was killed, or asked to stop, while an execution lived."""
    began, ended = _seconds(journal.first_at), _seconds(journal.last_at)
    return any(began - ENDS_SLACK_S <= end <= ended + ENDS_SLACK_S for end in world.server.ends)


def _check_starts(world: World, wish: Wish, stored: Stored, journal: Journal) -> None:
    """The witness: it may not begin more often than its journal announced, nor finish more often than it began."""
    if not wish.recipe.tells_witness:
        return
    book, started, finished = world.book, world.witness.started[wish.token], world.witness.finished[wish.token]
    if started > 1 + wish.recipe.retries or started > journal.pods:
        text = f"{wish.token} began {started} times; announced: {journal.pods}, retries: {wish.recipe.retries}"
        book.blame("reruns", stored.id, text)
    # One that may run again may be lost behind its last line, before its end was stored.
    most = 1 if not wish.recipe.retries else started
    if stored.status == "completed" and (started < 1 or not 1 <= finished <= most):
        book.blame("reruns", stored.id, f"completed; the witness saw {started} starts and {finished} finishes")


def _check_never_accepted(world: World, names: Counter[str]) -> None:
    """What is not in the file has not happened: not accepted, and never begun."""
    for wish in world.book.wishes:
        if names[wish.token] == 0 and (world.witness.started[wish.token] or world.outside.of(wish.token)):
            world.book.blame("reruns", "", f"{wish.token} is not in the file, and began all the same")


def _check_secrets(world: World) -> None:
    """What was answered in secret stands nowhere in the files of the store."""
    kept = b"".join(path.read_bytes() for path in sorted(world.server.data_dir.glob("execd.db*")))
    for wish in world.book.wishes:
        if wish.recipe.flow is not None and secret_of(wish.token).encode() in kept:
            world.book.blame("other", wish.execution_id, f"the secret answer to {wish.token} can be read in the file")


def _note_flows(world: World) -> None:
    """How much of a witness the outside was."""
    requests = world.outside.requests
    if requests:
        again, looked = sum(each.nth > 1 for each in requests), sum(each.starts is not None for each in requests)
        text = f"Requests of flows: {len(requests)}, {again} of them of further attempts"
        world.book.notes.append(f"{text}; the file was read while they were under way for {looked}.")
        if looked < len(requests) / 2:
            world.book.blame("other", "", f"the file could be read for {looked} of {len(requests)} requests only")


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
