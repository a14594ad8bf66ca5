"""What every connector promises, whatever its service. A new service needs a line in SUBJECTS."""

import gzip
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import httpx
import pytest
from pydantic import BaseModel, SecretStr

from connectors.base import (
    MAX_PAGE_RECORDS,
    AccessRevokedError,
    CheckpointExpiredError,
    Connector,
    ConnectorError,
    Page,
    TransientError,
    UnexpectedResponseError,
)
from connectors.registry import SERVICES
from tests.connectors.carddav_servers import Simulator

RECORDS = 230
SECRET = "s3cret-pässword"
MOST_PAGES = 1000

Handler = Callable[[httpx.Request], httpx.Response]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Credentials that hold SECRET, criteria, and a server with RECORDS contacts."""

    credentials: Mapping[str, str]
    criteria: Mapping[str, str]
    server: Callable[[], Handler]


def carddav_server() -> Handler:
    server = Simulator()
    for number in range(RECORDS):
        server.put(f"P{number:03}")
    return server


SUBJECTS = {
    "carddav": Subject(
        credentials={"url": "https://dav.example.com", "username": "ann", "password": SECRET},
        criteria={},
        server=carddav_server,
    ),
}

each_service = pytest.mark.parametrize("key", SERVICES)


def credentials_of(key: str) -> BaseModel:
    return SERVICES[key].credentials.model_validate(SUBJECTS[key].credentials)


def connect(key: str, handler: Handler) -> Connector:
    client = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    criteria = SERVICES[key].criteria.model_validate(SUBJECTS[key].criteria)
    return SERVICES[key].connect(client, credentials_of(key), criteria)


async def read(connector: Connector, checkpoint: Mapping[str, object] | None = None) -> list[Page]:
    pages = []
    async for page in connector.pages(checkpoint):
        pages.append(page)
        assert len(pages) <= MOST_PAGES, "the connector reads in circles"
    return pages


def stored_ids(pages: list[Page]) -> list[str]:
    return [record.external_id for page in pages for record in page.records]


def through_json(page: Page) -> Mapping[str, object]:
    restored: Mapping[str, object] = json.loads(json.dumps(page.checkpoint))
    return restored


def test_every_service_has_a_subject_here() -> None:
    assert SUBJECTS.keys() == SERVICES.keys()


ANSWERS = [
    pytest.param(httpx.ConnectError("refused"), TransientError, id="refused"),
    pytest.param(httpx.ReadTimeout("hang"), TransientError, id="hang"),
    pytest.param(httpx.RemoteProtocolError("cut"), TransientError, id="cut off"),
    pytest.param(httpx.Response(401, text=SECRET), AccessRevokedError, id="401"),
    pytest.param(httpx.Response(403, text=SECRET), AccessRevokedError, id="403"),
    pytest.param(httpx.Response(404, text=SECRET), UnexpectedResponseError, id="404"),
    pytest.param(httpx.Response(429), TransientError, id="429"),
    pytest.param(httpx.Response(500, text=SECRET), TransientError, id="500"),
    pytest.param(httpx.Response(503), TransientError, id="503"),
    pytest.param(httpx.Response(200, html="<html>Sign in</html>"), UnexpectedResponseError, id="HTML"),
    pytest.param(httpx.Response(200, json={"half": 1}), UnexpectedResponseError, id="another JSON"),
    pytest.param(httpx.Response(200, text='{"half": [1, 2'), UnexpectedResponseError, id="half of JSON"),
    pytest.param(httpx.Response(207, text="<multistatus><resp"), UnexpectedResponseError, id="half of XML"),
    pytest.param(httpx.Response(200), UnexpectedResponseError, id="empty"),
]


@each_service
@pytest.mark.parametrize(("answer", "error"), ANSWERS)
async def test_a_failure_says_what_to_do_and_no_secret(
    key: str,
    answer: httpx.Response | Exception,
    error: type[ConnectorError],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    connector = connect(key, handler)
    with caplog.at_level(logging.DEBUG), pytest.raises(ConnectorError) as raised:
        await read(connector)

    assert type(raised.value) is error
    assert SECRET not in f"{raised.value} {raised.value!r} {connector!r} {credentials_of(key)!r} {caplog.text}"


@each_service
async def test_a_body_that_cannot_be_decompressed_breaks_the_contract(key: str) -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=httpx.ByteStream(b"no gzip"), headers={"Content-Encoding": "gzip"})

    with pytest.raises(UnexpectedResponseError):
        await read(connect(key, handler))


@each_service
async def test_a_truncated_body_is_transient_or_breaks_the_contract(key: str) -> None:
    whole = gzip.compress(b"x" * 10_000)

    def handler(_: httpx.Request) -> httpx.Response:
        return httpx.Response(
            200, stream=httpx.ByteStream(whole[: len(whole) // 2]), headers={"Content-Encoding": "gzip"}
        )

    with pytest.raises((TransientError, UnexpectedResponseError)):
        await read(connect(key, handler))


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
    with pytest.raises(TransientError) as raised:
        await read(connect(key, lambda _: httpx.Response(status, headers=header)))

    assert raised.value.retry_after == wait


@each_service
async def test_a_full_read_brings_every_record_once_and_ends_a_sweep(key: str) -> None:
    pages = await read(connect(key, SUBJECTS[key].server()))

    found = stored_ids(pages)
    assert len(found) == len({*found}) == RECORDS
    assert [page.complete for page in pages] == [False] * (len(pages) - 1) + [True]


@each_service
async def test_pages_are_small_and_describe_every_value_they_hold(key: str) -> None:
    pages = await read(connect(key, SUBJECTS[key].server()))

    assert max(len(page.records) for page in pages) <= MAX_PAGE_RECORDS
    for page in pages:
        assert {value for record in page.records for value in record.values} <= page.fields.keys()
        assert {name: spec.key for name, spec in page.fields.items()} == {name: name for name in page.fields}


@each_service
async def test_a_checkpoint_survives_json_and_holds_no_secret(key: str) -> None:
    for page in await read(connect(key, SUBJECTS[key].server())):
        assert through_json(page) == page.checkpoint
        assert SECRET not in json.dumps(page.checkpoint, ensure_ascii=False)


@each_service
async def test_a_restart_from_any_checkpoint_brings_exactly_what_is_not_stored(key: str) -> None:
    server = SUBJECTS[key].server()
    pages = await read(connect(key, server))
    everything = stored_ids(pages)

    for stored in range(1, len(pages) + 1):
        rest = await read(connect(key, server), through_json(pages[stored - 1]))
        assert stored_ids(pages[:stored]) + stored_ids(rest) == everything


@each_service
async def test_nothing_new_brings_nothing(key: str) -> None:
    server = SUBJECTS[key].server()
    checkpoint = through_json((await read(connect(key, server)))[-1])

    assert stored_ids(await read(connect(key, server), checkpoint)) == []


@each_service
@pytest.mark.parametrize("checkpoint", [{}, {"cursor": "from an older version"}, {"version": 0}])
async def test_a_checkpoint_it_cannot_read_has_expired(key: str, checkpoint: dict[str, object]) -> None:
    with pytest.raises(CheckpointExpiredError):
        await read(connect(key, SUBJECTS[key].server()), checkpoint)


@each_service
def test_the_forms_have_titles_and_every_secret_is_hidden(key: str) -> None:
    service = SERVICES[key]
    for form in (service.credentials, service.criteria):
        for name, field in form.model_json_schema()["properties"].items():
            assert field["title"] != name, f"{name} has no title for people"
    hidden = [value for _, value in credentials_of(key) if isinstance(value, SecretStr)]
    assert [value.get_secret_value() for value in hidden] == [SECRET]
    assert SECRET not in repr(credentials_of(key))


@each_service
async def test_it_offers_choices_that_its_criteria_accept(key: str) -> None:
    service = SERVICES[key]
    client = httpx.AsyncClient(transport=httpx.MockTransport(SUBJECTS[key].server()))
    for criterion in service.criteria.model_fields:
        for choice in await service.choices(client, credentials_of(key), criterion):
            assert choice.label
            chosen = service.criteria.model_validate({criterion: choice.value})
            assert chosen.model_dump()[criterion] == choice.value


@each_service
def test_a_service_is_described(key: str) -> None:
    service = SERVICES[key]

    assert service.key == key
    assert service.documentation_url.startswith("https://")
    assert len({field.key for field in service.fields}) == len(service.fields) > 0


@pytest.mark.parametrize("key", SERVICES)
def test_what_a_user_enters_is_checked_strictly_and_never_repeated(key: str) -> None:
    service = SERVICES[key]

    assert service.credentials.model_config.get("hide_input_in_errors") is True
    assert service.credentials.model_config.get("extra") == "forbid"
    # A criterion that is not understood must not import everything (R2).
    assert service.criteria.model_config.get("extra") == "forbid"
