"""Global ids, and the wall between accounts."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from api.node import NODES, global_id
from domain.models import Account
from tests.api.conftest import Client
from tests.api.world import World, make_world
from tests.factories import rows_of

NODE = "query ($id: ID!) { node(id: $id) { __typename id } }"


@pytest.fixture
async def world(client: Client) -> World:
    return await make_world(client.account_id)


@pytest.fixture
async def their_world(stranger: Client) -> World:
    return await make_world(stranger.account_id)


async def test_every_node_is_found_by_its_id(client: Client, world: World) -> None:
    assert world.ids.keys() == NODES.keys()
    for name, node_id in world.ids.items():
        assert await client.data(NODE, id=node_id) == {"node": {"__typename": name, "id": node_id}}


async def test_someone_elses_node_is_as_unknown_as_one_that_never_was(client: Client, their_world: World) -> None:
    for name, node_id in their_world.ids.items():
        assert await client.data(NODE, id=node_id) == {"node": None}
        assert await client.data(NODE, id=global_id(name, uuid7())) == {"node": None}


@pytest.mark.parametrize("text", ["", "x", "Contact", "Q29udGFjdDp4", "ä", global_id("Nothing", UUID(int=1)), "=" * 99])
async def test_what_is_no_id_is_refused(client: Client, text: str) -> None:
    code, message = await client.error(NODE, id=text)

    assert code == "BAD_USER_INPUT"
    assert message.endswith("is not an id of this API. Take one from an `id` field.")


async def test_an_id_of_another_type_is_refused(client: Client, world: World) -> None:
    answer = await client.error("query ($id: ID!) { contact(id: $id) { id } }", id=world.ids["Tag"])

    assert answer == (
        "BAD_USER_INPUT",
        f"{world.ids['Tag']!r} is the id of a 'Tag', where the id of a Contact is needed.",
    )


def mutation(of: str, **more: Any) -> tuple[str, str, dict[str, Any]]:
    text = (
        f"mutation ($input: {of[0].upper()}{of[1:]}Input!)"
        f" {{ {of}(input: $input) {{ userErrors {{ code field message }} }} }}"
    )
    return of, text, more


IMPORT_MUTATIONS = [
    mutation("updateAutomaticImport", name="New name", criteria={"group": "2"}),
    mutation("deleteAutomaticImport"),
    mutation("pauseAutomaticImport"),
    mutation("resumeAutomaticImport"),
    mutation("runAutomaticImport", full=True),
]

CONTACT_MUTATIONS = [
    (*mutation("updateContact", firstName="Mine"), "id", "Contact", "contact"),
    (*mutation("deleteContact", erase=True), "id", "Contact", "contact"),
    (*mutation("setSubscription", status="BOUNCED"), "contactId", "Contact", "contact"),
    (*mutation("addTags", tagIds=[]), "contactId", "Contact", "contact"),
    (*mutation("removeTags", tagIds=[]), "contactId", "Contact", "contact"),
    (*mutation("updateList", name="Mine"), "id", "ContactList", "list"),
    (*mutation("deleteList"), "id", "ContactList", "list"),
    (*mutation("updateTag", name="Mine"), "id", "Tag", "tag"),
    (*mutation("deleteTag"), "id", "Tag", "tag"),
    (*mutation("updateField", title="Mine"), "id", "Field", "field"),
    (*mutation("deleteField"), "id", "Field", "field"),
    (*mutation("restoreField"), "id", "Field", "field"),
]


@pytest.mark.parametrize(
    ("name", "text", "more", "field", "type_name", "noun"),
    [
        *CONTACT_MUTATIONS,
        *((*change, "id", "AutomaticImport", "automatic import") for change in IMPORT_MUTATIONS),
        (*mutation("cancelImportRun"), "id", "ImportRun", "import run"),
        (
            *mutation("reconnectExternalAccount", credentials={"token": "good"}),
            "externalAccountId",
            "ExternalAccount",
            "external account",
        ),
        (*mutation("disconnectExternalAccount"), "externalAccountId", "ExternalAccount", "external account"),
        (*mutation("previewAutomaticImport"), "externalAccountId", "ExternalAccount", "external account"),
        (
            *mutation("createAutomaticImport", name="Mine"),
            "externalAccountId",
            "ExternalAccount",
            "external account",
        ),
    ],
)
async def test_nothing_of_another_account_can_be_changed(
    client: Client,
    stranger: Client,
    world: World,
    their_world: World,
    name: str,
    text: str,
    more: dict[str, Any],
    field: str,
    type_name: str,
    noun: str,
) -> None:
    before = [await rows_of(each.account_id) for each in (client, stranger)]
    refused = {
        "code": "NOT_FOUND",
        "field": [field],
        "message": f"There is no {noun} with this id in your account.",
    }

    for unknown in (their_world.ids[type_name], global_id(type_name, uuid7())):
        answer = await client.data(text, input={field: unknown, **more})
        assert answer == {name: {"userErrors": [refused]}}
    other_type = "Contact" if type_name != "Contact" else "Tag"
    assert (await client.error(text, input={field: world.ids[other_type], **more}))[0] == "BAD_USER_INPUT"

    assert [await rows_of(each.account_id) for each in (client, stranger)] == before
    assert await Account.all().count() == 2


@pytest.mark.parametrize("mutation_name", ["createAutomaticImport", "updateAutomaticImport"])
async def test_targets_of_another_account_cannot_be_used(
    client: Client, stranger: Client, world: World, their_world: World, mutation_name: str
) -> None:
    before = [await rows_of(each.account_id) for each in (client, stranger)]
    name, text, _ = mutation(mutation_name)
    own = {"createAutomaticImport": ("externalAccountId", "ExternalAccount")}.get(name, ("id", "AutomaticImport"))

    answer = await client.data(
        text,
        input={
            own[0]: world.ids[own[1]],
            "name": "Mine",
            "listIds": [world.ids["ContactList"], their_world.ids["ContactList"]],
            "tagIds": [their_world.ids["Tag"]],
        },
    )

    assert answer[name]["userErrors"] == [
        {
            "code": "NOT_FOUND",
            "field": ["listIds", "1"],
            "message": "There is no list with this id in your account.",
        },
        {"code": "NOT_FOUND", "field": ["tagIds", "0"], "message": "There is no tag with this id in your account."},
    ]
    assert [await rows_of(each.account_id) for each in (client, stranger)] == before


EVERYTHING = """{
    contacts { edges { node { id } } } fields { edges { node { id } } } lists { edges { node { id } } }
    tags { edges { node { id } } } externalAccounts { edges { node { id } } }
    automaticImports { edges { node { id } } } importRuns { edges { node { id } } }
    services { automaticImportCount externalAccounts { id } }
}"""


@pytest.mark.usefixtures("their_world")
async def test_lists_show_nothing_of_another_account(client: Client) -> None:
    data = await client.data(EVERYTHING)

    assert data.pop("services") == [{"automaticImportCount": 0, "externalAccounts": []}] * 2
    assert data == {name: {"edges": []} for name in data}
    assert len(data) == 7


@pytest.mark.parametrize(
    ("type_name", "query"),
    [
        ("ContactList", "query ($id: ID!) { contacts(filter: {listId: $id}) { edges { cursor } } }"),
        ("Tag", "query ($id: ID!) { contacts(filter: {tagId: $id}) { edges { cursor } } }"),
        ("Contact", "query ($id: ID!) { contact(id: $id) { id } }"),
        (
            "ExternalAccount",
            "query ($id: ID!) { automaticImports(filter: {externalAccountId: $id}) { edges { cursor } } }",
        ),
        ("AutomaticImport", "query ($id: ID!) { importRuns(filter: {automaticImportId: $id}) { edges { cursor } } }"),
    ],
)
async def test_ids_of_another_account_select_nothing(
    client: Client,
    stranger: Client,
    their_world: World,
    type_name: str,
    query: str,
) -> None:
    ask: Callable[[Client], Awaitable[Any]] = lambda who: who.data(query, id=their_world.ids[type_name])  # noqa: E731

    [mine], [theirs] = (await ask(client)).values(), (await ask(stranger)).values()

    assert mine in (None, {"edges": []})
    assert theirs not in (None, {"edges": []})
