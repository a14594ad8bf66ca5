"""The README's examples, as a reader would paste them."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from graphql import OperationDefinitionNode, build_schema, parse, validate

from api.sample_service import CardDavServer, radicale, write_vcards
from tests.api.cli.processes import open_directory, running

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text()
SCRIPT = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]
PAGE = "\n".join(re.findall(r"```js\n(.*?)```", README, re.DOTALL))
DOCUMENTS = re.findall(r"/\* GraphQL \*/ `(.*?)`", PAGE, re.DOTALL)
CARDS = 60


@pytest.fixture(scope="module")
def address_book() -> Iterator[CardDavServer]:
    with open_directory() as directory, socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
        probe.close()
        with radicale(directory, port) as server:
            write_vcards(server, CARDS)
            yield server


@pytest.fixture(scope="module")
def deployment() -> Iterator[dict[str, str]]:
    """`sluice up`, and a token for it."""
    with (
        open_directory() as directory,
        running("up", "--port", "0", directory=directory, allow_private_hosts="1") as up,
    ):
        url = up.wait_for("Sluice is up at ").split("/graphql")[0]
        created = subprocess.run(
            [sys.executable, "-P", "-m", "api.cli", "token", "create", "--account", "Acme"],
            cwd=directory,
            env={name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")},
            capture_output=True,
            text=True,
            check=True,
        )
        yield {"SLUICE_URL": url, "SLUICE_TOKEN": created.stdout.strip()}
        up.interrupt()
        assert up.status() == 0


@pytest.fixture(scope="module")
def imported(deployment: dict[str, str], address_book: CardDavServer) -> str:
    """What the script printed."""
    login = {
        "CARDDAV_URL": address_book.url,
        "CARDDAV_USERNAME": address_book.username,
        "CARDDAV_PASSWORD": address_book.password,
    }
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | deployment | login,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.parametrize("state", ["NEEDS_RECONNECT", "NEEDS_REVIEW"])
def test_the_script_ends_where_the_import_waits_for_somebody(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    answers: dict[str, Any] = {
        "connectService": {"externalAccount": {"id": "E"}, "userErrors": []},
        "createAutomaticImport": {"automaticImport": {"id": "I"}, "userErrors": []},
        "node": {"state": state, "stateReason": "Said.", "backlog": None, "lastRun": {"state": "RUNNING"}},
    }

    def answer(request: httpx.Request) -> httpx.Response:
        query = json.loads(request.content)["query"]
        return httpx.Response(200, json={"data": {name: told for name, told in answers.items() if f"{name}(" in query}})

    def goes_on(_: float) -> None:
        raise AssertionError

    monkeypatch.setattr(httpx, "Client", partial(httpx.Client, transport=httpx.MockTransport(answer)))
    monkeypatch.setattr(time, "sleep", goes_on)
    for name in ("SLUICE_TOKEN", "CARDDAV_URL", "CARDDAV_USERNAME", "CARDDAV_PASSWORD"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("SLUICE_URL", "http://sluice.test")

    with pytest.raises(SystemExit, match=f"^{state}: Said\\.$"):
        exec(SCRIPT, {})


def ask(deployment: dict[str, str], document: str, **variables: object) -> httpx.Response:
    return httpx.post(
        f"{deployment['SLUICE_URL']}/graphql",
        headers={
            "Authorization": f"Bearer {deployment['SLUICE_TOKEN']}",
            "Accept": "text/event-stream" if document.strip().startswith("subscription") else "application/json",
        },
        json={"query": document, "variables": variables},
    )


def test_the_script_imports_an_address_book_and_the_page_shows_it(deployment: dict[str, str], imported: str) -> None:
    last = imported.splitlines()[-1]
    found = ask(deployment, DOCUMENTS[0], search="person", after=None).json()["data"]["contacts"]
    run = first_message(deployment)

    assert "'state': 'COMPLETED'" in last
    assert f"'read': {CARDS}" in last
    assert (len(found["edges"]), found["pageInfo"]["hasNextPage"]) == (50, True)
    assert {edge["node"]["status"] for edge in found["edges"]} == {"ACTIVE"}
    assert (run["state"], run["counts"]["read"]) == ("COMPLETED", CARDS)


def first_message(deployment: dict[str, str]) -> dict[str, Any]:
    """What the page's subscription is told first."""
    node = ask(deployment, "{ automaticImports { edges { node { id } } } }").json()["data"]["automaticImports"]
    body = {"query": DOCUMENTS[1], "variables": {"automaticImportId": node["edges"][0]["node"]["id"]}}
    headers = {"Authorization": f"Bearer {deployment['SLUICE_TOKEN']}", "Accept": "text/event-stream"}
    with httpx.stream("POST", f"{deployment['SLUICE_URL']}/graphql", headers=headers, json=body, timeout=10) as stream:
        first = next(line for line in stream.iter_lines() if line.startswith("data:"))
    told: dict[str, Any] = json.loads(first.removeprefix("data:"))["data"]["importRunProgress"]
    return told


def test_every_document_of_the_readme_is_valid() -> None:
    schema = build_schema((ROOT / "api/schema.graphql").read_text())
    written = [*DOCUMENTS, *re.findall(r'"""\n(query .*?)"""', SCRIPT, re.DOTALL)]
    written += re.findall(r"```graphql\n(.*?)```", README, re.DOTALL)
    documents = [parse(document) for document in written]

    assert [validate(schema, document) for document in documents] == [[], [], [], [], [], []]
    operations = [document.definitions[0] for document in documents]
    assert [
        operation.operation.value for operation in operations if isinstance(operation, OperationDefinitionNode)
    ] == [
        "query",
        "subscription",
        "mutation",
        "query",
        "query",
        "query",
    ]
