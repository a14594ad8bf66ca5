"""The demonstration: what it asks of the API, what it promises, and that it keeps it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from graphql import parse, validate

from api.cli import demo_documents, demo_samples
from api.cli.demo_client import Client, Counts, Run
from api.cli.demo_samples import CONSENT_TIP, Sample, running_sample, tips
from api.cli.demo_summary import Result, broken_promises
from api.cli.failures import CannotRun
from api.sample_service import SampleBook
from api.schema import schema
from tests.api.cli.processes import are_running, descendants, open_directory, running, wait_until
from tests.api.cli.refusals import Sluice

DOCUMENTS = {
    name: document
    for name, document in vars(demo_documents).items()
    if isinstance(document, str) and re.search(r"^(query|mutation|subscription) ", document, re.MULTILINE)
}
BOOK = SampleBook(cards=10, without_email=2, invalid_email=1, duplicates=1)
REASONS = {"NO_EMAIL": 2, "INVALID_EMAIL": 1, "DUPLICATE_EMAIL": 1}
PEOPLE = [f"person{number}@example.com" for number in range(6)]
KEPT = Result(
    runs=[
        Run(id="1", state="COMPLETED", stopped_by="CAP", checks=1, counts=Counts(read=5, created=4, skipped=1)),
        Run(
            id="2",
            state="COMPLETED",
            stopped_by=None,
            checks=1,
            counts=Counts(read=8, created=2, unchanged=2, skipped=4),
        ),
    ],
    skipped=REASONS,
    skipped_in_ledger=REASONS,
    imported=6,
    active=6,
    emails=PEOPLE,
)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_schema_allows_every_document(name: str) -> None:
    assert validate(schema._schema, parse(DOCUMENTS[name])) == []


def test_all_documents_are_found() -> None:
    assert sorted(DOCUMENTS) == [
        "CONNECT_SERVICE", "CONTACTS", "CREATE_AUTOMATIC_IMPORT", "CREATE_LIST", "CREATE_TAG", "PROGRESS", "RESULT",
        "SERVICES", "SERVICE_AUTHORIZATION", "SKIPPED_OUTCOMES", "SKIPPED_RECORDS", "START_SERVICE_AUTHORIZATION",
        "STATUS",
    ]  # fmt: skip


def test_numbers_that_hold_break_no_promise() -> None:
    assert broken_promises(KEPT, BOOK, cap=4, cycle_seconds=2) == []
    assert KEPT.read_again == 3


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({"skipped": REASONS | {"NO_EMAIL": 3}}, [
            "records skipped for NO_EMAIL: 3, expected 2",
            "created and skipped records: 11, expected 10",
        ]),
        ({"skipped_in_ledger": REASONS | {"DELETED_HERE": 1}}, [
            "records in the ledger for DELETED_HERE: 1, expected 0",
        ]),
        ({"imported": 5}, ["linked records: 5, expected 6"]),
        ({"active": 7}, ["ACTIVE contacts: 7, expected 6"]),
        ({"emails": PEOPLE[1:]}, [
            "contacts in the account: 5, expected 6",
            "different addresses: 5, expected 6",
        ]),
        ({"emails": [*PEOPLE[1:], PEOPLE[1]]}, ["different addresses: 5, expected 6"]),
    ],
)  # fmt: skip
def test_a_number_that_does_not_hold_is_named(changes: dict[str, Any], broken: list[str]) -> None:
    assert broken_promises(replace(KEPT, **changes), BOOK, cap=4, cycle_seconds=2) == broken


@pytest.mark.parametrize(
    ("counts", "broken"),
    [
        (Counts(read=9, created=2, unchanged=2, skipped=4), [
            "run 2: all outcomes together are what was read: 8, expected 9",
        ]),
        (Counts(read=6, created=2, skipped=4), []),
        (Counts(read=11, created=5, unchanged=2, skipped=4), [
            "run 2: contacts written under the cap: 5, expected 4",
            "created contacts: 9, expected 6",
            "created and skipped records: 13, expected 10",
        ]),
        (Counts(read=8, created=2, updated=1, unchanged=1, skipped=4), ["updated records: 1, expected 0"]),
        (Counts(read=8, created=2, unchanged=1, skipped=4, waiting=1), ["waiting records: 1, expected 0"]),
        (Counts(read=8, created=2, unchanged=1, skipped=4, failed=1), ["failed records: 1, expected 0"]),
    ],
)  # fmt: skip
def test_a_run_whose_counts_do_not_hold_is_named(counts: Counts, broken: list[str]) -> None:
    runs = [KEPT.runs[0], KEPT.runs[1].model_copy(update={"counts": counts})]
    assert broken_promises(replace(KEPT, runs=runs), BOOK, cap=4, cycle_seconds=2) == broken


def test_a_run_that_outlasts_its_window_has_the_cap_of_the_next_too() -> None:
    counts = Counts(read=13, created=6, unchanged=2, skipped=5)
    ends = [datetime(2026, 11, 22, 8, tzinfo=UTC) + timedelta(seconds=seconds) for seconds in (0, 1.5)]
    run = KEPT.runs[1].model_copy(update={"counts": counts, "started_at": ends[0], "finished_at": ends[1]})

    assert broken_promises(replace(KEPT, runs=[run]), BOOK, cap=4, cycle_seconds=2) == []
    assert broken_promises(replace(KEPT, runs=[run]), BOOK, cap=4, cycle_seconds=15) == [
        "run 1: contacts written under the cap: 6, expected 4"
    ]


@pytest.fixture
def directory() -> Iterator[Path]:
    with open_directory() as directory:
        yield directory


def test_every_sample_contact_arrives(directory: Path) -> None:
    with running("demo", "--once", "--port", "0", directory=directory) as command:
        wait_until(lambda: command.process.poll() is not None, seconds=130)
        said = command.text()
        assert command.process.returncode == 0, said
    numbers = {name: int(number) for name, number in re.findall(r"│\s*([\w ]+?)\s*│\s*(\d+) │", said)}
    assert numbers.pop("read") == 1200 + numbers["read again behind a cut"]
    assert numbers.pop("skipped") + numbers.pop("unchanged") == 75 + numbers.pop("read again behind a cut")
    assert numbers == {
        "created": 1125, "updated": 0, "waiting": 0, "failed": 0, "contacts in the account": 1125,
        "NO_EMAIL": 40, "INVALID_EMAIL": 20, "DUPLICATE_EMAIL": 15, "cycles": 3,
    }  # fmt: skip
    assert re.search(r"^The first contacts were there \d+\.\d seconds after the start\.$", said, re.MULTILINE)
    assert said.endswith("All numbers hold.\n")


def test_everybody_arrives_of_a_simulated_service_that_is_agreed_to_on_its_own_page(directory: Path) -> None:
    arguments = ("demo", "--service", "google_contacts", "--once", "--port", "0")
    with running(*arguments, directory=directory) as command:
        wait_until(lambda: command.process.poll() is not None, seconds=130)
        said = command.text()
        assert command.process.returncode == 0, said
    numbers = {name: int(number) for name, number in re.findall(r"│\s*([\w ]+?)\s*│\s*(\d+) │", said)}
    assert (numbers["created"], numbers["contacts in the account"], numbers["NO_EMAIL"]) == (1160, 1160, 40)
    assert said.endswith("All numbers hold.\n")


def test_a_service_without_a_sample_is_refused_before_anything_starts(sluice: Sluice, room: Path) -> None:
    refused = sluice("demo", "--service", "fax")

    said = " ".join(word for word in refused.stderr.split() if word != "│")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert said.startswith("Usage: sluice demo ")
    assert (
        "Invalid value for '--service': There is no sample of 'fax'. Services: asana, carddav, csv_url, "
        "google_contacts, shopify, trello, woocommerce."
    ) in said
    assert list(room.iterdir()) == []


def test_an_installed_package_tells_where_the_simulators_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_samples, "ROOT", tmp_path)
    with pytest.raises(CannotRun, match="`uv run sluice demo --service asana` in a clone of the repository"):
        running_sample("asana", tmp_path).__enter__()


def test_a_simulator_lets_things_happen_and_ends_with_the_demonstration(tmp_path: Path) -> None:
    with running_sample("asana", tmp_path) as sample:
        added = httpx.post(f"{sample.url}/simulator/add?email=ada.lovelace@example.com", trust_env=False).json()
        assert httpx.post(f"{sample.url}/simulator/change?id={added['id']}", trust_env=False).json() == {}
        assert httpx.post(f"{sample.url}/simulator/change?id=nobody", trust_env=False).status_code == 404
        assert sample.settings["SLUICE_SERVICE_ORIGINS"] == f"https://app.asana.com={sample.url}"
    with pytest.raises(httpx.ConnectError):
        httpx.get(sample.url, trust_env=False)


@pytest.mark.parametrize(("ways", "told"), [(["OAUTH", "FORM"], True), (["FORM"], False)])
def test_consent_is_recommended_only_where_the_server_can_take_it(ways: list[str], told: bool) -> None:
    sample = Sample(service="asana", url="", credentials={}, criteria={}, settings={}, people=BOOK, hint="Try it.")
    services = [{"key": "csv_url", "authorizations": []}, {"key": "asana", "authorizations": ways}]
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json={"data": {"services": services}}))
    with httpx.Client(transport=transport, base_url="http://sluice.test") as http:
        said = tips(Client(url="http://sluice.test", token="t", http=http), sample)

    assert said.split("\n") == ["Try it.", *([CONSENT_TIP] if told else [])]


def test_a_simulator_ends_with_the_program_that_started_it_even_if_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import time; from pathlib import Path; from api.cli.demo_samples import running_sample\n"
        f"with running_sample('asana', Path({str(tmp_path)!r})) as sample:\n"
        "    print(sample.url, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        url = parent.stdout.readline().strip()
        assert httpx.get(f"{url}/api/1.0/users/me", trust_env=False).status_code == 401
        os.kill(parent.pid, signal.SIGKILL)
    wait_until(lambda: not _answers(url), seconds=20)


def _answers(url: str) -> bool:
    try:
        httpx.get(url, trust_env=False)
    except httpx.TransportError:
        return False
    return True


def test_it_stays_up_until_a_process_dies_and_leaves_nothing_behind(directory: Path) -> None:
    with running("demo", "--port", "0", directory=directory) as command:
        url, token = command.wait_for("The API       "), command.wait_for("Token         ")
        answer = httpx.post(
            url,
            json={"query": "{ account { name } automaticImports(first: 2) { edges { node { name } } } }"},
            headers={"Authorization": f"Bearer {token}"},
            trust_env=False,
        )
        assert answer.json()["data"] == {
            "account": {"name": "Demonstration"},
            "automaticImports": {"edges": [{"node": {"name": "Sample address book"}}]},
        }
        processes = descendants(command.process.pid)
        worker = next(pid for pid, line in processes.items() if line.endswith("api.cli worker") and "/sh" not in line)
        os.kill(worker, signal.SIGKILL)
        assert command.status() == 1
        assert len(processes) > 8
        assert are_running(list(processes)) == []
        said = command.text().partition("The worker ended with status 137. Its log, ")[2]
        assert '"event": "worker.ready"' in said
    assert [path.name for path in directory.iterdir()] == ["demo.output"]
