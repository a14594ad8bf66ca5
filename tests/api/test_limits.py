"""What one request may ask for, and what it may learn."""

import os
from typing import Any

import httpx
import pytest
import structlog
from graphql import parse, validate

from api.app import create_app
from api.limits import MAX_BODY_BYTES
from api.node import global_id
from api.query_cost import CostRule
from api.schema import schema
from domain.credentials import key_ring, new_key
from domain.models import Account, Tag
from tests.api.conftest import Client, make_client
from tests.configuration import Configure
from tests.factories import make_contact
from tests.fakes import DeafWatch, FakeCatalogue, RecordingEvents, RecordingQueue


async def post(client: Client, content: bytes) -> tuple[int, Any]:
    headers = client.headers | {"Content-Type": "application/json"}
    response = await client.http.post("/graphql", content=content, headers=headers)
    return response.status_code, response.json()


async def test_a_body_is_refused_once_it_is_larger_than_any_honest_one(client: Client) -> None:
    query = b'{"query": "{ __typename }", "x": "%s"}'
    fitting = query % (b"x" * (MAX_BODY_BYTES - len(query) + 2))
    assert len(fitting) == MAX_BODY_BYTES

    assert await post(client, fitting) == (200, {"data": {"__typename": "Query"}})
    assert await post(client, fitting + b" ") == (
        413,
        {
            "errors": [
                {
                    "message": "The request is larger than 1048576 bytes. Send less at a time.",
                    "extensions": {"code": "TOO_LARGE"},
                }
            ]
        },
    )


async def test_a_query_of_too_many_tokens_is_refused_before_it_is_parsed(client: Client) -> None:
    # Had it been read to its end, that would be what is wrong with it.
    [error] = (await client.ask("{ " + "__typename " * 20_000 + '"'))["errors"]

    assert error["message"].startswith("Syntax Error: Document contains more than 2000 tokens")


def errors_of(query: str) -> list[str]:
    return [error.message for error in validate(schema._schema, parse(query), [CostRule])]


def nested(levels: int) -> str:
    query = "id"
    for _ in range(levels):
        query = f"automaticImport {{ lastRun {{ {query} }} }}"
    return f"{{ importRuns {{ edges {{ node {{ {query} }} }} }} }}"


def test_depth_is_limited() -> None:
    assert errors_of(nested(5)) == []
    assert errors_of(nested(6)) == [
        "This operation asks for too much: 16 levels deep, where 15 are allowed. Split it up."
    ]


def test_aliases_are_limited() -> None:
    def query(count: int) -> str:
        return "{" + " ".join(f"a{number}: __typename" for number in range(count)) + "}"

    assert errors_of(query(30)) == []
    assert errors_of(query(31)) == ["This operation asks for too much: 31 aliases, where 30 are allowed. Split it up."]


def test_pages_inside_pages_are_limited_by_what_they_multiply_to() -> None:
    def query(outcomes: str) -> str:
        return (
            "query ($n: Int) { automaticImports(first: 10) { edges { node { runs(first: 10) { edges { node {"
            f" outcomes{outcomes} {{ edges {{ node {{ externalId }} }} }} }} }} }} }} }} }} }}"
        )

    assert errors_of(query("(first: 5)")) == []
    assert errors_of(query("(first: $n)")) == []
    assert errors_of(
        "{ contacts(first: 100) { edges { node { origins { automaticImport { runs(last: 100) { edges { node {"
        " outcomes { edges { node { externalId } } } } } } } } } } } }"
    ) == [
        (
            "This operation asks for too much: 1530500 objects, as its pages multiply, where 200000 are allowed."
            " Split it up."
        )
    ]


def test_fragments_that_multiply_are_measured_at_once() -> None:
    spreads = " ".join(f"fragment f{number} on Query {{ ...f{number + 1} ...f{number + 1} }}" for number in range(180))

    # One by one they would outlast everybody.
    messages = errors_of(f"{{ ...f0 }} {spreads} fragment f180 on Query {{ a: __typename }}")

    assert [message.split(",")[0] for message in messages] == [f"This operation asks for too much: {2**180} aliases"]


def test_a_fragment_that_spreads_itself_is_not_followed() -> None:
    assert errors_of("{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }") == []


async def test_an_unexpected_error_is_masked_and_logged_once_without_what_was_sent(client: Client) -> None:
    await make_contact(client.account_id, "secret@example.com")
    await Account.filter(id=client.account_id).update(plan_tier_key="contacts-1000")
    query = "query ($email: String) { contact(email: $email) { email status } account { contactUsage { limit } } }"

    with structlog.testing.capture_logs() as logs:
        await Account.raw("ALTER TABLE contact RENAME COLUMN phone TO phones")
        answer = await client.ask(query, email="secret@example.com")
        await Account.raw("ALTER TABLE contact RENAME COLUMN phones TO phone")

    assert answer == {
        "data": {"contact": None, "account": {"contactUsage": {"limit": 1000}}},
        "errors": [
            {
                "message": "Something went wrong on our side. Try again; if it happens again, tell us when it did.",
                "locations": [{"line": 1, "column": 26}],
                "path": ["contact"],
                "extensions": {"code": "INTERNAL"},
            }
        ],
    }
    [entry] = logs
    assert (entry["event"], entry["error"], entry["path"]) == (
        "graphql.unexpected_error",
        "UndefinedColumnError",
        "contact",
    )
    assert "secret@example.com" not in repr(entry)


async def test_a_key_that_is_gone_is_told_to_users_and_named_in_the_log(client: Client, configure: Configure) -> None:
    lost = os.environ["SLUICE_SECRET_KEYS"].partition(":")[0]
    contact = await make_contact(client.account_id, "ada@example.com")
    configure(secret_keys=new_key())
    key_ring.cache_clear()
    try:
        with structlog.testing.capture_logs() as logs:
            answer = await client.ask(
                "mutation ($input: DeleteContactInput!) { deleteContact(input: $input) { userErrors { code } } }",
                input={"id": global_id("Contact", contact.id), "erase": True},
            )
    finally:
        key_ring.cache_clear()

    [error] = answer["errors"]
    assert (error["extensions"], error["path"], error["message"]) == (
        {"code": "NOT_CONFIGURED"},
        ["deleteContact"],
        "This server's configuration does not fit its database; its operator's log says more.",
    )
    assert logs == [
        {
            "event": "graphql.misconfigured",
            "log_level": "error",
            "path": "deleteContact",
            "error": f"SLUICE_SECRET_KEYS has no key {lost!r}, which stored credentials need: put it back.",
        }
    ]


@pytest.mark.parametrize(
    ("query", "variables", "message"),
    [
        ("{ nothing }", {}, "Cannot query field 'nothing' on type 'Query'."),
        ("{", {}, "Syntax Error: Expected Name, found <EOF>."),
        (
            "query ($s: ContactStatus) { contacts(filter: {status: $s}) { edges { cursor } } }",
            {"s": "SLEEPY"},
            "Variable '$s' has invalid value: Value 'SLEEPY' does not exist in 'ContactStatus' enum.",
        ),
    ],
)
async def test_what_is_wrong_with_a_request_is_said(
    client: Client, query: str, variables: dict[str, Any], message: str
) -> None:
    [error] = (await client.ask(query, **variables))["errors"]

    assert error["message"] == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "Unable to parse request body as JSON"),
        (b'{"query": 1}', "The GraphQL operation's `query` must be a string or null, if provided."),
        (b"{}", "No GraphQL query found in the request"),
        (b"[]", "Unable to parse request body as JSON"),
    ],
)
async def test_a_body_that_is_no_operation_is_refused_in_json(client: Client, content: bytes, message: str) -> None:
    assert await post(client, content) == (
        400,
        {"errors": [{"message": message, "extensions": {"code": "BAD_REQUEST"}}]},
    )


TWO_OPERATIONS = """mutation A { createTag(input: {name: "a"}) { tag { name } } }
mutation B { createTag(input: {name: "b"}) { tag { name } } }"""


@pytest.mark.parametrize("fast_executor", [True, False])
@pytest.mark.usefixtures("database")
async def test_of_several_operations_the_named_one_is_run_and_else_none(
    configure: Configure, fast_executor: bool
) -> None:
    configure(fast_executor=fast_executor)
    app = create_app(catalogue=FakeCatalogue(), queue=RecordingQueue(), events=RecordingEvents(), watch=DeafWatch())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sluice.test") as http:
        client = await make_client(http)
        answers = [
            (await http.post("/graphql", json={"query": TWO_OPERATIONS, **name}, headers=client.headers)).json()
            for name in ({}, {"operationName": None}, {"operationName": "B"})
        ]

    refused = {
        "data": None,
        "errors": [
            {
                "message": "This document has several operations. Say in `operationName` which of them to run.",
                "extensions": {"code": "BAD_USER_INPUT"},
            }
        ],
    }
    assert answers == [refused, refused, {"data": {"createTag": {"tag": {"name": "b"}}}}]
    assert [tag.name async for tag in Tag.filter(account_id=client.account_id)] == ["b"]


@pytest.mark.parametrize("document", ["{", "{ " + "x " * 3000 + "}"], ids=["unfinished", "too-many-tokens"])
async def test_a_document_that_does_not_parse_is_reported_by_streaming_transports_too(document: str) -> None:
    stream = await schema.stream(document)

    answers = [answer async for answer in stream]

    assert [[error.message[:13] for error in getattr(answer, "errors", None) or []] for answer in answers] == [
        ["Syntax Error:"]
    ]
