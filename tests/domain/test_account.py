"""Accounts are made once, tokens are kept as hashes."""

import asyncio

import pytest

from domain import account, database
from domain.errors import Misconfigured
from domain.models import Account, ApiToken
from tests.configuration import Configure


async def test_an_account_is_made_once_however_many_ask(database: None) -> None:
    found = await asyncio.gather(*(account.find_or_create_account("Acme") for _ in range(8)))

    assert len({each.id for each in found}) == 1
    assert await Account.all().count() == 1


async def test_a_plan_that_is_none_names_those_there_are(database: None, configure: Configure) -> None:
    configure(new_account_plan="gold")

    with pytest.raises(
        Misconfigured, match=r"'gold', which is no plan tier\. Plan tiers: contacts-1000, contacts-2500"
    ):
        await account.find_or_create_account("Acme")

    assert await Account.all().count() == 0


async def test_a_token_authenticates_its_account_and_is_nowhere_in_the_database(database: None) -> None:
    acme = await account.find_or_create_account("Acme")

    token = await account.create_token(acme.id, scopes=["read"])

    viewer = await account.authenticate(token)
    stored = (await dump())[0]["dump"]
    assert viewer is not None
    assert (viewer.account_id, viewer.scopes) == (acme.id, frozenset({"read"}))
    assert token.startswith("slc_")
    assert token not in stored
    assert token.removeprefix("slc_") not in stored


async def test_an_unknown_or_revoked_token_is_nobody(database: None) -> None:
    acme = await account.find_or_create_account("Acme")
    token = await account.create_token(acme.id)
    await revoke()

    assert await account.authenticate(token) is None
    assert await account.authenticate("slc_unknown") is None
    assert await ApiToken.all().count() == 1


async def dump() -> list[dict[str, str]]:
    return [dict(row) for row in await database.fetch("SELECT string_agg(t::text, ' ') AS dump FROM api_token t")]


async def revoke() -> None:
    await database.fetch("UPDATE api_token SET revoked_at = now()")
