"""`sluice demo`: an import that can be watched, from a sample service, with nothing kept."""

import asyncio
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from api.cli.children import Child, api_and_worker, wait_until_ready
from api.cli.create_token import make_token
from api.cli.demo_client import Client, next_run, open_client, subscribe
from api.cli.demo_documents import CREATE_AUTOMATIC_IMPORT, CREATE_LIST, CREATE_TAG
from api.cli.demo_progress import Story, shown
from api.cli.demo_samples import CARDDAV, WATCHED_CYCLE_SECONDS, Sample, connect, running_sample, tips
from api.cli.demo_summary import broken_promises, result_of, summary
from api.cli.environment import adopt, forget_settings
from api.cli.failures import CannotRun, say
from api.cli.listening import address, listen
from api.cli.migrate import bring_up_to_date
from api.cli.options import Host, Port
from api.cli.stopping import TookTooLong, time_limit, until_stopped
from api.embedded import temporary_stack
from connectors.registry import SERVICES
from domain import credentials

CAP = 500
CYCLE_SECONDS = 2
LIMIT_SECONDS = 120
LOOK_SECONDS = 0.5
STOPPED_TOO_EARLY = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What the demonstration plays on."""

    client: Client
    sample: Sample
    children: Sequence[Child]


def _known(service: str) -> str:
    if service not in SERVICES:
        raise typer.BadParameter(f"There is no sample of {service!r}. Services: {', '.join(SERVICES)}.")
    return service


def demo(
    service: Annotated[
        str,
        typer.Option(
            metavar="KEY",
            callback=_known,
            help="What to import from, as asana: a simulator, which needs no account.",
        ),
    ] = CARDDAV,
    once: Annotated[
        bool, typer.Option("--once", help="Check that every sample contact arrives, print a summary, and end.")
    ] = False,
    host: Host = "127.0.0.1",
    port: Port = 8000,
) -> None:
    """Watch an automatic import at work, until Ctrl-C. Needs nothing, and keeps nothing.

    Starts PostgreSQL, Redis, the API, a worker and a sample service (a CardDAV server) with 1,200 people; then it
    connects, imports and watches as any client of the API would. Cycles take seconds instead of 30 minutes.
    """
    started = time.monotonic()
    cycle_seconds = CYCLE_SECONDS if once else WATCHED_CYCLE_SECONDS
    with (
        until_stopped(STOPPED_TOO_EARLY if once else 0),
        time_limit(LIMIT_SECONDS) if once else nullcontext(),
        listen(host, port) as listener,
        _stage(service, listener, cycle_seconds=cycle_seconds) as stage,
    ):
        import_id = _create_import(stage)
        if not once:
            _introduce(stage)
        _watch(stage, import_id, started=started, until_caught_up=once)
        result = result_of(stage.client, import_id)
        Console().print(summary(result, seconds=time.monotonic() - started))
        broken = broken_promises(result, stage.sample.people, cap=CAP, cycle_seconds=cycle_seconds)
        if broken:
            raise CannotRun("\n".join(["These numbers do not hold:", *broken]))
        say("All numbers hold.")


@contextmanager
def _stage(service: str, listener: socket.socket, *, cycle_seconds: int) -> Iterator[Stage]:
    url = address(listener)
    forget_settings()
    say(f"Starting PostgreSQL, Redis and {'a CardDAV server' if service == CARDDAV else f'a simulator: {service}'} …")
    with (
        tempfile.TemporaryDirectory(prefix="sluice-demo-") as directory,
        running_sample(service, Path(directory)) as sample,
        temporary_stack() as stack,
    ):
        adopt(
            {
                "SLUICE_DATABASE_URL": stack.database_url,
                "SLUICE_REDIS_URL": stack.redis_url,
                "SLUICE_SECRET_KEYS": credentials.new_key(),
                "SLUICE_ALLOW_PRIVATE_HOSTS": "1",
                "SLUICE_CAP": str(CAP),
                "SLUICE_CYCLE_SECONDS": str(cycle_seconds),
                **sample.settings,
            }
        )
        asyncio.run(bring_up_to_date(stack.database_url))
        say("Starting the API and a worker …")
        with api_and_worker(Path(directory), listener) as children:
            token = asyncio.run(make_token(stack.database_url, "Demonstration", []))
            wait_until_ready(url, children)
            with open_client(url, token) as client:
                try:
                    yield Stage(client=client, sample=sample, children=children)
                except TookTooLong as failure:
                    # The logs are gone in a moment.
                    raise CannotRun("\n".join([str(failure), *(child.last_words() for child in children)])) from None


def _create_import(stage: Stage) -> str:
    client, sample = stage.client, stage.sample
    say(f"Connecting {sample.url} and creating an automatic import …")
    return client.make(
        CREATE_AUTOMATIC_IMPORT,
        externalAccountId=connect(client, sample),
        name="Sample address book",
        criteria=sample.criteria,
        listIds=[client.make(CREATE_LIST, name="Newsletter")],
        tagIds=[client.make(CREATE_TAG, name="From the address book")],
    )


def _watch(stage: Stage, import_id: str, *, started: float, until_caught_up: bool) -> None:
    story = Story(cards=stage.sample.people.cards, status=stage.client.status(import_id))
    first_contact = False
    with shown() as show, subscribe(stage.client, import_id) as connection:
        while not (until_caught_up and story.status.has_caught_up):
            run = next_run(connection, LOOK_SECONDS)
            for child in stage.children:
                child.check()
            if run is not None:
                story.runs[run.id] = run
            story.status = stage.client.status(import_id)
            if not first_contact and story.total("created"):
                first_contact = True
                say(f"The first contacts were there {time.monotonic() - started:.1f} seconds after the start.")
            show(story)
            if until_caught_up and run is not None and run.error is not None:
                raise CannotRun(f"The import failed: {run.error.message}\n{stage.children[-1].last_words()}")


def _introduce(stage: Stage) -> None:
    client = stage.client
    typer.echo(f"""
The API       {client.url}/graphql
Token         {client.token}

Ask it something:
curl -s {client.url}/graphql -H 'Authorization: Bearer {client.token}' -H 'Content-Type: application/json' \\
  -d '{{"query": "{{ contacts(first: 3) {{ edges {{ node {{ email firstName lastName }} }} }} }}"}}'

{tips(client, stage.sample)}

Ctrl-C ends it.
""")
