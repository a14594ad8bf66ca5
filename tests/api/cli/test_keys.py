"""`sluice keys`: from one key to the next, as the README tells it."""

import asyncio
from pathlib import Path

from domain import account, database
from domain.credentials import new_key, parse_key_ring
from domain.models import Account
from tests.api.cli.refusals import Sluice, refusal

OLD, NEW = f"old{new_key()}", f"new{new_key()}"
ID = NEW.partition(":")[0]


def test_a_new_key_stands_alone_on_standard_output_and_is_another_each_time(sluice: Sluice) -> None:
    first, second = sluice("keys", "new"), sluice("keys", "new")

    assert [(len(parse_key_ring(each.stdout.strip()).keys), each.stderr) for each in (first, second)] == [(1, "")] * 2
    assert first.stdout != second.stdout


def test_a_key_is_rotated_and_the_old_one_taken_away(sluice: Sluice, database_url: str) -> None:
    made = sluice("token", "create", "--account", "Acme", database_url=database_url, secret_keys=OLD)
    both, again = (sluice("keys", "rotate", database_url=database_url, secret_keys=f"{NEW},{OLD}") for _ in range(2))
    alone = sluice("keys", "rotate", database_url=database_url, secret_keys=NEW)

    can_go = f"All are under {ID} now: the other keys can be taken out of SLUICE_SECRET_KEYS.\n"
    assert (made.exit_code, both.exit_code, alone.exit_code) == (0, 0, 0)
    assert (both.stdout, both.stderr) == ("", f"Encrypted 1 secret with {ID}.\n{can_go}")
    assert again.stderr == alone.stderr == f"Encrypted 0 secrets with {ID}.\n{can_go}"
    assert asyncio.run(hashing_key(database_url)).startswith(f"{ID}:".encode())


def test_a_key_that_is_taken_away_too_early_is_asked_back(sluice: Sluice, database_url: str) -> None:
    sluice("token", "create", "--account", "Acme", database_url=database_url, secret_keys=OLD)

    refused = sluice("keys", "rotate", database_url=database_url, secret_keys=NEW)

    assert refusal(refused) == (
        f"SLUICE_SECRET_KEYS has no key {OLD.partition(':')[0]!r}, which stored credentials need: put it back.\n"
        f"Encrypted 0 secrets with {ID}.\n"
        f"1 is not under {ID}. See to it that every process has it first in SLUICE_SECRET_KEYS, and run this again."
        " Take no key away before."
    )


def test_the_keys_of_a_stack_of_its_own_are_rotated_in_its_file(sluice: Sluice, room: Path) -> None:
    data = ["--data", room / "data"]
    assert sluice("token", "create", "--account", "Acme", *data).exit_code == 0
    file = room / "data/secret_keys"
    file.write_text(f"{NEW},{file.read_text()}")

    rotated = sluice("keys", "rotate", *data)
    file.write_text(NEW)
    after = sluice("keys", "rotate", *data)

    assert (rotated.exit_code, rotated.stderr.splitlines()[1]) == (0, f"Encrypted 1 secret with {ID}.")
    assert (after.exit_code, after.stderr.splitlines()[1]) == (0, f"Encrypted 0 secrets with {ID}.")


def test_the_keys_of_a_mistyped_directory_are_not_rotated_and_nothing_is_made_there(sluice: Sluice, room: Path) -> None:
    refused = sluice("keys", "rotate", "--data", room / "date")

    assert refusal(refused) == (
        f"{room / 'date'} has no database. Name with --data the directory that `sluice up` keeps its data in."
    )
    assert list(room.iterdir()) == []


async def hashing_key(url: str) -> bytes:
    await database.open_database(url)
    try:
        return (await Account.get(id=(await account.find_or_create_account("Acme")).id)).email_hash_key
    finally:
        await database.close_database()
