"""WooCommerce's documentation of its REST API, and what our connector asks and our simulator answers, against it.

No machine-readable contract exists: the tables of the documentation are read instead, which lie beside the project.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import cache
from typing import Any

import pytest

from connectors.woocommerce.connector import SERVICE
from connectors.woocommerce.records import Customer, Order, customer_record, guest_record, latest_by_guest
from tests.connectors.contracts import CONTRACTS
from tests.connectors.reading import credentials_of, read, through_json
from tests.connectors.simulators.kit import Exchange, open_simulated
from tests.connectors.simulators.woocommerce import WooShop, make

CONTRACT = CONTRACTS / "woocommerce-wc-v3.docs.json"
OF_EVERY_ROUTE = frozenset({"_fields"})
"""WordPress's own (https://developer.wordpress.org/rest-api/using-the-rest-api/global-parameters/)."""

Table = Iterable[Mapping[str, str]]


@cache
def documented() -> Mapping[str, Any]:
    if not CONTRACT.exists():
        pytest.skip(f"the vendor's contract {CONTRACT} is absent")
    read_: Mapping[str, Any] = json.loads(CONTRACT.read_text())
    return read_


def is_date(value: object) -> bool:
    return value is None or datetime.fromisoformat(str(value)).tzinfo is None


FITS: Mapping[str, Callable[[object], bool]] = {
    "integer": lambda value: type(value) is int,
    "string": lambda value: isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "date-time": is_date,
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
}


def misfits(row: Mapping[str, Any], attributes: Table, *, whole: bool) -> list[str]:
    """Attributes that the documentation does not have, or has otherwise; if `whole`, also those that are missing."""
    known = {each["attribute"]: each for each in attributes}
    unknown = [f"{name}: undocumented" for name in row if name not in known]
    odd = [
        f"{name}: no {known[name]['type']}"
        for name, value in row.items()
        if name in known and not FITS[known[name]["type"]](value)
    ]
    missing = [
        f"{name}: missing"
        for name, each in known.items()
        if name not in row and "write-only" not in each["description"]
    ]
    return [*unknown, *odd, *(missing if whole else [])]


def options(parameter: Mapping[str, str]) -> list[str]:
    """The values that a parameter can have, by its description."""
    listed = re.search(r"Options: (.*?)\.", parameter["description"])
    return re.findall(r"`([^`]+)`", listed[1]) if listed else []


def wrong_parameters(exchange: Exchange, parameters: Table) -> list[str]:
    known = {each["parameter"]: each for each in parameters}
    unknown = [f"{name}: undocumented" for name in exchange.url.params if name not in {*known, *OF_EVERY_ROUTE}]
    return unknown + [
        f"{name}: {value}"
        for name, value in exchange.url.params.items()
        if name in known
        and (
            (options(known[name]) and value not in options(known[name]))
            or (known[name]["type"] == "integer" and not value.isdigit())
        )
    ]


@pytest.fixture
async def shop() -> WooShop:
    """A shop after everything that we do with one."""
    shop = make(150)
    shop.customers[7]["meta_data"] = [{"id": 1, "key": "size", "value": "M"}]
    shop.criteria = {"role": "all", "guests": True}
    for number in range(120):
        shop.order(f"guest-{number}@example.com")
    pages = await read(shop)
    shop.remove("3")
    shop.order("new@example.com")
    await read(shop, through_json(pages[-1].checkpoint))
    await SERVICE.identify(open_simulated(shop), credentials_of(shop))
    shop.criteria = {"role": "customer", "guests": False}
    await read(shop)
    return shop


async def test_every_request_is_as_documented(shop: WooShop) -> None:
    asked = {"customers": 0, "orders": 0}
    for each in shop.traffic.exchanges:
        route = each.url.path.rpartition("/")[2]
        if route not in asked:
            assert each.url.path == "/wp-json/"
            continue
        asked[route] += 1
        assert wrong_parameters(each, documented()[route]["list_parameters"]) == []
    assert asked == {"customers": 7, "orders": 4}


async def test_every_answer_is_as_documented(shop: WooShop) -> None:
    for each in shop.traffic.exchanges:
        route = each.url.path.rpartition("/")[2]
        if route not in {"customers", "orders"}:
            continue
        tables = documented()[route]["tables"]
        kind = route.removesuffix("s").capitalize()
        for row in json.loads(each.answer):
            assert misfits(row, tables[f"{kind} properties"], whole="_fields" not in each.url.params) == []
            for part in ("billing", "shipping"):
                assert misfits(row[part], tables[f"{kind} - {part.capitalize()} properties"], whole=True) == []
            for meta in row["meta_data"]:
                assert misfits(meta, tables[f"{kind} - Meta data properties"], whole=True) == []


def test_the_documented_examples_are_read() -> None:
    ((joao, john),) = documented()["customers"]["example_list"]
    ((guest, _),) = documented()["orders"]["example_list"]

    record = customer_record(Customer.model_validate(joao))
    ((external_id, order),) = latest_by_guest([Order.model_validate(guest)]).items()

    assert (record.external_id, record.email, record.first_name) == ("26", "joao.silva@example.com", "João")
    assert record.values["date_created_gmt"] == datetime.fromisoformat("2017-03-21T19:11:14+00:00")
    assert customer_record(Customer.model_validate(john)).phone == "(555) 555-5555"
    assert guest_record(external_id, order).email == "john.doe@example.com"
