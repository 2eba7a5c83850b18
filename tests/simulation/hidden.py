"""What nobody may see: secrets of the vault and answers given in secret. Known here, and looked for in all that is kept."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from zlib import crc32

from execd.adapters.aes_cipher import AesCipher
from execd.adapters.memory_secrets import MemorySecrets
from execd.adapters.memory_store import MemoryStore
from execd.adapters.secret_vault import SecretVault
from execd.core.event_parts import Prompt
from execd.core.events import Event, ExecutionId, InputReceived, InputRequired, WorkspaceId
from execd.ports import SecretHead, StoredSecret
from tests.simulation.evidence import Evidence
from tests.simulation.troubled import LifeStore, at_once

NAME = "KEY"
"""The one secret of each workspace."""
BLOT = "***"
_CIPHER_KEY = b"k" * 32


class LifeSecrets(MemorySecrets):
    """The secrets of all lives, as one life reads them: with its trouble."""

    def __init__(self, store: LifeStore, contents: MemoryStore) -> None:
        super().__init__()
        self._store = store
        self._contents = contents.secrets

    async def find_secrets(self, workspace: WorkspaceId, names: Collection[str]) -> Sequence[StoredSecret]:
        await self._store.enter_reading()
        return at_once(self._contents.find_secrets(workspace, names))

    async def list_secrets(self, workspace: WorkspaceId) -> Sequence[SecretHead]:
        await self._store.enter_reading()
        return at_once(self._contents.list_secrets(workspace))


def open_vault(secrets: MemorySecrets) -> SecretVault:
    """Give the vault of one life; every life has the same key."""
    return SecretVault(secrets, AesCipher([_CIPHER_KEY]))


def fill_vault(contents: MemoryStore, workspaces: Collection[str]) -> None:
    """Set the secret of each workspace, before anything runs."""
    vault, at = open_vault(contents.secrets), datetime(2026, 1, 1, tzinfo=UTC)
    for workspace in sorted(workspaces):
        at_once(vault.put(WorkspaceId(workspace), NAME, secret_of(workspace), by="someone", at=at))


def secret_of(workspace: str) -> str:
    """Give the secret of a workspace."""
    return f"vault-key-of-{workspace}"


def answer_of(who: str, prompt_id: str, key: str) -> str:
    """Give what somebody answers: no two answers are the same, to whatever question, by whomever."""
    return f"{who}-says-{crc32(f'{who}/{prompt_id}/{key}'.encode()):08x}"


def hide(value: Any, secrets: Collection[str]) -> Any:
    """Give a value as it may be told."""
    match value:
        case str():
            for secret in secrets:
                value = value.replace(secret, BLOT)
            return value
        case list():
            return [hide(item, secrets) for item in value]
        case dict():
            return {key: hide(item, secrets) for key, item in value.items()}
    return value


def secrets_in(events: Sequence[Event], workspace: str) -> list[str]:
    """Give all that must not be seen of an execution: the vault's, and what it was answered in secret."""
    asked: dict[str, Sequence[Prompt]] = {}
    found = [secret_of(workspace)]
    for event in events:
        if isinstance(event.data, InputRequired):
            asked[event.data.prompt_id] = event.data.prompts
        if isinstance(event.data, InputReceived):
            by, prompt_id = event.data.by, event.data.prompt_id
            found += [answer_of(by, prompt_id, each.key) for each in asked.get(prompt_id, ()) if each.secret]
    return found


def check_answers(evidence: Evidence, journals: Mapping[ExecutionId, Sequence[Event]]) -> Iterator[str]:
    """What was answered is in the journal, under the name of who gave it and to the question it was given to; what is secret
    only sealed."""
    for answer in evidence.answers:
        events = journals[answer.execution_id]
        received = {(e.data.prompt_id, e.data.by) for e in events if isinstance(e.data, InputReceived)}
        if (answer.prompt_id, answer.by) not in received:
            yield f"{evidence.labels[answer.execution_id]}: the answer of {answer.by} was taken and is not there"
    for execution_id, events in journals.items():
        asked = {e.data.prompt_id: (e.node, e.data.prompts) for e in events if isinstance(e.data, InputRequired)}
        for event in events:
            if isinstance(event.data, InputReceived):
                wrong = _judge_answer(event, event.data, *asked[event.data.prompt_id])
                yield from (f"{evidence.labels[execution_id]}: {what}" for what in wrong)


def _judge_answer(event: Event, data: InputReceived, node: str | None, prompts: Sequence[Prompt]) -> Iterator[str]:
    said = {each.key: BLOT if each.secret else answer_of(data.by, data.prompt_id, each.key) for each in prompts}
    if event.node != node or data.values != said:
        yield f"{event.node} was answered {data.values} by {data.by}, it should be {said}"
    if set(data.sealed) != {each.key for each in prompts if each.secret}:
        yield f"{event.node} keeps {sorted(data.sealed)} sealed"


def check_hidden(evidence: Evidence, contents: MemoryStore) -> Iterator[str]:
    """No secret can be read in anything that is kept."""
    typed = [answer_of(answer.by, answer.prompt_id, key) for answer in evidence.answers for key in answer.secret_keys]
    everything = [secret_of(workspace) for workspace in {record.workspace for record in contents.records.values()}]
    for execution_id, journal in contents.journals.items():
        kept = b"".join([contents.records[execution_id].spec, *(event.body for event in journal)])
        if any(secret.encode() in kept for secret in (*everything, *typed)):
            yield f"{evidence.labels[execution_id]}: a secret can be read in what is kept of it"
