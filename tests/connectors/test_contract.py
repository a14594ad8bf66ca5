"""What every connector promises, whatever its service: failures, pages, checkpoints, secrets.

A new service needs a simulator in `tests.connectors.simulators`, and nothing here. What may happen while a service is
read is in `test_contract_histories`, how it is connected and described in `test_contract_services`.
"""

import base64
import gzip
import json
import logging
import traceback
from datetime import timedelta
from urllib.parse import quote

import httpx
import pytest

from connectors.base import (
    MAX_PAGE_RECORDS,
    AccessRevokedError,
    CheckpointExpiredError,
    ConnectorError,
    Page,
    TransientError,
    UnexpectedResponseError,
)
from connectors.registry import SERVICES
from tests.connectors.reading import (
    connect,
    credentials_of,
    each_service,
    ids,
    read,
    sent_secrets,
    service_of,
    simulated,
    through_json,
)
from tests.connectors.simulators import SIMULATORS
from tests.connectors.simulators.kit import Fault, Simulator, open_simulated

PEOPLE = 23
PAGE_SIZE = 5
TELL_CHANGES = {"carddav", "google_contacts"}
"""Services that say exactly what changed: nothing is read twice."""
HAVE_CODES = {"woocommerce"}
"""Services that give a reason with every refusal of their own: a 403 without one comes from something in between."""
ECHO = "echo"
"""A body that holds every secret that the request may have, as a server's debug page does."""


def test_every_service_has_a_simulator() -> None:
    assert SIMULATORS.keys() == SERVICES.keys()
    assert {key: make(0).service for key, make in SIMULATORS.items()} == {key: key for key in SERVICES}


ANSWERS = [
    pytest.param(httpx.ConnectError("refused"), TransientError, id="refused"),
    pytest.param(httpx.ReadTimeout("hang"), TransientError, id="hang"),
    pytest.param(httpx.RemoteProtocolError("cut"), TransientError, id="cut off"),
    pytest.param(Fault(status=401, body=ECHO.encode()), AccessRevokedError, id="401"),
    pytest.param(Fault(status=403, body=ECHO.encode()), AccessRevokedError, id="403"),
    pytest.param(Fault(status=404, body=ECHO.encode()), UnexpectedResponseError, id="404"),
    pytest.param(Fault(status=429), TransientError, id="429"),
    pytest.param(Fault(status=500, body=ECHO.encode()), TransientError, id="500"),
    pytest.param(Fault(status=503), TransientError, id="503"),
    pytest.param(Fault(status=200, body=b"<html>Sign in</html>"), UnexpectedResponseError, id="HTML"),
    pytest.param(Fault(status=200, body=b'{"half": 1}'), UnexpectedResponseError, id="another JSON"),
    pytest.param(Fault(status=200, body=b'{"half": [1, 2'), UnexpectedResponseError, id="half of JSON"),
    pytest.param(Fault(status=207, body=b"<multistatus><resp"), UnexpectedResponseError, id="half of XML"),
    pytest.param(Fault(status=200), UnexpectedResponseError, id="empty"),
]


def client_of(answer: Fault | Exception, simulator: Simulator) -> httpx.AsyncClient:
    """A client that gets the same answer to everything; ECHO in it becomes the simulator's secrets."""

    def handler(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        body = answer.body.replace(ECHO.encode(), " ".join(sent_secrets(simulator)).encode())
        kind = {"Content-Type": "text/html" if body.startswith(b"<") else "application/json"}
        return httpx.Response(answer.status, headers={**kind, **answer.headers}, content=body)

    return httpx.AsyncClient(transport=httpx.MockTransport(handler))


def leaked(simulator: Simulator, text: str) -> list[str]:
    """The secrets that occur in a text, as they are or as they travel."""
    users = [value for value in simulator.credentials.values() if isinstance(value, str)]
    return sorted(
        secret
        for secret in simulator.secrets
        for basic in [base64.b64encode(f"{user}:{secret}".encode()).decode() for user in users]
        if any(spelling in text for spelling in (secret, quote(secret), basic))
    )


async def pages_with(simulator: Simulator, client: httpx.AsyncClient) -> list[Page]:
    return [page async for page in connect(simulator, client).pages(None)]


@each_service
@pytest.mark.parametrize(("answer", "error"), ANSWERS)
async def test_a_failure_says_what_to_do_and_no_secret(
    key: str, answer: Fault | Exception, error: type[ConnectorError], caplog: pytest.LogCaptureFixture
) -> None:
    simulator = simulated(key, 0)
    if key in HAVE_CODES and isinstance(answer, Fault) and answer.status == 403:
        error = UnexpectedResponseError

    with caplog.at_level(logging.DEBUG), pytest.raises(ConnectorError) as raised:
        await pages_with(simulator, client_of(answer, simulator))

    assert type(raised.value) is error
    told = f"{raised.value} {raised.value!r} {''.join(traceback.format_exception(raised.value))} {caplog.text}"
    assert leaked(simulator, told) == []


@each_service
async def test_a_body_that_cannot_be_decompressed_breaks_the_contract(key: str) -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=httpx.ByteStream(b"no gzip"), headers={"Content-Encoding": "gzip"})

    with pytest.raises(UnexpectedResponseError):
        await pages_with(simulated(key, 0), httpx.AsyncClient(transport=httpx.MockTransport(handler)))


@each_service
async def test_a_truncated_body_is_transient_or_breaks_the_contract(key: str) -> None:
    whole = gzip.compress(b"x" * 10_000)

    def handler(_: httpx.Request) -> httpx.Response:
        return httpx.Response(
            200, stream=httpx.ByteStream(whole[: len(whole) // 2]), headers={"Content-Encoding": "gzip"}
        )

    with pytest.raises((TransientError, UnexpectedResponseError)):
        await pages_with(simulated(key, 0), httpx.AsyncClient(transport=httpx.MockTransport(handler)))


@each_service
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ({"Retry-After": "7"}, timedelta(seconds=7)),
        ({"Retry-After": "0"}, timedelta(0)),
        ({"Retry-After": "Mon, 01 Jan 2001 00:00:00 GMT"}, timedelta(0)),
        ({}, None),
    ],
)
async def test_a_busy_service_is_waited_for_as_long_as_it_asks(
    key: str, status: int, header: dict[str, str], wait: timedelta | None
) -> None:
    simulator = simulated(key, 0)

    with pytest.raises(TransientError) as raised:
        await pages_with(simulator, client_of(Fault(status=status, headers=header), simulator))

    assert raised.value.retry_after == wait


@each_service
@pytest.mark.usefixtures("small_pages")
async def test_a_full_read_brings_everybody_once_and_ends_a_sweep(key: str) -> None:
    simulator = simulated(key, PEOPLE, page_size=PAGE_SIZE)
    simulator.add(None)

    pages = await read(simulator)

    found = [(record.external_id, record.email) for page in pages for record in page.records]
    assert sorted(found, key=str) == sorted(simulator.matching().items(), key=str)
    assert len(found) == PEOPLE + 1
    assert [page.complete for page in pages if page.sweep][-1] is True
    assert sum(page.complete for page in pages) == 1


@each_service
async def test_pages_are_small_and_describe_every_value_they_hold(key: str) -> None:
    for page in await read(simulated(key, MAX_PAGE_RECORDS + PEOPLE)):
        assert len(page.records) <= MAX_PAGE_RECORDS
        assert {value for record in page.records for value in record.values} <= page.fields.keys()
        assert {name: spec.key for name, spec in page.fields.items()} == {name: name for name in page.fields}


@each_service
@pytest.mark.usefixtures("small_pages")
async def test_a_restart_from_any_checkpoint_brings_exactly_what_is_not_stored(key: str) -> None:
    simulator = simulated(key, PEOPLE, page_size=PAGE_SIZE)
    pages = await read(simulator)
    whole = next(number for number, page in enumerate(pages, 1) if page.complete)

    for stored in range(1, whole):
        rest = await read(simulator, through_json(pages[stored - 1].checkpoint))
        assert ids(pages[:stored]) + ids(rest) == ids(pages)


@each_service
@pytest.mark.usefixtures("small_pages")
async def test_nothing_new_brings_nothing_or_the_very_same(key: str) -> None:
    simulator = simulated(key, PEOPLE, page_size=PAGE_SIZE)
    pages = await read(simulator)
    again = await read(simulator, through_json(pages[-1].checkpoint))

    known = {record.external_id: record for page in pages for record in page.records}
    found = {record.external_id: record for page in again for record in page.records}
    assert found == {external_id: known.get(external_id) for external_id in found}
    if key in TELL_CHANGES:
        assert found == {}
    elif any(page.sweep for page in again):
        assert found.keys() == known.keys()


@each_service
@pytest.mark.parametrize("checkpoint", [{}, {"cursor": "from an older version"}, {"version": 0}])
async def test_a_checkpoint_it_cannot_read_has_expired(key: str, checkpoint: dict[str, object]) -> None:
    with pytest.raises(CheckpointExpiredError):
        await read(simulated(key, PEOPLE), checkpoint)


@each_service
async def test_nothing_that_it_says_holds_a_secret(key: str, caplog: pytest.LogCaptureFixture) -> None:
    simulator = simulated(key, PEOPLE, page_size=PAGE_SIZE)
    service, credentials, client = service_of(simulator), credentials_of(simulator), open_simulated(simulator)

    with caplog.at_level(logging.DEBUG):
        pages = await read(simulator)
        identity = await service.identify(client, credentials)
        for criterion in service.criteria.model_fields:
            await service.choices(client, credentials, criterion)

    checkpoints = json.dumps([page.checkpoint for page in pages], ensure_ascii=False)
    told = f"{pages!r} {checkpoints} {connect(simulator)!r} {credentials!r} {credentials} {identity!r} {caplog.text}"
    assert leaked(simulator, told) == []
    assert leaked(simulator, str([each.headers for each in simulator.traffic.exchanges])) != []
