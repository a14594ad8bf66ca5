"""R7: a user's deletion of a field is remembered, and can be taken back."""

from domain import field_changes
from domain.account import Viewer
from domain.models import Contact, CustomField
from tests.domain.source import Source, record


async def test_an_import_neither_writes_a_deleted_field_nor_makes_it_again(source: Source) -> None:
    await source.send(record("ann", values={"note": "first"}))
    field = await CustomField.get(source_key="note")
    await CustomField.filter(id=field.id).update(deleted_at=field.activated_at)

    await source.send(record("ann", values={"note": "second"}), record("bob", values={"note": "third"}))

    assert [row.id async for row in CustomField.filter(source_key="note")] == [field.id]
    assert [row.field_values async for row in Contact.all().order_by("email_key")] == [{str(field.id): "first"}, {}]


async def test_a_restored_field_gets_what_came_meanwhile_with_the_records_next_change(source: Source) -> None:
    await source.send(record("ann", values={"note": "first"}))
    field = await CustomField.get(source_key="note")
    viewer = Viewer(account_id=source.account_id, token_id=field.id, scopes=frozenset())
    await field_changes.delete(viewer, field.id)
    await source.send(record("ann", values={"note": "second"}))

    await field_changes.restore(viewer, field.id)
    await source.send(record("ann", phone="1", values={"note": "second"}))

    assert [row.field_values async for row in Contact.all()] == [{str(field.id): "second"}]
