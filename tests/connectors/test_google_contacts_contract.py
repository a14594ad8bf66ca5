"""What our connector asks and our simulator answers, held against Google's own description of the People API."""

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest

from connectors.google_contacts.connector import SERVICE
from tests.connectors.contracts import Contract, contract, violations
from tests.connectors.reading import Stored, credentials_of, read
from tests.connectors.simulators.google_answers import item
from tests.connectors.simulators.google_contacts import GoogleContacts, make
from tests.connectors.simulators.kit import Exchange, open_simulated

PEOPLE_API = "https://people.googleapis.com/"
WHOLE: dict[str, Any] = {
    "names": [item(givenName="Ann", middleName="B.", familyName="Chu", displayName="Ann B. Chu")],
    "emailAddresses": [item(value="ann@example.com", type="home", formattedType="Home"), {"value": "a@example.com"}],
    "phoneNumbers": [item(value="030 1", canonicalForm="+49301", type="mobile")],
    "organizations": [item(name="Acme", title="CTO", department="IT", current=True, startDate={"year": 2001})],
    "addresses": [item(formattedValue="Main St 1", streetAddress="Main St 1", poBox="7", countryCode="DE")],
    "birthdays": [item(date={"month": 4, "day": 12}, text="12 April")],
    "events": [item(type="anniversary", date={"year": 2015, "month": 6, "day": 5})],
    "nicknames": [item(value="Annie", type="DEFAULT")],
    "urls": [item(value="https://ann.example.com", type="homePage")],
    "biographies": [item(value="Likes tea.", contentType="TEXT_PLAIN")],
    "userDefined": [item(key="Shoe size", value="38")],
}


@pytest.fixture
def people_api() -> Contract:
    return contract("google-people.openapi.json")


def asked(google: GoogleContacts) -> list[Exchange]:
    """The exchanges with the People API. The resource name's slash belongs to a variable of the contract's path."""
    return [
        replace(each, url=httpx.URL(str(each.url).replace("/v1/people/me?", "/v1/people%2Fme?")))
        for each in google.traffic.exchanges
        if str(each.url).startswith(PEOPLE_API)
    ]


async def live(google: GoogleContacts) -> None:
    """Everything that happens between the connector and Google."""
    client, credentials, stored = open_simulated(google), credentials_of(google), Stored()
    google.page_size = 2
    await SERVICE.identify(client, credentials)
    await SERVICE.choices(client, credentials, "groups")
    await stored.cycle(google)
    first, second, third, fourth, _ = google.contacts
    google.change(first, **WHOLE)
    google.remove(second)
    google.merge(first, third)
    google.rename(fourth, "people/104892345678901234568")
    await stored.cycle(google)
    await stored.cycle(google)
    google.expire_checkpoints()
    await stored.cycle(google)
    google.criteria = {"groups": ["contactGroups/myContacts"]}
    await read(google)


@pytest.mark.parametrize("names_leave_tombstones", [False, True])
async def test_nothing_is_asked_or_answered_against_the_contract(
    people_api: Contract, names_leave_tombstones: bool
) -> None:
    google = make(5)
    google.names_leave_tombstones = names_leave_tombstones

    await live(google)

    exchanges = asked(google)
    assert violations(people_api, exchanges) == []
    assert {(each.url.path, each.status) for each in exchanges} == {
        ("/v1/people/me", 200),
        ("/v1/contactGroups", 200),
        ("/v1/people/me/connections", 200),
        ("/v1/people/me/connections", 400),
    }


async def test_the_contract_would_notice(people_api: Contract) -> None:
    google = make(1)
    await read(google)
    [good] = asked(google)
    url = good.url.copy_merge_params({"pageSize": "many", "page_size": "9", "sources": "CONTACT"})
    answer = {"connections": [{"resourceName": 7, "emailAddress": []}], "nextSyncToken": "t"}

    found = violations(people_api, [replace(good, url=url, answer=json.dumps(answer).encode())])

    assert [line.partition(": ")[2].partition(" [")[0] for line in found] == [
        "the parameter page_size is unknown",
        "Query parameter error: pageSize",
        "0: 'CONTACT' is not one of",
        "connections.0.resourceName: 7 is not of type 'string'",
        "connections.0: Additional properties are not allowed ('emailAddress' was unexpected)",
    ]
    nowhere = replace(good, url=httpx.URL("https://people.googleapis.com/v2/people/me/connections"))
    assert violations(people_api, [nowhere])[0].endswith("the contract has no such operation")
