"""Every request to Trello, and every answer of its simulator, held against the vendor's contract.

It says nothing of a batch's answers: each question of a batch is compared as if it had been asked by itself.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from connectors.trello.connector import SERVICE
from tests.connectors.contracts import contract, violations
from tests.connectors.reading import credentials_of, read
from tests.connectors.simulators.kit import Exchange, open_simulated
from tests.connectors.simulators.trello import BOARD, OTHER_WORKSPACE, PRIVATE_BOARD, WORKSPACE, make


def where_it_falls_short(document: dict[str, Any]) -> None:
    """The only places where it is not held to the letter, for what its own descriptions say."""
    schemas, paths = document["components"]["schemas"], document["paths"]
    # Comma-separated lists of a model's properties, declared as one of them.
    member = {"type": "string", "enum": [*schemas["Member"]["properties"]]}
    board = {"type": "string", "enum": schemas["BoardFields"]["enum"]}
    # What a workspace is called: the default elsewhere in the document.
    workspace = {"type": "string", "enum": [*schemas["OrganizationFields"]["enum"], "displayName"]}
    for name, one in {"MemberFields": member, "BoardFields": board, "OrganizationFields": workspace}.items():
        schemas[name] = {"type": "array", "items": one}
    for path in ("/members/{id}", "/members/{id}/boards", "/members/{id}/organizations"):
        fields = next(each for each in paths[path]["get"]["parameters"] if each["name"] == "fields")
        fields["explode"] = False
    # "The ID or username of the member", declared as an id alone.
    for path in ("/members/{id}/boards", "/members/{id}/organizations"):
        identifier = next(each for each in paths[path]["get"]["parameters"] if each["name"] == "id")
        identifier["schema"] = {"type": "string"}
    # Boards' memberships are many, declared as one; workspaces' take the same fields of nested members as boards' do.
    boards, workspaces = (paths[f"/{kind}/{{id}}/memberships"]["get"] for kind in ("boards", "organizations"))
    content = boards["responses"]["200"]["content"]["application/json"]
    content["schema"] = {"type": "array", "items": content["schema"]}
    workspaces["parameters"].append(next(each for each in boards["parameters"] if each["name"] == "member_fields"))


def taken_apart(exchanges: Iterable[Exchange]) -> Iterator[Exchange]:
    for each in exchanges:
        yield each
        if each.url.path == "/1/batch":
            paths = each.url.params["urls"].split(",")
            for path, item in zip(paths, json.loads(each.answer), strict=True):
                [(status, body)] = item.items()
                url = each.url.join(f"/1{path}")
                yield replace(each, url=url, status=int(status), answer=json.dumps(body).encode())


async def test_requests_and_answers_keep_the_contract() -> None:
    trello = make(5)
    trello.add("guest@example.com", places=[PRIVATE_BOARD, OTHER_WORKSPACE])
    client, credentials = open_simulated(trello), credentials_of(trello)

    await read(trello)
    trello.criteria = {"workspaces": [WORKSPACE, OTHER_WORKSPACE], "boards": [BOARD, PRIVATE_BOARD]}
    await read(trello)
    await SERVICE.identify(client, credentials)
    for criterion in ("workspaces", "boards"):
        await SERVICE.choices(client, credentials, criterion)

    exchanges = [*taken_apart(trello.traffic.exchanges)]
    held = contract("trello.openapi.json", closed=False, corrected=where_it_falls_short)
    assert violations(held, exchanges) == []
    assert {each.url.path for each in exchanges} == {
        "/1/members/me",
        "/1/members/me/boards",
        "/1/members/me/organizations",
        "/1/batch",
        f"/1/boards/{BOARD}/memberships",
        f"/1/boards/{PRIVATE_BOARD}/memberships",
        f"/1/organizations/{WORKSPACE}/memberships",
        f"/1/organizations/{OTHER_WORKSPACE}/memberships",
    }
