"""What the commands are called and take, and what the short ones do."""

import asyncio
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import typer
from graphql import build_schema

from api.cli import app
from api.embedded import urls_of_running_stack
from domain import account, database
from domain.account import Viewer
from domain.credentials import new_key
from tests.api.cli.refusals import Sluice, refusal
from tests.databases import MIGRATIONS

KEY = new_key()


def commands() -> dict[str, Any]:
    """Every command by its path: what typer makes of our functions."""

    def walk(command: Any, path: str) -> Iterator[tuple[str, Any]]:
        yield path, command
        for name, each in getattr(command, "commands", {}).items():
            yield from walk(each, f"{path} {name}".strip())

    return dict(walk(typer.main.get_command(app), ""))


def test_every_command_and_option_has_help() -> None:
    found = commands()
    assert sorted(found) == [
        "", "demo", "keys", "keys new", "keys rotate", "migrate", "schema", "serve", "token", "token create", "up",
        "worker",
    ]  # fmt: skip
    assert [name for name, command in found.items() if not command.help] == []
    parameters = [(name, each) for name, command in found.items() for each in command.params]
    assert len(parameters) == 15
    assert [(name, each.name) for name, each in parameters if not getattr(each, "help", None)] == []


@pytest.mark.parametrize("name", ["demo", "up", "serve"])
def test_a_server_listens_on_this_machine_alone_unless_told_otherwise(name: str) -> None:
    defaults = {each.name: each.default for each in commands()[name].params}
    assert (defaults["host"], defaults["port"]) == ("127.0.0.1", 8000)


def test_migrating_names_what_it_applied_and_then_finds_nothing_to_do(sluice: Sluice, database_url: str) -> None:
    asyncio.run(run_sql(database_url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public"))
    first, second = (sluice("migrate", database_url=database_url) for _ in range(2))
    assert (first.exit_code, first.stderr) == (0, f"Applied {', '.join(MIGRATIONS)}.\n")
    assert (second.exit_code, second.stderr) == (0, "The database is up to date.\n")


def test_a_user_who_may_not_migrate_is_told(sluice: Sluice, database_url: str) -> None:
    asyncio.run(run_sql(database_url, "DROP SCHEMA public CASCADE"))
    assert refusal(sluice("migrate", database_url=database_url)) == (
        "PostgreSQL refused to migrate: no schema has been selected to create in."
    )


def test_a_token_stands_alone_on_standard_output_and_lets_in(sluice: Sluice, database_url: str) -> None:
    arguments = ["token", "create", "--account", "Acme"]
    first = sluice(*arguments, "--scope", "read", "--scope", "write", database_url=database_url, secret_keys=KEY)
    second = sluice(*arguments, database_url=database_url, secret_keys=KEY)
    assert (first.exit_code, first.stderr, second.exit_code, second.stderr) == (0, "", 0, "")
    assert [result.stdout.count("\n") for result in (first, second)] == [1, 1]
    viewers = [asyncio.run(viewer_of(result.stdout.strip(), database_url)) for result in (first, second)]
    assert [viewer.scopes for viewer in viewers] == [{"read", "write"}, frozenset()]
    assert viewers[0].account_id == viewers[1].account_id
    assert first.stdout != second.stdout


def test_a_token_for_nobody_is_refused(sluice: Sluice) -> None:
    assert refusal(sluice("token", "create", "--account", " ")) == "The account needs a name: --account NAME."


def test_a_token_of_a_stack_that_is_down_starts_it_for_a_moment(sluice: Sluice, room: Path) -> None:
    arguments = ["token", "create", "--account", "Acme", "--data", room / "data"]
    first = sluice(*arguments)
    assert first.stderr == f"No stack runs on {room / 'data'}: starting it for a moment …\n"
    assert (first.exit_code, len(first.stdout.split()), first.stdout[:4]) == (0, 1, "slc_")
    assert urls_of_running_stack(room / "data") is None
    keys = room / "data/secret_keys"
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600
    kept = keys.read_text()
    assert sluice(*arguments).exit_code == 0
    assert keys.read_text() == kept
    keys.unlink()
    assert refusal(sluice(*arguments)).endswith(
        f"\n{keys} is missing. Restore it from the backup; without it no stored credentials can be read."
    )
    keys.write_text("gone")
    assert refusal(sluice(*arguments)).endswith(
        f"\n{keys} is damaged. Restore it: without it no stored credentials can be read."
    )


def test_the_schema_is_the_same_on_standard_output_and_in_a_file(sluice: Sluice, tmp_path: Path) -> None:
    printed = sluice("schema")
    written = sluice("schema", "--output", tmp_path / "schema.graphql")
    assert (written.exit_code, written.stdout) == (0, "")
    assert printed.stdout == (tmp_path / "schema.graphql").read_text()
    subscriptions = build_schema(printed.stdout).subscription_type
    assert subscriptions is not None
    assert sorted(subscriptions.fields) == ["accountImportProgress", "importRunProgress"]


def test_a_schema_that_cannot_be_written_is_told(sluice: Sluice, tmp_path: Path) -> None:
    file = tmp_path / "nowhere/schema.graphql"
    assert refusal(sluice("schema", "--output", file)) == f"Cannot write {file} (No such file or directory)."


async def run_sql(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


async def viewer_of(token: str, url: str) -> Viewer:
    await database.open_database(url)
    try:
        viewer = await account.authenticate(token)
    finally:
        await database.close_database()
    assert viewer is not None
    return viewer
