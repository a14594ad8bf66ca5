"""What the demonstration imports from: a real CardDAV server, or the simulator of another service."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from api.cli.demo_client import Client
from api.cli.demo_documents import CONNECT_SERVICE, SERVICE_AUTHORIZATION, SERVICES, START_SERVICE_AUTHORIZATION
from api.cli.failures import CannotRun
from api.sample_service import SampleBook, radicale, write_vcards

CARDDAV = "carddav"
PEOPLE = 1200
WATCHED_CYCLE_SECONDS = 15
"""Nobody wants to wait half an hour to see a change arrive."""
ROOT = Path(__file__).parents[2]
SIMULATORS = "tests.connectors.simulators"
STOP_SECONDS = 5.0
CONSENT_TIP = (
    "A page of yours can connect it by startServiceAuthorization too: whoever opens the page of the simulator agrees."
)

CARD = r"BEGIN:VCARD\nVERSION:3.0\nUID:ada\nN:Lovelace;Ada;;;\nFN:Ada Lovelace\nEMAIL:ada@example.com\nEND:VCARD\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A service that runs on this machine, and what it holds. `settings` lead to it, `hint` tells what to try."""

    service: str
    url: str
    credentials: Mapping[str, Any] = field(repr=False)
    criteria: Mapping[str, Any]
    settings: Mapping[str, str] = field(repr=False)
    people: SampleBook
    hint: str


class _Description(BaseModel):
    """The line that a simulator prints once it listens."""

    url: str
    origins: list[str]
    credentials: dict[str, Any]
    criteria: dict[str, Any]
    client_id: str
    client_secret: str
    people: SampleBook


@contextmanager
def running_sample(service: str, directory: Path) -> Iterator[Sample]:
    """Run the sample of a service until the block ends, with its data and log in `directory`. Raises CannotRun."""
    with _address_book(directory) if service == CARDDAV else _simulator(service, directory) as sample:
        yield sample


def connect(client: Client, sample: Sample) -> str:
    """Connect the sample: by the form where there is one, else on its own page. Returns the external account's id."""
    service = _offered(client, sample)
    if service["credentialsSchema"] is not None:
        return client.make(CONNECT_SERVICE, service=sample.service, credentials=sample.credentials)
    wanted = (service["authorizationSchema"] or {}).get("properties", {})
    details = {name: value for name, value in sample.credentials.items() if name in wanted}
    started = client.change(START_SERVICE_AUTHORIZATION, service=sample.service, details=details)
    # As a browser would: whoever is asked there agrees, and here our page's button posts what it was opened with.
    page = client.http.get(started["authorizationUrl"], follow_redirects=True)
    client.http.post(page.url.copy_with(query=None), data=dict(page.url.params))
    attempt = client.ask(SERVICE_AUTHORIZATION, id=started["object"]["id"])["serviceAuthorization"]
    if attempt["externalAccount"] is None:
        reasons = " ".join(error["message"] for error in attempt["userErrors"])
        raise CannotRun(f"Connecting on the service's page is {attempt['state']}. {reasons}")
    return str(attempt["externalAccount"]["id"])


def tips(client: Client, sample: Sample) -> str:
    """What to try; of consent only where the server can take it."""
    return "\n".join([sample.hint, *([CONSENT_TIP] if "OAUTH" in _offered(client, sample)["authorizations"] else [])])


def _offered(client: Client, sample: Sample) -> Mapping[str, Any]:
    services = client.ask(SERVICES)["services"]
    return next(service for service in services if service["key"] == sample.service)


@contextmanager
def _address_book(directory: Path) -> Iterator[Sample]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    with radicale(directory / "radicale", port) as server:
        path = f"{server.url}/{server.username}/contacts/"
        yield Sample(
            service=CARDDAV,
            url=server.url,
            credentials={"url": server.url, "username": server.username, "password": server.password},
            criteria={},
            settings={},
            people=write_vcards(server, PEOPLE),
            hint=f"""\
The address book that is imported is {path} (user {server.username}, password {server.password}).
Add a card to it, and watch it arrive within {WATCHED_CYCLE_SECONDS} seconds of the last of the {PEOPLE:,}:
printf '{CARD}' | curl -s -u {server.username}:{server.password} -X PUT \\
  -H 'Content-Type: text/vcard' --data-binary @- {path}ada.vcf""",
        )


@contextmanager
def _simulator(service: str, directory: Path) -> Iterator[Sample]:
    if not (ROOT / SIMULATORS.replace(".", "/")).is_dir():
        raise CannotRun(
            "The simulators of services come with the source code, not with the installed package: run "
            f"`uv run sluice demo --service {service}` in a clone of the repository, or `sluice demo` here."
        )
    log = directory / "simulator.log"
    with (
        log.open("wb") as errors,
        subprocess.Popen(  # noqa: S603  ourselves
            [sys.executable, "-m", SIMULATORS, "--service", service, "--people", str(PEOPLE)],
            # Its standard input closes when we end, however that is, and then it ends too.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=ROOT,
            start_new_session=True,
        ) as process,
    ):
        try:
            line = process.stdout.readline() if process.stdout is not None else b""
            if not line:
                raise CannotRun("\n".join(["The simulator did not start:", *_lines(log)[-1:]]))
            yield _sample(service, _Description.model_validate_json(line))
        finally:
            process.kill()


def _lines(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines()


def _sample(service: str, told: _Description) -> Sample:
    names = f"SLUICE_{service.upper()}_CLIENT_ID", f"SLUICE_{service.upper()}_CLIENT_SECRET"
    return Sample(
        service=service,
        url=told.url,
        credentials=told.credentials,
        criteria=told.criteria,
        settings={
            "SLUICE_SERVICE_ORIGINS": ",".join(f"{origin}={told.url}" for origin in told.origins),
            **dict(zip(names, (told.client_id, told.client_secret), strict=True)),
        },
        people=told.people,
        hint=f"""\
The simulator of the service is {told.url}; its credentials are {json.dumps(told.credentials)}.
Add somebody, and watch them arrive within {WATCHED_CYCLE_SECONDS} seconds of the last of the {told.people.cards:,}:
curl -s -X POST '{told.url}/simulator/add?email=ada.lovelace@example.com'
Its answer has an id, for /simulator/change?id=… and /simulator/remove?id=…; /simulator/revoke ends the access.""",
    )
