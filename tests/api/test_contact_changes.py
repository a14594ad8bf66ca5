"""Contacts changed over GraphQL: what is written, what is refused, and what follows from it."""

from typing import Any

import pytest

from api.node import global_id
from domain import database
from domain.enums import ContactStatus, LedgerState
from domain.models import Account, AuditEntry, Contact, LedgerEntry, PlanTier
from domain.records import FieldType
from tests.api.conftest import Client
from tests.factories import (
    make_contact,
    make_external_account,
    make_field,
    make_import,
    make_ledger_row,
    make_list,
    make_tag,
    rows_of,
    subscribe,
    tag_contact,
)
from tests.fakes import RecordingQueue

SHOWN = """contact {
    email firstName lastName phone status fieldValues { personalizationTag value }
    listSubscriptions { list { name } status } tags { name }
}"""
ERRORS = "userErrors { code field message }"
CREATE = f"mutation ($input: CreateContactInput!) {{ createContact(input: $input) {{ {SHOWN} {ERRORS} warnings }} }}"
UPDATE = f"mutation ($input: UpdateContactInput!) {{ updateContact(input: $input) {{ {SHOWN} {ERRORS} }} }}"
DELETE = f"mutation ($input: DeleteContactInput!) {{ deleteContact(input: $input) {{ deletedContactId {ERRORS} }} }}"
UPSERT = f"""mutation ($input: UpsertContactsInput!) {{ upsertContacts(input: $input) {{
    results {{ outcome protected contact {{ email status }} {ERRORS} }} {ERRORS} warnings }} }}"""
SET = f"mutation ($input: SetSubscriptionInput!) {{ setSubscription(input: $input) {{ {SHOWN} {ERRORS} warnings }} }}"
ADD_TAGS = f"mutation ($input: AddTagsInput!) {{ addTags(input: $input) {{ {SHOWN} {ERRORS} }} }}"
REMOVE_TAGS = f"mutation ($input: RemoveTagsInput!) {{ removeTags(input: $input) {{ {SHOWN} {ERRORS} }} }}"


async def do(client: Client, mutation: str, **given: Any) -> Any:
    """The payload of a mutation."""
    [payload] = (await client.data(mutation, input=given)).values()
    return payload


async def done(client: Client, mutation: str, **given: Any) -> Any:
    """The contact after a mutation that met no problems."""
    payload = await do(client, mutation, **given)
    assert payload["userErrors"] == []
    return payload["contact"]


async def codes(client: Client, mutation: str, **given: Any) -> list[tuple[str, list[str]]]:
    """Code and field of every problem of a mutation that was refused."""
    payload = await do(client, mutation, **given)
    return [(error["code"], error["field"]) for error in payload["userErrors"]]


async def active(client: Client) -> int:
    """The account's own number, which must be the true one."""
    [row] = await database.fetch(
        "SELECT active_contacts, (SELECT count(*) FROM contact WHERE account_id = a.id AND status = 'ACTIVE') AS true"
        " FROM account a WHERE id = $1",
        client.account_id,
    )
    assert row["active_contacts"] == row["true"]
    return int(row["true"])


async def limit_to(client: Client, contacts: int) -> None:
    """The account's plan allows so many ACTIVE contacts."""
    await PlanTier.filter(key=(await Account.get(id=client.account_id)).plan_tier_key).update(contact_limit=contacts)


async def contact_id(email: str) -> str:
    return global_id("Contact", (await Contact.get(email_key=email)).id)


async def test_a_contact_is_made_with_all_that_is_given(client: Client) -> None:
    await make_field(client.account_id, "SAMPLE_SPENT", field_type=FieldType.NUMBER)
    news, vip = await make_list(client.account_id, "News"), await make_tag(client.account_id, "vip")

    contact = await done(
        client,
        CREATE,
        email=" Ann@Example.com ",
        firstName=" Ann ",
        lastName="Lee",
        phone="",
        fieldValues=[{"personalizationTag": "SAMPLE_SPENT", "value": "12.50"}],
        listIds=[global_id("ContactList", news.id)],
        tagIds=[global_id("Tag", vip.id)],
    )

    assert contact == {
        "email": "Ann@example.com",
        "firstName": "Ann",
        "lastName": "Lee",
        "phone": None,
        "status": "ACTIVE",
        "fieldValues": [{"personalizationTag": "SAMPLE_SPENT", "value": 12.5}],
        "listSubscriptions": [{"list": {"name": "News"}, "status": "ACTIVE"}],
        "tags": [{"name": "vip"}],
    }
    assert await active(client) == 1
    assert (await Contact.get(email_key="ann@example.com")).edited_at is not None


async def test_every_problem_of_a_contact_is_told_at_once(client: Client, stranger: Client) -> None:
    await make_field(client.account_id, "SAMPLE_SPENT", field_type=FieldType.NUMBER)
    theirs = await make_list(stranger.account_id)
    before = await rows_of(client.account_id)

    problems = await codes(
        client,
        CREATE,
        email="nobody",
        firstName="A\0",
        fieldValues=[
            {"personalizationTag": "SAMPLE_SPENT", "value": "much"},
            {"personalizationTag": "NO_SUCH", "value": 1},
        ],
        listIds=[global_id("ContactList", theirs.id)],
        tagIds=[global_id("Tag", theirs.id)],
    )

    assert problems == [
        ("INVALID", ["email"]),
        ("INVALID", ["firstName"]),
        ("INVALID", ["fieldValues", "0", "value"]),
        ("NOT_FOUND", ["fieldValues", "1", "personalizationTag"]),
        ("NOT_FOUND", ["listIds", "0"]),
        ("NOT_FOUND", ["tagIds", "0"]),
    ]
    assert await rows_of(client.account_id) == before


async def test_a_nul_character_is_refused_wherever_it_stands(client: Client) -> None:
    await make_field(client.account_id, "SAMPLE_CITY")
    nul = "a\0b"
    values = [{"personalizationTag": "SAMPLE_CITY", "value": nul}, {"personalizationTag": nul, "value": "Rome"}]

    problems = await codes(
        client, CREATE, email=f"{nul}@example.com", firstName=nul, lastName=nul, phone=nul, fieldValues=values
    )

    assert problems == [
        ("INVALID", ["email"]),
        ("INVALID", ["firstName"]),
        ("INVALID", ["lastName"]),
        ("INVALID", ["phone"]),
        ("INVALID", ["fieldValues", "0", "value"]),
        ("NOT_FOUND", ["fieldValues", "1", "personalizationTag"]),
    ]


async def test_an_address_is_taken_whatever_its_case(client: Client, stranger: Client) -> None:
    await done(client, CREATE, email="ann@example.com")

    payload = await do(client, CREATE, email="ANN@example.com")

    assert payload == {
        "contact": None,
        "userErrors": [
            {
                "code": "TAKEN",
                "field": ["email"],
                "message": "There is already a contact with the address ann@example.com.",
            }
        ],
        "warnings": [],
    }
    assert await codes(stranger, CREATE, email="ann@example.com") == []


async def test_what_is_given_changes_and_everything_else_stays(client: Client) -> None:
    city = await make_field(client.account_id, "SAMPLE_CITY")
    size = await make_field(client.account_id, "SAMPLE_SIZE")
    contact = await make_contact(
        client.account_id,
        "ann@example.com",
        first_name="Ann",
        last_name="Lee",
        field_values={str(city.id): "Rome", str(size.id): "M"},
    )

    changed = await done(
        client,
        UPDATE,
        id=global_id("Contact", contact.id),
        firstName="Anna",
        lastName="",
        fieldValues=[{"personalizationTag": "SAMPLE_CITY", "value": None}],
    )

    assert (changed["firstName"], changed["lastName"], changed["email"]) == ("Anna", None, "ann@example.com")
    assert changed["fieldValues"] == [{"personalizationTag": "SAMPLE_SIZE", "value": "M"}]
    assert (await Contact.get(id=contact.id)).edited_at is not None


async def test_a_change_that_changes_nothing_touches_nothing(client: Client) -> None:
    contact = await make_contact(client.account_id, "ann@example.com", first_name="Ann")
    vip = await make_tag(client.account_id)
    await tag_contact(contact, vip)
    before = await rows_of(client.account_id)
    key, tag = global_id("Contact", contact.id), global_id("Tag", vip.id)

    await done(client, UPDATE, id=key, firstName="Ann", email="ann@example.com")
    await done(client, ADD_TAGS, contactId=key, tagIds=[tag])
    await done(client, SET, contactId=key, status="ACTIVE")
    await do(client, UPSERT, contacts=[{"email": "ann@example.com", "tagIds": [tag], "status": "ACTIVE"}])

    assert await rows_of(client.account_id) == before


async def test_a_contact_moves_to_an_address_that_nobody_has(client: Client) -> None:
    ann = await make_contact(client.account_id, "ann@example.com")
    await make_contact(client.account_id, "bob@example.com")
    key = global_id("Contact", ann.id)

    assert await codes(client, UPDATE, id=key, email="BOB@example.com") == [("TAKEN", ["email"])]
    assert await codes(client, UPDATE, id=key, email=" ") == [("BLANK", ["email"])]
    moved = await done(client, UPDATE, id=key, email="Ann@new.example")

    assert moved["email"] == "Ann@new.example"
    assert (await Contact.get(id=ann.id)).email_key == "ann@new.example"


async def test_what_a_new_address_declined_counts_for_whoever_moves_to_it(client: Client) -> None:
    news, offers = await make_list(client.account_id, "News"), await make_list(client.account_id, "Offers")
    lists = [global_id("ContactList", each.id) for each in (news, offers)]
    await done(client, CREATE, email="old@example.com", listIds=lists)
    old = await contact_id("old@example.com")
    await done(client, SET, contactId=old, listId=lists[0], status="UNSUBSCRIBED")
    await done(client, SET, contactId=old, status="BOUNCED")
    await do(client, DELETE, id=old)
    await done(client, CREATE, email="ann@example.com", listIds=lists)
    assert await active(client) == 1

    moved = await done(client, UPDATE, id=await contact_id("ann@example.com"), email="old@example.com")

    assert moved["status"] == "BOUNCED"
    assert moved["listSubscriptions"] == [
        {"list": {"name": "News"}, "status": "UNSUBSCRIBED"},
        {"list": {"name": "Offers"}, "status": "ACTIVE"},
    ]
    assert await active(client) == 0


async def test_what_a_contact_declined_stays_with_its_old_address_and_comes_to_the_new(client: Client) -> None:
    await done(client, CREATE, email="old@example.com", status="UNSUBSCRIBED")
    key = await contact_id("old@example.com")

    await done(client, UPDATE, id=key, email="new@example.com")
    await do(client, DELETE, id=key)

    assert (await done(client, CREATE, email="old@example.com"))["status"] == "UNSUBSCRIBED"
    assert (await done(client, CREATE, email="new@example.com"))["status"] == "UNSUBSCRIBED"


async def test_many_contacts_have_an_outcome_each(client: Client, stranger: Client) -> None:
    await make_contact(client.account_id, "ann@example.com", first_name="Ann")
    await make_contact(client.account_id, "bob@example.com", first_name="Bob")
    theirs = global_id("Tag", (await make_tag(stranger.account_id)).id)

    payload = await do(
        client,
        UPSERT,
        contacts=[
            {"email": "ANN@example.com", "firstName": "Anna"},
            {"email": "bob@example.com", "firstName": "Bob"},
            {"email": "new@example.com"},
            {"email": "nobody", "tagIds": [theirs]},
            {"email": "new@example.com", "lastName": "Lee"},
        ],
    )

    assert [each["outcome"] for each in payload["results"]] == ["UPDATED", "UNCHANGED", "CREATED", "FAILED", "UPDATED"]
    assert [(error["code"], error["field"]) for error in payload["results"][3]["userErrors"]] == [
        ("INVALID", ["contacts", "3", "email"]),
        ("NOT_FOUND", ["contacts", "3", "tagIds", "0"]),
    ]
    assert payload["userErrors"] == []
    new = await Contact.get(email_key="new@example.com")
    assert (new.last_name, await Contact.filter(account_id=client.account_id).count()) == ("Lee", 3)


async def test_the_same_many_again_change_nothing(client: Client) -> None:
    news = global_id("ContactList", (await make_list(client.account_id)).id)
    contacts = [{"email": f"person{n}@example.com", "firstName": "P", "listIds": [news]} for n in range(3)]
    await do(client, UPSERT, contacts=contacts)
    before = await rows_of(client.account_id)

    payload = await do(client, UPSERT, contacts=contacts)

    assert [each["outcome"] for each in payload["results"]] == ["UNCHANGED"] * 3
    assert await rows_of(client.account_id) == before


async def test_more_than_500_at_a_time_are_refused(client: Client) -> None:
    many = [{"email": f"person{n}@example.com"} for n in range(501)]

    assert len((await do(client, UPSERT, contacts=many[:500]))["results"]) == 500
    payload = await do(client, UPSERT, contacts=many)

    assert payload["results"] == []
    assert payload["userErrors"] == [
        {"code": "INVALID", "field": ["contacts"], "message": "Send at most 500 contacts at a time, not 501."}
    ]
    assert await active(client) == 500


async def test_nobody_is_added_beyond_the_contact_limit(client: Client) -> None:
    await limit_to(client, 2)

    payload = await do(client, UPSERT, contacts=[{"email": f"person{n}@example.com"} for n in range(3)])

    assert [each["outcome"] for each in payload["results"]] == ["CREATED", "CREATED", "FAILED"]
    assert payload["results"][2]["userErrors"][0]["code"] == "CONTACT_LIMIT"
    assert payload["results"][2]["userErrors"][0]["field"] == ["contacts", "2"]
    assert await codes(client, CREATE, email="more@example.com") == [("CONTACT_LIMIT", [])]
    assert await codes(client, CREATE, email="less@example.com", status="UNCONFIRMED") == []
    less = await contact_id("less@example.com")
    assert await codes(client, SET, contactId=less, status="ACTIVE") == [("CONTACT_LIMIT", [])]
    assert await active(client) == 2


async def test_with_auto_upgrade_the_account_moves_up_as_far_as_it_must(client: Client) -> None:
    await limit_to(client, 1)
    await Account.filter(id=client.account_id).update(auto_upgrade=True)

    payload = await do(client, UPSERT, contacts=[{"email": f"person{n}@example.com"} for n in range(3)])

    assert [each["outcome"] for each in payload["results"]] == ["CREATED"] * 3
    assert (await Account.get(id=client.account_id)).plan_tier_key == "contacts-1000"
    assert await AuditEntry.filter(account_id=client.account_id, action="PLAN_UPGRADED").count() == 1


async def test_payloads_warn_from_90_percent_of_the_limit_on(client: Client) -> None:
    await limit_to(client, 10)
    await do(client, UPSERT, contacts=[{"email": f"person{n}@example.com"} for n in range(7)])

    assert (await do(client, CREATE, email="eighth@example.com"))["warnings"] == []
    [warning] = (await do(client, CREATE, email="ninth@example.com"))["warnings"]
    assert warning.startswith("9 of ")
    last = await do(client, UPSERT, contacts=[{"email": "tenth@example.com"}])
    raised = await do(client, SET, contactId=await contact_id("ninth@example.com"), status="ACTIVE")
    assert last["warnings"] == raised["warnings"] != []


async def test_a_suppressed_address_is_made_with_what_it_declined(client: Client) -> None:
    news = global_id("ContactList", (await make_list(client.account_id, "News")).id)
    await done(client, CREATE, email="ann@example.com", listIds=[news])
    key = await contact_id("ann@example.com")
    await done(client, SET, contactId=key, listId=news, status="UNSUBSCRIBED")
    await do(client, DELETE, id=key)

    contact = await done(client, CREATE, email="ann@example.com", listIds=[news])
    assert contact["status"] == "ACTIVE"
    assert contact["listSubscriptions"] == [{"list": {"name": "News"}, "status": "UNSUBSCRIBED"}]
    await done(client, SET, contactId=await contact_id("ann@example.com"), status="UNSUBSCRIBED")
    await do(client, DELETE, id=await contact_id("ann@example.com"))

    payload = await do(client, UPSERT, contacts=[{"email": "ann@example.com", "status": "ACTIVE"}])
    assert payload["results"] == [
        {
            "outcome": "CREATED",
            "protected": True,
            "contact": {"email": "ann@example.com", "status": "UNSUBSCRIBED"},
            "userErrors": [],
        }
    ]
    assert await active(client) == 0


async def test_consent_is_raised_by_set_subscription_and_then_no_longer_suppressed(client: Client) -> None:
    news = global_id("ContactList", (await make_list(client.account_id, "News")).id)
    await done(client, CREATE, email="ann@example.com", listIds=[news])
    key = await contact_id("ann@example.com")
    for list_id in (news, None):
        await done(client, SET, contactId=key, listId=list_id, status="BOUNCED")
        await done(client, SET, contactId=key, listId=list_id, status="UNSUBSCRIBED")
    assert await active(client) == 0

    await done(client, SET, contactId=key, listId=news, status="ACTIVE")
    raised = await done(client, SET, contactId=key, status="ACTIVE")

    assert (raised["status"], raised["listSubscriptions"]) == (
        "ACTIVE",
        [{"list": {"name": "News"}, "status": "ACTIVE"}],
    )
    assert await active(client) == 1
    await do(client, DELETE, id=key)
    again = await done(client, CREATE, email="ann@example.com", listIds=[news])
    assert (again["status"], again["listSubscriptions"][0]["status"]) == ("ACTIVE", "ACTIVE")


async def test_who_raised_consent_is_known(client: Client) -> None:
    await done(client, CREATE, email="ann@example.com", status="BOUNCED")

    await done(client, SET, contactId=await contact_id("ann@example.com"), status="ACTIVE")

    entry = await AuditEntry.get(account_id=client.account_id, action="CONSENT_SET")
    assert entry.actor_id is not None
    assert entry.details == {"before": "BOUNCED", "after": "ACTIVE"}


async def test_an_upsert_with_ids_that_are_none_fails_for_those_contacts_alone(client: Client) -> None:
    news = global_id("ContactList", (await make_list(client.account_id, "News")).id)
    vip = global_id("Tag", (await make_tag(client.account_id, "vip")).id)

    payload = await do(
        client,
        UPSERT,
        contacts=[
            {"email": "ann@example.com", "listIds": [news, "nonsense", vip], "tagIds": [vip, news]},
            {"email": "bob@example.com", "listIds": [news], "tagIds": [vip]},
            {"email": "nowhere", "tagIds": ["\u00e9"]},
        ],
    )

    assert [(result["outcome"], result["contact"]) for result in payload["results"]] == [
        ("FAILED", None),
        ("CREATED", {"email": "bob@example.com", "status": "ACTIVE"}),
        ("FAILED", None),
    ]
    assert [
        [(error["code"], error["field"], error["message"]) for error in result["userErrors"]]
        for result in payload["results"]
    ] == [
        [
            ("NOT_FOUND", ["contacts", "0", "listIds", "1"], "There is no list with this id in your account."),
            ("NOT_FOUND", ["contacts", "0", "listIds", "2"], "There is no list with this id in your account."),
            ("NOT_FOUND", ["contacts", "0", "tagIds", "1"], "There is no tag with this id in your account."),
        ],
        [],
        [
            ("INVALID", ["contacts", "2", "email"], "This is not a valid email address."),
            ("NOT_FOUND", ["contacts", "2", "tagIds", "0"], "There is no tag with this id in your account."),
        ],
    ]
    assert payload["userErrors"] == []
    assert await active(client) == 1


async def test_an_upsert_lowers_consent_for_good(client: Client) -> None:
    await done(client, CREATE, email="ann@example.com")

    payload = await do(client, UPSERT, contacts=[{"email": "ann@example.com", "status": "UNSUBSCRIBED"}])

    assert payload["results"][0]["contact"]["status"] == "UNSUBSCRIBED"
    assert await active(client) == 0
    await do(client, DELETE, id=await contact_id("ann@example.com"))
    assert (await done(client, CREATE, email="ann@example.com"))["status"] == "UNSUBSCRIBED"


async def test_tags_are_given_and_taken(client: Client) -> None:
    contact = await make_contact(client.account_id, "ann@example.com")
    tags = [global_id("Tag", (await make_tag(client.account_id, name)).id) for name in "ab"]
    key = global_id("Contact", contact.id)

    given = await done(client, ADD_TAGS, contactId=key, tagIds=[*tags, tags[0]])
    left = await done(client, REMOVE_TAGS, contactId=key, tagIds=tags[:1])

    assert ([tag["name"] for tag in given["tags"]], left["tags"]) == (["a", "b"], [{"name": "b"}])
    assert (await Contact.get(id=contact.id)).edited_at is not None


async def test_a_deleted_contact_frees_room_and_wakes_whoever_waits_for_it(
    client: Client, queue: RecordingQueue
) -> None:
    await limit_to(client, 1)
    await done(client, CREATE, email="ann@example.com")
    automatic_import = await make_import(await make_external_account(client.account_id))
    await make_ledger_row(
        automatic_import, "r1", state=LedgerState.WAITING, code="CONTACT_LIMIT", email="bob@example.com"
    )
    key = await contact_id("ann@example.com")

    assert await do(client, DELETE, id=key) == {"deletedContactId": key, "userErrors": []}

    assert await active(client) == 0
    tasks = await database.fetch("SELECT kind, subject FROM background_task WHERE state = 'QUEUED'")
    assert [(task["kind"], task["subject"]) for task in tasks] == [("DRAIN_WAITING_ROOM", client.account_id)]
    assert queue.woken == 1
    assert await codes(client, DELETE, id=key) == [("NOT_FOUND", ["id"])]


async def test_whoever_waits_under_an_address_that_gets_a_contact_need_not(
    client: Client, queue: RecordingQueue
) -> None:
    automatic_import = await make_import(await make_external_account(client.account_id))
    for name in ("ann", "bob", "cid"):
        await make_ledger_row(automatic_import, name, state=LedgerState.WAITING, code="CONTACT_LIMIT")
        await LedgerEntry.filter(external_id=name).update(email_key=f"{name}@example.com")

    await done(client, CREATE, email="ann@example.com")
    await done(client, UPDATE, id=await contact_id("ann@example.com"), email="bob@example.com")

    due = [row.external_id async for row in LedgerEntry.filter(due=True).order_by("external_id")]
    assert due == ["ann", "bob"]
    assert [task["kind"] for task in await database.fetch("SELECT kind FROM background_task")] == ["DRAIN_WAITING_ROOM"]
    assert queue.woken == 2


@pytest.mark.parametrize(
    ("mutation", "given"),
    [
        (CREATE, {"email": "ann@example.com"}),
        (UPSERT, {"contacts": [{"email": "ann@example.com"}]}),
    ],
)
async def test_a_token_that_may_only_read_changes_nothing(client: Client, mutation: str, given: Any) -> None:
    await database.fetch("UPDATE api_token SET scopes = '[\"read\"]' WHERE account_id = $1", client.account_id)

    assert (await client.error(mutation, input=given))[0] == "FORBIDDEN"
    assert await Contact.filter(account_id=client.account_id).count() == 0


async def test_a_subscription_needs_its_contact_and_its_list(client: Client, stranger: Client) -> None:
    theirs, their_list = await make_contact(stranger.account_id), await make_list(stranger.account_id)
    await subscribe(theirs, their_list, ContactStatus.UNSUBSCRIBED)
    before = await rows_of(stranger.account_id)
    given = {"contactId": global_id("Contact", theirs.id), "listId": global_id("ContactList", their_list.id)}

    problems = await codes(client, SET, **given, status="ACTIVE")
    tags = await codes(client, ADD_TAGS, contactId=given["contactId"], tagIds=[global_id("Tag", their_list.id)])

    assert problems == [("NOT_FOUND", ["contactId"]), ("NOT_FOUND", ["listId"])]
    assert tags == [("NOT_FOUND", ["contactId"]), ("NOT_FOUND", ["tagIds", "0"])]
    assert await rows_of(stranger.account_id) == before
