"""Keys are changed under a running server: every secret comes under the first, and the old key can go."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest

from domain import database, key_rotation
from domain.credentials import key_ring, new_key, seal_json, unseal_json
from domain.errors import Misconfigured
from domain.key_rotation import SEALED, left_behind, rotate
from domain.models import Account, ExternalAccount, ServiceAuthorizationAttempt
from tests.configuration import Configure
from tests.factories import make_account, make_attempt, make_external_account

OLD, NEW = f"old{new_key()}", f"new{new_key()}"
Turn = Callable[[str], None]


@pytest.fixture
def use(database: None, configure: Configure) -> Iterator[Turn]:
    """Sets SLUICE_SECRET_KEYS."""

    def use_keys(keys: str) -> None:
        configure(secret_keys=keys)
        key_ring.cache_clear()

    use_keys(OLD)
    yield use_keys
    key_ring.cache_clear()


async def make_secrets(count: int = 1) -> Account:
    """So many connected accounts, and an attempt under way for each, in an account whose hashing key is secret too."""
    owner = await make_account()
    for _ in range(count):
        attempt = await make_attempt(await make_external_account(owner.id))
        await ServiceAuthorizationAttempt.filter(id=attempt.id).update(
            secret=seal_json({"verifier": "v"}, row=attempt.id)
        )
    return owner


async def keys_in_use() -> dict[str, int]:
    """How many secrets are under each key."""
    found: dict[str, int] = {}
    for table, column in SEALED:
        for row in await database.fetch(f"SELECT {column} AS sealed FROM {table} WHERE {column} IS NOT NULL"):
            key_id = row["sealed"].partition(b":")[0].decode()
            found[key_id] = found.get(key_id, 0) + 1
    return found


def key_id(key: str) -> str:
    return key.partition(":")[0]


async def test_every_column_of_secrets_is_known(use: Turn) -> None:
    # Every binary column that is not a hash: whoever adds one decides here.
    rows = await database.fetch(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
        " AND data_type = 'bytea' AND table_name !~ '^outcome_' ORDER BY 1, 2"
    )
    hashes = {
        ("api_token", "token_hash"),
        ("ledger", "digest"),
        ("suppression", "email_hash"),
        ("tombstone", "email_hash"),
    }
    assert {(row["table_name"], row["column_name"]) for row in rows} - hashes == SEALED.keys()


async def test_after_a_rotation_the_old_key_can_be_taken_away(use: Turn) -> None:
    owner = await make_secrets(2)
    hashing_key = key_ring().unseal(owner.email_hash_key, row=owner.id)
    use(f"{NEW},{OLD}")
    assert await left_behind() == 5

    rotated = await rotate()

    assert (rotated.count, rotated.unreadable, await left_behind()) == (5, {}, 0)
    assert await keys_in_use() == {key_id(NEW): 5}
    use(NEW)
    async for row in ExternalAccount.all():
        assert unseal_json(row.credentials or b"", row=row.id) == {"token": "good"}
    async for attempt in ServiceAuthorizationAttempt.all():
        assert unseal_json(attempt.secret or b"", row=attempt.id) == {"verifier": "v"}
    assert key_ring().unseal((await Account.get(id=owner.id)).email_hash_key, row=owner.id) == hashing_key


async def test_a_rotation_goes_on_where_it_was_interrupted(use: Turn, monkeypatch: pytest.MonkeyPatch) -> None:
    await make_secrets(5)
    monkeypatch.setattr(key_rotation, "BATCH", 2)
    use(f"{NEW},{OLD}")
    batches = 0
    read = key_rotation._batch

    async def interrupted(*arguments: Any) -> Any:
        nonlocal batches
        batches += 1
        if batches == 4:
            raise ConnectionError
        return await read(*arguments)

    monkeypatch.setattr(key_rotation, "_batch", interrupted)
    with pytest.raises(ConnectionError):
        await rotate()
    half = await keys_in_use()
    monkeypatch.setattr(key_rotation, "_batch", read)
    rotated = await rotate()

    # The account's, and two of the external accounts'.
    assert half == {key_id(NEW): 3, key_id(OLD): 8}
    assert (rotated.count, await keys_in_use()) == (8, {key_id(NEW): 11})
    assert (await rotate()).count == 0


async def test_what_a_user_changes_meanwhile_is_not_overwritten(use: Turn, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = await make_secrets()
    use(f"{NEW},{OLD}")
    encrypt = key_rotation._encrypt
    connected = await ExternalAccount.get(account_id=owner.id)

    async def overtaken(table: str, *arguments: Any) -> None:
        if table == "external_account":
            fresh = seal_json({"token": "newer"}, row=connected.id)
            await ExternalAccount.filter(id=connected.id).update(credentials=fresh)
        await encrypt(table, *arguments)

    monkeypatch.setattr(key_rotation, "_encrypt", overtaken)
    rotated = await rotate()

    row = await ExternalAccount.get(account_id=owner.id)
    assert unseal_json(row.credentials or b"", row=row.id) == {"token": "newer"}
    assert (rotated.count, await keys_in_use()) == (2, {key_id(NEW): 3})


async def test_rotations_at_once_do_the_work_once(use: Turn) -> None:
    await make_secrets(4)
    use(f"{NEW},{OLD}")

    done = await asyncio.gather(*(rotate() for _ in range(3)))

    assert sum(each.count for each in done) == 9
    assert await keys_in_use() == {key_id(NEW): 9}


async def test_a_secret_that_does_not_open_is_named_and_holds_nothing_up(use: Turn) -> None:
    owner = await make_secrets(3)
    moved = await ExternalAccount.filter(account_id=owner.id).order_by("id").first()
    assert moved is not None
    await ExternalAccount.filter(id=moved.id).update(credentials=seal_json({}, row=UUID(int=1)))
    use(f"{NEW},{OLD}")

    rotated = await rotate()

    assert rotated.unreadable == {
        f"external_account {moved.id}": (
            f"A secret of {moved.id} does not open with key {key_id(OLD)!r} of SLUICE_SECRET_KEYS."
        )
    }
    assert (rotated.count, await left_behind()) == (6, 1)


async def test_without_the_old_key_nothing_is_lost_and_nothing_is_done(use: Turn) -> None:
    owner = await make_secrets()
    use(NEW)
    before = await keys_in_use()

    rotated = await rotate()

    assert (rotated.count, await keys_in_use()) == (0, before)
    assert set(rotated.unreadable.values()) == {
        f"SLUICE_SECRET_KEYS has no key {key_id(OLD)!r}, which stored credentials need: put it back."
    }
    with pytest.raises(Misconfigured, match="put it back"):
        key_ring().unseal((await Account.get(id=owner.id)).email_hash_key, row=owner.id)
