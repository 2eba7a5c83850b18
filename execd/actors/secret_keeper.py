"""A saga's hand for secrets: reads what its execution names, and keeps what is given to its machine beside the signals.

Owns: the values, in memory only. Never: a value in a signal's record, a log or an error.
"""

from __future__ import annotations

import msgspec
import structlog
import trio

from execd.core.errors import StoreUnavailableError
from execd.core.events import NodeId, WorkspaceId
from execd.core.nodes.kinds import as_text
from execd.core.outside import NOTHING, Outside
from execd.core.signals import InputProvided, Signal
from execd.core.state import State
from execd.ports import SecretUnreadableError, Vault

log = structlog.get_logger()

READ_RETRY_S = 0.5
"""Between two attempts to read secrets from a store that is away."""


class SecretKeeper:
    """The secrets of one execution. Used by its saga alone."""

    def __init__(self, vault: Vault, workspace: WorkspaceId) -> None:
        self.outside: Outside = NOTHING
        self._vault = vault
        self._workspace = workspace
        self._names: frozenset[str] = frozenset()
        self._seen_changes = -1

    async def load(self, state: State) -> None:
        """Get ready for an execution that begins, or goes on from its journal."""
        self._names = state.root.plan.secrets
        if self._vault.env or state.sealed:
            answers = {node: self._open(node, sealed) for node, sealed in state.sealed.items()}
            self.outside = Outside(env=self._vault.env, answers=answers)
        while self._names and self._seen_changes < 0:
            await self.refresh()
            if self._seen_changes < 0:
                await trio.sleep(READ_RETRY_S)

    async def refresh(self) -> None:
        """See to it that the machine reads what the secrets are now. A store that is away changes nothing."""
        changes = self._vault.changes
        if not self._names or changes == self._seen_changes:
            return
        try:
            found = await self._vault.read(self._workspace, self._names)
        except StoreUnavailableError as error:
            log.warning("store_unavailable", error=error.message)
            return
        self.outside = self.outside.with_secrets(found)
        self._seen_changes = changes

    def take(self, signal: Signal, state: State) -> Signal:
        """Take what is secret out of an answer before anybody can tell it; any other signal is given as it is."""
        if not isinstance(signal, InputProvided):
            return signal
        node, keys = _asked_in_secret(state, signal.prompt_id)
        typed = {key: as_text(signal.values[key]) for key in keys if key in signal.values}
        if node is None or not typed:
            return signal
        self.outside = self.outside.with_answer(node, typed)
        seal = self._vault.seal_answer
        sealed = {key: seal(self._workspace, node, key, value) for key, value in typed.items()}
        return msgspec.structs.replace(signal, sealed=sealed)

    def _open(self, node: NodeId, sealed: dict[str, str]) -> dict[str, str]:
        """Open what can be opened; whoever reads the rest fails."""
        found = {}
        for key, text in sealed.items():
            try:
                found[key] = self._vault.unseal_answer(self._workspace, node, key, text)
            except SecretUnreadableError as error:
                log.error("secret_unreadable", node=node, key=key, error=error.message)
        return found


def _asked_in_secret(state: State, prompt_id: str) -> tuple[NodeId | None, list[str]]:
    for node in state.waiting:
        asking = state.runs[node].asking
        if asking is not None and asking.prompt_id == prompt_id:
            return node, [prompt.key for prompt in asking.prompts if prompt.secret]
    return None, []
