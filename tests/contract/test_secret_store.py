"""What every store of secrets must do, and the vault in front of it: the fake in memory and the real file alike."""

from __future__ import annotations

import base64
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
import trio

from execd.adapters.aes_cipher import AesCipher, parse_key, read_key_file
from execd.adapters.memory_store import MemoryStore
from execd.adapters.secret_vault import MAX_SECRETS, SETTINGS_WORKSPACE, SecretVault
from execd.adapters.sqlite_store import SqliteStore, open_sqlite_store
from execd.core.errors import ConfigurationError, ConflictError
from execd.core.events import WorkspaceId
from execd.ports import SecretHead, SecretUnreadableError, StoredSecret
from tests.contract.test_store_contract import AT, W1, W2

AnyStore = MemoryStore | SqliteStore
OLD, NEW = b"o" * 32, b"n" * 32


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AnyStore]:
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            yield MemoryStore()
        else:
            yield await stack.enter_async_context(open_sqlite_store(tmp_path, is_power_safe=False))


def secret(name: str = "KEY", *, workspace: WorkspaceId = W1, **changes: object) -> StoredSecret:
    made = StoredSecret(workspace=workspace, name=name, set_by="ü", set_at=AT, sealed="v1.x.y")
    return msgspec.structs.replace(made, **changes)


def head_of(stored: StoredSecret) -> SecretHead:
    return SecretHead(**{name: getattr(stored, name) for name in SecretHead.__struct_fields__})


async def test_what_is_put_is_found_by_its_name(store: AnyStore) -> None:
    """Of this workspace only; the list leaves out what is sealed."""
    one, two, foreign = secret("A"), secret("B"), secret("A", workspace=W2, sealed="other")
    for made in (two, one, foreign):
        assert await store.secrets.put_secret(made) is False

    assert sorted(await store.secrets.find_secrets(W1, ["A", "B", "none"]), key=lambda s: s.name) == [one, two]
    assert await store.secrets.find_secrets(W2, ["A", "B"]) == [foreign]
    assert await store.secrets.find_secrets(W1, []) == []
    assert await store.secrets.list_secrets(W1) == [head_of(one), head_of(two)]
    assert sorted(await store.secrets.all_secrets(), key=lambda s: (s.workspace, s.name)) == [one, two, foreign]


async def test_putting_it_again_replaces_it(store: AnyStore) -> None:
    """The former value is gone; names that differ in case are two."""
    await store.secrets.put_secret(secret())
    newer = secret(sealed="v1.x.z", set_by="v", set_at=AT + timedelta(seconds=1))

    assert await store.secrets.put_secret(newer) is True
    assert await store.secrets.put_secret(secret("key")) is False

    assert await store.secrets.find_secrets(W1, ["KEY"]) == [newer]
    assert len(await store.secrets.list_secrets(W1)) == 2


async def test_what_is_deleted_is_gone(store: AnyStore) -> None:
    """Once; and other workspaces keep theirs."""
    await store.secrets.put_secret(secret())
    await store.secrets.put_secret(secret(workspace=W2))

    assert await store.secrets.delete_secret(W1, "KEY") is True
    assert await store.secrets.delete_secret(W1, "KEY") is False

    assert await store.secrets.find_secrets(W1, ["KEY"]) == []
    assert len(await store.secrets.find_secrets(W2, ["KEY"])) == 1


async def test_secrets_outlive_the_process(tmp_path: Path) -> None:
    """They are in the file before anybody is told so."""
    async with open_sqlite_store(tmp_path, is_power_safe=False) as first:
        await first.secrets.put_secret(secret())

    async with open_sqlite_store(tmp_path, is_power_safe=False) as second:
        assert await second.secrets.find_secrets(W1, ["KEY"]) == [secret()]


# --- the vault


async def test_a_value_goes_in_and_only_a_reader_gets_it_out(store: AnyStore) -> None:
    """What is stored is not it; another workspace has another one."""
    vault = SecretVault(store.secrets, AesCipher([NEW]))

    head, is_new = await vault.put(W1, "KEY", "sk-live-1", by="u", at=AT)
    again, is_new_again = await vault.put(W1, "KEY", "sk-live-2", by="v", at=AT)
    await vault.put(W2, "KEY", "sk-other", by="u", at=AT)

    assert (head.set_by, is_new, again.set_by, is_new_again) == ("u", True, "v", False)
    assert await vault.read(W1, ["KEY", "none"]) == {"KEY": "sk-live-2"}
    assert await vault.read(W2, ["KEY"]) == {"KEY": "sk-other"}
    assert [(head.name, head.set_by) for head in await vault.list(W1)] == [("KEY", "v")]
    assert "sk-live" not in str(await store.secrets.all_secrets())
    assert await vault.delete(W1, "KEY") is True
    assert await vault.read(W1, ["KEY"]) == {}


async def test_each_change_is_counted(store: AnyStore) -> None:
    """So that who has read them knows when to read them again."""
    vault = SecretVault(store.secrets, AesCipher([NEW]))

    counts = [vault.changes]
    await vault.put(W1, "KEY", "sk-live-1", by="u", at=AT)
    counts.append(vault.changes)
    await vault.delete(W1, "KEY")
    counts.append(vault.changes)

    assert counts == sorted(set(counts))


async def test_secrets_of_the_settings_come_first_and_cannot_be_changed(store: AnyStore) -> None:
    """In the owner's workspace and in no other: whoever has another one is somebody else."""
    vault = SecretVault(store.secrets, AesCipher([NEW]), fixed={"FIXED": "from-settings"})

    with pytest.raises(ConflictError):
        await vault.put(SETTINGS_WORKSPACE, "FIXED", "mine", by="u", at=AT)
    with pytest.raises(ConflictError):
        await vault.delete(SETTINGS_WORKSPACE, "FIXED")
    await vault.put(W1, "FIXED", "another", by="u", at=AT)

    assert await vault.read(SETTINGS_WORKSPACE, ["FIXED"]) == {"FIXED": "from-settings"}
    assert await vault.read(W1, ["FIXED"]) == {"FIXED": "another"}
    assert [head.set_by for head in await vault.list(SETTINGS_WORKSPACE)] == ["settings"]


async def test_a_row_that_was_moved_does_not_open(store: AnyStore) -> None:
    """Whoever can write the database must not be able to give a workspace the secrets of another, nor swap two."""
    vault = SecretVault(store.secrets, AesCipher([NEW]))
    await vault.put(W1, "KEY", "sk-live-1", by="u", at=AT)
    (stored,) = await store.secrets.all_secrets()
    await store.secrets.put_secret(msgspec.structs.replace(stored, workspace=W2))
    await store.secrets.put_secret(msgspec.structs.replace(stored, name="OTHER"))

    assert await vault.read(W2, ["KEY"]) == {}
    assert await vault.read(W1, ["KEY", "OTHER"]) == {"KEY": "sk-live-1"}


async def test_a_new_key_takes_over_at_the_next_start(store: AnyStore) -> None:
    """Stored secrets are encrypted anew; then the former key is needed for answers in journals only."""
    before = SecretVault(store.secrets, AesCipher([OLD]))
    await before.put(W1, "KEY", "sk-live-1", by="u", at=AT)
    answer = before.seal_answer(W1, "ask", "password", "typed-in")
    await store.secrets.put_secret(secret("LOST", sealed=AesCipher([b"x" * 32]).seal("x", context=())))

    during = SecretVault(store.secrets, AesCipher([NEW, OLD]))
    assert (await during.renew(), await during.renew()) == (1, 0)
    assert during.unseal_answer(W1, "ask", "password", answer) == "typed-in"

    after = SecretVault(store.secrets, AesCipher([NEW]))
    assert await after.read(W1, ["KEY", "LOST"]) == {"KEY": "sk-live-1"}
    with pytest.raises(SecretUnreadableError):
        after.unseal_answer(W1, "ask", "password", answer)
    with pytest.raises(SecretUnreadableError):
        during.unseal_answer(W1, "ask", "user", answer)


async def test_a_workspace_has_room_for_so_many() -> None:
    """More are data; replacing one is always possible."""
    store = MemoryStore()
    vault = SecretVault(store.secrets, AesCipher([NEW]))
    for number in range(MAX_SECRETS):
        await store.secrets.put_secret(secret(f"K{number}"))

    with pytest.raises(ConflictError):
        await vault.put(W1, "KEY", "sk-live-1", by="u", at=AT)
    await vault.put(W1, "K1", "sk-live-1", by="u", at=AT)
    await trio.lowlevel.checkpoint()


# --- the key


def test_the_same_text_never_looks_the_same_twice() -> None:
    """Otherwise the database would tell which secrets are equal."""
    cipher = AesCipher([NEW])

    assert len({cipher.seal("sk-live-1", context=("a",)) for _ in range(100)}) == 100


@pytest.mark.parametrize("damage", ["v1.zz", "v1.", "", "v2.x.y", "x", "cut", "changed"])
def test_what_is_damaged_is_an_error_and_not_a_guess(damage: str) -> None:
    """Nobody is given half a password, and the error names no text."""
    cipher = AesCipher([NEW])
    sealed = cipher.seal("sk-live-1", context=("a", "b"))
    broken = {"cut": sealed[:-8], "changed": sealed[:-6] + "AAAAA="}.get(damage, damage)

    with pytest.raises(SecretUnreadableError) as caught:
        cipher.unseal(broken, context=("a", "b"))
    with pytest.raises(SecretUnreadableError):
        cipher.unseal(sealed, context=("ab",))

    assert "sk-live" not in str(caught.value)


def test_the_key_file_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    """Two starts have one key; the second line of a file is a former one."""
    path = tmp_path / "secrets.key"

    (key,) = read_key_file(path)
    path.write_text(f"# new\n{base64.b64encode(NEW).decode()}\n\n" + path.read_text())

    assert path.stat().st_mode & 0o777 == 0o600
    assert read_key_file(path) == [NEW, key]
    assert os.listdir(tmp_path) == ["secrets.key"]


@pytest.mark.parametrize("content", ["", "abc", base64.b64encode(b"short").decode(), "\udcff"])
def test_a_key_that_is_none_is_named_by_its_place(tmp_path: Path, content: str) -> None:
    """Starting with another key than meant would make every secret unreadable, one by one."""
    path = tmp_path / "secrets.key"
    path.write_bytes(content.encode(errors="surrogateescape"))
    path.chmod(0o600)

    with pytest.raises(ConfigurationError, match=r"secrets\.key"):
        read_key_file(path)
    with pytest.raises(ConfigurationError) as caught:
        parse_key("no-key-at-all", where="here")

    assert "no-key" not in str(caught.value)


def test_a_key_others_may_read_is_refused(tmp_path: Path) -> None:
    """It is no secret then."""
    path = tmp_path / "secrets.key"
    read_key_file(path)
    path.chmod(0o640)

    with pytest.raises(ConfigurationError, match="0600"):
        read_key_file(path)
