"""The connector's questions and the simulator's schema, held against Shopify's own schema."""

import json
from functools import cache
from typing import Any

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    NoDeprecatedCustomRule,
    build_client_schema,
    is_introspection_type,
    is_specified_scalar_type,
    parse,
    specified_rules,
    validate,
)

from connectors.shopify.api import API_VERSION
from connectors.shopify.connector import SERVICE
from connectors.shopify.customers import CONSENT, OPT_IN_LEVELS
from tests.connectors.contracts import CONTRACTS
from tests.connectors.reading import connect, credentials_of, read, through_json
from tests.connectors.simulators.kit import open_simulated
from tests.connectors.simulators.shopify import make
from tests.connectors.simulators.shopify_schema import SCHEMA


@cache
def vendors_schema() -> GraphQLSchema:
    path = CONTRACTS / f"shopify-admin-{API_VERSION}.introspection.json"
    if not path.exists():
        pytest.skip(f"the vendor's contract {path} is absent")
    return build_client_schema(json.loads(path.read_text())["data"])


async def scenario(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Every question that the connector has, as it was asked."""
    kinds = ["number_integer", "list.single_line_text_field", "boolean"]
    shop = make(60)
    shop.definitions = [
        {"namespace": "custom", "key": f"k{place}", "name": f"Field {place}", "type": kind}
        for place, kind in enumerate(kinds)
    ]
    async with open_simulated(shop) as client:
        await SERVICE.identify(client, credentials_of(shop))
        await SERVICE.choices(client, credentials_of(shop), "tags")
    checkpoint = through_json((await read(shop))[-1].checkpoint)
    shop.change("7000000001")
    await read(shop, checkpoint)
    monkeypatch.setattr("connectors.shopify.reading.BULK_FROM", 1)
    shop.criteria = {"tags": ["vip"], "search": "orders_count:>=0"}
    started, *_ = [page async for page in connect(shop).pages(None)]
    shop.change("7000000001")
    await read(shop, through_json(started.checkpoint))
    return [json.loads(each.body) for each in shop.traffic.exchanges if each.method == "POST"]


async def test_every_question_is_valid_and_asks_for_nothing_deprecated(monkeypatch: pytest.MonkeyPatch) -> None:
    schema, questions = vendors_schema(), await scenario(monkeypatch)

    documents = {each["query"] for each in questions}
    # What a bulk operation asks is a question of its own.
    inner = {each["variables"]["query"] for each in questions if "bulkOperationRunQuery" in each["query"]}
    assert (len(documents), len(inner)) == (9, 1)
    rules = [*specified_rules, NoDeprecatedCustomRule]
    assert [
        f"{error.message} in {document}"
        for document in sorted(documents | inner)
        for error in validate(schema, parse(document), rules)
    ] == []


def test_the_simulator_answers_as_the_vendors_schema_says() -> None:
    vendors = vendors_schema()

    assert [problem for name in SCHEMA.type_map for problem in differences(name, vendors)] == []


def differences(name: str, vendors: GraphQLSchema) -> list[str]:
    """Where a type of the simulator promises something else than the vendor's."""
    ours, theirs = SCHEMA.type_map[name], vendors.type_map.get(name)
    if is_introspection_type(ours) or is_specified_scalar_type(ours):
        return []
    if theirs is None or type(theirs) is not type(ours):
        return [f"{name}: {theirs}"]
    if isinstance(ours, GraphQLEnumType) and isinstance(theirs, GraphQLEnumType):
        return [f"{name}.{value}" for value in ours.values if value not in theirs.values]
    if not isinstance(ours, GraphQLObjectType | GraphQLInterfaceType):
        return []
    assert isinstance(theirs, GraphQLObjectType | GraphQLInterfaceType)
    found = [
        f"{name}.{key}: {field.type}, not {theirs.fields[key].type}"
        for key, field in ours.fields.items()
        if str(field.type) != str(theirs.fields[key].type) or theirs.fields[key].deprecation_reason
    ]
    return found + [
        f"{name}.{key}({argument})"
        for key, field in ours.fields.items()
        for argument, value in field.args.items()
        if str(value.type) != str(theirs.fields[key].args[argument].type)
    ]


@pytest.mark.parametrize(
    ("enum", "known"),
    [
        ("CustomerEmailAddressMarketingState", CONSENT),
        ("CustomerEmailMarketingState", CONSENT),
        ("CustomerMarketingOptInLevel", OPT_IN_LEVELS),
    ],
)
def test_every_state_that_shopify_knows_has_a_meaning(enum: str, known: dict[str, object]) -> None:
    theirs = vendors_schema().type_map[enum]

    assert isinstance(theirs, GraphQLEnumType)
    assert theirs.values.keys() <= known.keys()
