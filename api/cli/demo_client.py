"""The demonstration as any client of the API would do it: GraphQL over HTTP, and progress over WebSocket.

The WebSocket's messages are those of graphql-transport-ws:
https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import connect
from websockets.sync.connection import Connection
from websockets.typing import Subprotocol

from api.cli.demo_documents import PROGRESS, STATUS
from api.cli.failures import CannotRun

ANSWER_SECONDS = 20.0
SUBPROTOCOL = Subprotocol("graphql-transport-ws")


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)


class Counts(_Answer):
    """What a run counted."""

    read: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    skipped: int = 0
    waiting: int = 0
    failed: int = 0


class RunError(_Answer):
    """Why a run failed."""

    code: str
    message: str


class Run(_Answer):
    """One run of the automatic import."""

    id: str
    state: str
    stopped_by: str | None
    checks: int
    counts: Counts
    error: RunError | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def seconds(self) -> float:
        """How long it took; none while it is under way."""
        if self.started_at is None or self.finished_at is None:
            return 0.0
        return (self.finished_at - self.started_at).total_seconds()


class Cap(_Answer):
    """How much of the window's cap is used."""

    limit: int
    used: int
    window_ends_at: datetime | None


class Backlog(_Answer):
    """What is still to come."""

    remaining: int | None


class _ExternalAccount(_Answer):
    cap: Cap


class Status(_Answer):
    """Where the automatic import stands."""

    backlog: Backlog | None
    last_run: Run | None
    next_run_at: datetime | None
    external_account: _ExternalAccount

    @property
    def has_caught_up(self) -> bool:
        """Whether all that was there has been read."""
        last = self.last_run
        return self.backlog is None and last is not None and last.state == "COMPLETED" and last.stopped_by is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Where the API is, and the token that it accepts."""

    url: str
    token: str = field(repr=False)
    http: httpx.Client = field(repr=False)

    def ask(self, document: str, **variables: object) -> Any:
        """The data that answers `document`. Raises CannotRun with the API's own errors."""
        try:
            response = self.http.post(
                f"{self.url}/graphql",
                json={"query": document, "variables": variables},
                headers={"Authorization": f"Bearer {self.token}"},
            )
            answer = response.json()
        except (httpx.TransportError, ValueError) as error:
            raise CannotRun(f"The API at {self.url} does not answer as it should: {error!r}.") from error
        return _data(answer)

    def change(self, mutation: str, **values: object) -> Any:
        """What `mutation` made of `values`. Raises CannotRun with the user errors."""
        changed = self.ask(mutation, input=values)["changed"]
        if changed["userErrors"]:
            raise CannotRun("\n".join(f"The API refused: {error['message']}" for error in changed["userErrors"]))
        return changed

    def make(self, mutation: str, **values: object) -> str:
        """The id of the object that `mutation` made of `values`. Raises CannotRun with the user errors."""
        return str(self.change(mutation, **values)["object"]["id"])

    def status(self, import_id: str) -> Status:
        """Where the automatic import stands."""
        return Status.model_validate(self.ask(STATUS, id=import_id)["node"])


@contextmanager
def open_client(url: str, token: str) -> Iterator[Client]:
    """A client of the API at `url`."""
    with httpx.Client(timeout=ANSWER_SECONDS, trust_env=False) as http:
        yield Client(url=url, token=token, http=http)


@contextmanager
def subscribe(client: Client, import_id: str) -> Iterator[Connection]:
    """A connection over which the progress of the automatic import comes: see `next_run`."""
    url = f"{client.url.replace('http', 'ws', 1)}/graphql"
    try:
        with connect(url, subprotocols=[SUBPROTOCOL], proxy=None) as connection:
            _send(connection, type="connection_init", payload={"authorization": f"Bearer {client.token}"})
            acknowledged = json.loads(connection.recv(ANSWER_SECONDS))
            if acknowledged["type"] != "connection_ack":
                raise CannotRun(f"The API did not accept the subscription: {acknowledged}.")
            payload = {"query": PROGRESS, "variables": {"id": import_id}}
            _send(connection, type="subscribe", id="progress", payload=payload)
            yield connection
    except (ConnectionClosed, InvalidHandshake, TimeoutError) as error:
        raise CannotRun(f"The API ended the subscription: {error}.") from error


def next_run(connection: Connection, seconds: float) -> Run | None:
    """The run as it has just become; None where nothing changes for `seconds`."""
    try:
        message = json.loads(connection.recv(seconds))
    except TimeoutError:
        return None
    match message["type"]:
        case "next":
            return Run.model_validate(_data(message["payload"])["importRunProgress"])
        case "ping":
            _send(connection, type="pong")
            return None
        case "error":
            raise CannotRun(f"The API refused the subscription: {_messages(message['payload'])}")
        case _:
            raise CannotRun(f"The API ended the subscription: {message}.")


def _send(connection: Connection, **message: object) -> None:
    connection.send(json.dumps(message))


def _data(answer: Mapping[str, Any]) -> Any:
    if answer.get("errors"):
        raise CannotRun(f"The API refused: {_messages(answer['errors'])}")
    return answer["data"]


def _messages(errors: Any) -> str:
    return "; ".join(error["message"] for error in errors)
