"""People who ask: submissions and commands, by clients as patient as good clients are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
import trio

from execd.core.codec import StoredEvent, decode_event
from execd.core.errors import ConflictError, ExecdError, NotFoundError, OverloadedError, StoreUnavailableError
from execd.core.events import FINAL_STATUSES, ExecutionId, InputRequired, WorkspaceId
from execd.ports import (
    Accepted,
    Cancel,
    Command,
    Interrupt,
    Pause,
    ProvideInput,
    Resume,
    SendStdin,
    Submission,
)
from tests.simulation.definitions import read_run
from tests.simulation.evidence import Answer, Evidence, Obeyed, Promise
from tests.simulation.hidden import answer_of
from tests.simulation.lives import ConnectionLostError, Life, Lives
from tests.simulation.plan import Ask, CommandPlan, DefinitionPlan, SubmissionPlan
from tests.simulation.requests import make_spec, open_prompts

ASK_AGAIN_S = 0.5
LOOK_EVERY_S = 2.0
"""How often somebody looks whether there is a question."""
HASTE_S = 60.0
"""What was not stored by then may never be."""
MOST_ASKS = 60
"""A client gives up after these; with half a second between them that outlasts every trouble of a world."""

_COMMANDS = {
    Ask.CANCEL: Cancel,
    Ask.INTERRUPT: Interrupt,
    Ask.PAUSE: Pause,
    Ask.RESUME: Resume,
}


async def submit(plan: SubmissionPlan, lives: Lives, evidence: Evidence) -> None:
    """Send a request at its time, and again as the plan says."""
    await trio.sleep(plan.at)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_send, plan, plan.label, lives, evidence)
        for number, delay_s in enumerate(plan.again_after, start=1):
            nursery.start_soon(_send_later, plan, f"{plan.label}+{number}", delay_s, lives, evidence)


async def _send_later(plan: SubmissionPlan, who: str, delay_s: float, lives: Lives, evidence: Evidence) -> None:
    await trio.sleep(delay_s)
    await _send(plan, who, lives, evidence)


async def _send(plan: SubmissionPlan, who: str, lives: Lives, evidence: Evidence) -> None:
    """Ask until there is an answer. Who has no key dares to ask again only where nothing can have happened."""
    for _ in range(MOST_ASKS):
        try:
            async with lives.connect() as life:
                submission = await _prepare(plan, life, lives.plan.definition, evidence)
                if submission is not None:
                    _keep_promise(await life.engine.submit(submission), who, plan, lives, evidence)
                    return
        except OverloadedError:
            evidence.count("submission refused for now")
        except (StoreUnavailableError, ConnectionLostError):
            evidence.count("submission without an answer")
            evidence.note(who, "has no answer")
            if plan.key is None:
                return
        await trio.sleep(ASK_AGAIN_S)


async def _prepare(
    plan: SubmissionPlan, life: Life, definition: DefinitionPlan | None, evidence: Evidence
) -> Submission | None:
    """Give what is submitted; None where the definition that is to be run cannot be read now: nothing has happened then."""
    common = Submission(
        workspace=WorkspaceId(plan.workspace),
        user="someone",
        name=plan.label,
        spec=make_spec(plan),
        idempotency_key=plan.key,
        request_sha256=f"sha of {plan.label}" if plan.key else None,
    )
    if plan.run is None or definition is None:
        return common
    try:
        read = await read_run(life.store.definitions, definition, plan.run, label=plan.label, workspace=plan.workspace)
    except (NotFoundError, StoreUnavailableError):
        evidence.count("definition not read")
        return None
    return msgspec.structs.replace(common, spec=read.spec, definition=read.definition, definition_version=read.version)


def _keep_promise(answer: Accepted, who: str, plan: SubmissionPlan, lives: Lives, evidence: Evidence) -> None:
    """Judge at the instant: what was accepted is stored."""
    if answer.id not in lives.contents.records:
        evidence.violate(f"{who} was accepted before it was stored")
    evidence.promises.append(Promise(execution_id=answer.id, label=plan.label))
    evidence.count("repeated request met its execution" if answer.is_repeat else "accepted")
    evidence.note(who, f"accepted{' again' if answer.is_repeat else ''}")


async def command(plan: CommandPlan, lives: Lives, evidence: Evidence) -> None:
    """Ask something of an execution that is known by then; of one that is not, nothing."""
    await trio.sleep(plan.at)
    execution_id = lives.find_id(plan.label)
    if plan.after_events is not None:
        execution_id = await _wait_hastily(plan, plan.after_events, lives, evidence)
    if execution_id is not None:
        await ask(plan, execution_id, lives, evidence)


async def _wait_hastily(plan: CommandPlan, count: int, lives: Lives, evidence: Evidence) -> ExecutionId | None:
    with trio.move_on_after(HASTE_S):
        execution_id = await lives.wait_stored(plan.label)
        journal = lives.contents.journals[execution_id]
        while len(journal) < count or (plan.is_within_map and not _runs_in_map(journal)):
            await evidence.grown.park()
        return execution_id
    return None


def _runs_in_map(journal: Sequence[StoredEvent]) -> bool:
    """Whether a program in a `map`'s body has begun, and its end is not told."""
    events = [decode_event(event.body) for event in journal if event.type in {"pod_created", "pod_terminated"}]
    counts = Counter(event.node for event in events if event.node is not None and "[" in event.node)
    return any(count % 2 for count in counts.values())


async def ask(plan: CommandPlan, execution_id: ExecutionId, lives: Lives, evidence: Evidence) -> None:
    """Ask until there is an answer, and hold execd to it."""
    for _ in range(MOST_ASKS):
        try:
            async with lives.connect(execution_id) as life:
                await life.engine.command(execution_id, _make(plan))
                is_prompt = life.is_prompt
        except OverloadedError:
            evidence.count("command refused for now")
        except (StoreUnavailableError, ConnectionLostError):
            evidence.count("command without an answer")
        except ConflictError as error:
            _check_refusal(error, plan, execution_id, lives, evidence)
            return
        except NotFoundError:
            evidence.violate(f"{plan.by} was told that {plan.label} does not exist")
            return
        except ExecdError as error:
            evidence.note(plan.by, f"refused: {error.code}")
            return
        else:
            _note_obeyed(plan, execution_id, lives, evidence, is_prompt=is_prompt)
            return
        await trio.sleep(ASK_AGAIN_S)


def _make(plan: CommandPlan) -> Command:
    if plan.ask is Ask.STDIN:
        return SendStdin(data=f"from {plan.by}\n".encode())
    return _COMMANDS[plan.ask](by=plan.by)


def _check_refusal(
    error: ConflictError, plan: CommandPlan, execution_id: ExecutionId, lives: Lives, evidence: Evidence
) -> None:
    evidence.count("command refused")
    evidence.note(plan.by, f"{plan.ask.value} {plan.label} refused")
    is_said_to_be_over = "takes no commands any more" in error.message
    if is_said_to_be_over and lives.contents.records[execution_id].status not in FINAL_STATUSES:
        evidence.violate(f"{plan.by} was told that {plan.label} is over, and it is not")


def _note_obeyed(
    plan: CommandPlan, execution_id: ExecutionId, lives: Lives, evidence: Evidence, *, is_prompt: bool
) -> None:
    """Judge at the instant: a command that was answered is in the journal."""
    evidence.obeyed.append(Obeyed(execution_id, plan.ask, plan.by, at=trio.current_time(), is_prompt=is_prompt))
    evidence.count(f"obeyed: {plan.ask.value}")
    evidence.note(plan.by, f"{plan.ask.value} {plan.label} obeyed")
    types = {event.type for event in lives.contents.journals[execution_id]}
    if plan.ask in {Ask.CANCEL, Ask.INTERRUPT} and "stop_requested" not in types:
        evidence.violate(f"{plan.by} was told that {plan.label} stops, and the journal does not say so")
    if plan.ask is Ask.PAUSE and "execution_paused" not in types:
        evidence.violate(f"{plan.by} was told that {plan.label} pauses, and the journal does not say so")


async def answer(plan: SubmissionPlan, delay_s: float, who: str, lives: Lives, evidence: Evidence) -> None:
    """Answer every question of an execution, some time after it was asked."""
    execution_id = await lives.wait_stored(plan.label)
    while lives.contents.records[execution_id].status not in FINAL_STATUSES:
        for asked in open_prompts(lives.contents.journals[execution_id]):
            await trio.sleep(delay_s)
            await _provide(execution_id, asked, plan.label, who, lives, evidence)
        await trio.sleep(LOOK_EVERY_S)


async def _provide(
    execution_id: ExecutionId, asked: InputRequired, label: str, who: str, lives: Lives, evidence: Evidence
) -> None:
    """One try; who is still asked looks again soon."""
    prompt_id = asked.prompt_id
    values = {prompt.key: answer_of(who, prompt_id, prompt.key) for prompt in asked.prompts}
    try:
        async with lives.connect(execution_id) as life:
            answers = ProvideInput(by=who, prompt_id=prompt_id, values=values)
            await life.engine.command(execution_id, answers)
    except (OverloadedError, StoreUnavailableError, ConnectionLostError):
        evidence.count("answer not heard")
    except ExecdError as error:
        evidence.count("answer refused")
        evidence.note(who, f"answers {prompt_id} of {label}: {error.code}")
    else:
        evidence.count("answer taken")
        evidence.note(who, f"answers {prompt_id} of {label}")
        secret = tuple(prompt.key for prompt in asked.prompts if prompt.secret)
        evidence.count("answered in secret" if secret else "answered openly")
        evidence.answers.append(Answer(execution_id, prompt_id, who, secret))


async def tidy_up(lives: Lives, evidence: Evidence, *, hanging: frozenset[str]) -> None:
    """In the last life: resume what is paused, and cancel what would run for ever, as somebody does in the end."""
    for round_number in range(10**6):
        await trio.sleep(20)
        for execution_id, record in list(lives.contents.records.items()):
            if record.status == "paused":
                plan = CommandPlan(by=f"tidy-{round_number}", label=record.name, at=0, ask=Ask.RESUME)
                await ask(plan, execution_id, lives, evidence)
            elif record.name in hanging and record.status not in FINAL_STATUSES and round_number > 1:
                plan = CommandPlan(by=f"tidy-{round_number}", label=record.name, at=0, ask=Ask.CANCEL)
                await ask(plan, execution_id, lives, evidence)
