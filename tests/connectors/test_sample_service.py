import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from api.sample_service import CardDavServer, SampleServiceError, radicale, write_vcards


def cards(directory: Path) -> dict[str, str]:
    return {card.name: card.read_text(encoding="utf-8") for card in directory.rglob("*.vcf")}


def test_the_same_seed_gives_the_same_people(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_vcards(CardDavServer(port=1, directory=tmp_path / name), 300, seed=seed)

    assert len(cards(tmp_path / "a")) == 300
    assert cards(tmp_path / "a") == cards(tmp_path / "b")
    assert cards(tmp_path / "a") != cards(tmp_path / "c")


def test_a_taken_port_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SampleServiceError, match=f"Port {port} of 127.0.0.1 cannot be used"):
            radicale(tmp_path, port).__enter__()


def test_it_ends_with_the_program_that_started_it_even_if_that_is_killed(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    program = (
        "import sys, time; from pathlib import Path; from api.sample_service import radicale\n"
        f"with radicale(Path({str(tmp_path)!r}), {port}):\n    print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        os.kill(parent.pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.05)
    pytest.fail("the server outlived the program that started it")
