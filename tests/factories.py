"""Rows that are valid by default; say only what a test is about."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

import orjson
from uuid_utils.compat import uuid7

from domain import account, database
from domain.credentials import key_ring
from domain.emails import parse_email
from domain.enums import (
    ContactStatus,
    ExternalAccountHealth,
    ImportState,
    LedgerState,
    Outcome,
    RunState,
    RunTrigger,
    TaskState,
    UndoCode,
    UndoResult,
)
from domain.models import (
    Account,
    AutomaticImport,
    Contact,
    ContactList,
    ContactTag,
    CustomField,
    ExternalAccount,
    ImportList,
    ImportPreview,
    ImportRun,
    ImportTag,
    ImportUndo,
    LedgerEntry,
    RecordOutcome,
    ServiceAuthorizationAttempt,
    Subscription,
    Tag,
    UndoneRecord,
)
from domain.records import FieldType

_numbers = count(1)


async def make_account(name: str = "") -> Account:
    """An account on the default plan."""
    return await account.find_or_create_account(name or f"account {next(_numbers)}")


async def make_contact(
    account_id: UUID,
    email: str = "",
    *,
    first_name: str | None = None,
    last_name: str | None = None,
    status: ContactStatus = ContactStatus.ACTIVE,
    field_values: Mapping[str, object] | None = None,
) -> Contact:
    """A contact. It is not counted into the account's active contacts."""
    email = email or f"contact{next(_numbers)}@example.com"
    return await Contact.create(
        account_id=account_id,
        email=email,
        email_key=email.lower(),
        first_name=first_name,
        last_name=last_name,
        status=status,
        field_values=dict(field_values or {}),
    )


async def make_field(account_id: UUID, tag: str, *, field_type: FieldType = FieldType.TEXT) -> CustomField:
    """A custom field with a personalization tag."""
    return await CustomField.create(
        account_id=account_id,
        service="sample",
        source_key=tag.lower(),
        title=tag.title(),
        type=field_type,
        personalization_tag=tag,
        activated_at=datetime.now(UTC),
    )


async def make_list(account_id: UUID, name: str = "") -> ContactList:
    """A list."""
    return await ContactList.create(account_id=account_id, name=name or f"list {next(_numbers)}")


async def make_tag(account_id: UUID, name: str = "") -> Tag:
    """A tag."""
    return await Tag.create(account_id=account_id, name=name or f"tag {next(_numbers)}")


async def subscribe(contact: Contact, contact_list: ContactList, status: ContactStatus = ContactStatus.ACTIVE) -> None:
    """Subscribe a contact to a list."""
    await Subscription.create(
        account_id=contact.account_id, contact_id=contact.id, list_id=contact_list.id, status=status
    )


async def tag_contact(contact: Contact, tag: Tag) -> None:
    """Give a contact a tag."""
    await ContactTag.create(account_id=contact.account_id, contact_id=contact.id, tag_id=tag.id)


async def make_external_account(
    account_id: UUID,
    *,
    service: str = "sample",
    label: str = "Sample shop",
    health: ExternalAccountHealth = ExternalAccountHealth.HEALTHY,
    **values: Any,
) -> ExternalAccount:
    """A connected login, whose credentials are `{"token": "good"}`."""
    row_id = uuid7()
    return await ExternalAccount.create(
        id=row_id,
        account_id=account_id,
        service=service,
        remote_identity=f"remote {next(_numbers)}",
        label=label,
        credentials=key_ring().seal(orjson.dumps({"token": "good"}), row=row_id),
        health=health,
        **values,
    )


async def make_import(
    external_account: ExternalAccount,
    *,
    name: str = "Customers",
    state: ImportState = ImportState.ACTIVE,
    contact_list: ContactList | None = None,
    tag: Tag | None = None,
    **values: Any,
) -> AutomaticImport:
    """An automatic import without runs."""
    created = await AutomaticImport.create(
        account_id=external_account.account_id,
        external_account_id=external_account.id,
        name=name,
        state=state,
        **values,
    )
    account_id, import_id = created.account_id, created.id
    if contact_list is not None:
        await ImportList.create(account_id=account_id, automatic_import_id=import_id, list_id=contact_list.id)
    if tag is not None:
        await ImportTag.create(account_id=account_id, automatic_import_id=import_id, tag_id=tag.id)
    return created


async def make_run(
    automatic_import: AutomaticImport,
    *,
    state: RunState = RunState.COMPLETED,
    trigger: RunTrigger = RunTrigger.SCHEDULE,
    **values: Any,
) -> ImportRun:
    """A run of an import."""
    return await ImportRun.create(
        account_id=automatic_import.account_id,
        automatic_import_id=automatic_import.id,
        state=state,
        trigger=trigger,
        **values,
    )


async def make_ledger_row(
    automatic_import: AutomaticImport,
    external_id: str,
    *,
    contact: Contact | None = None,
    state: LedgerState = LedgerState.LINKED,
    code: str | None = None,
    email: str | None = None,
) -> None:
    """A ledger row; LINKED needs a contact."""
    number = next(_numbers)
    parsed = parse_email(email or "")
    await LedgerEntry.create(
        account_id=automatic_import.account_id,
        automatic_import_id=automatic_import.id,
        external_account_id=automatic_import.external_account_id,
        external_id=external_id,
        contact_id=contact.id if contact else None,
        email_key=contact.email_key if contact else parsed and parsed.key,
        record={"email": contact.email if contact else email},
        digest=hashlib.sha256(external_id.encode()).digest(),
        state=state,
        code=code,
        position=number,
        revision=automatic_import.revision,
        run_id=uuid7(),
    )


async def make_linked_contacts(automatic_import: AutomaticImport, count: int) -> None:
    """So many ACTIVE contacts `person…@example.com`, each linked to a record of the import, in one statement."""
    await database.fetch(
        """
        WITH made AS (
            INSERT INTO contact (account_id, id, email, email_key, status)
            SELECT $1, gen_random_uuid(), name, name, 'ACTIVE'
            FROM (SELECT format('person%s@example.com', n) AS name FROM generate_series(1, $2::integer) n) names
            RETURNING id, email_key
        )
        INSERT INTO ledger (account_id, external_account_id, automatic_import_id, external_id, contact_id, email_key,
            record, digest, state, revision, run_id)
        SELECT $1, $3, $4, email_key, id, email_key, '{"consent": "NOT_TRACKED"}', '\\x00', 'LINKED', 1,
            gen_random_uuid() FROM made
        """,
        automatic_import.account_id,
        count,
        automatic_import.external_account_id,
        automatic_import.id,
    )


async def make_preview(external_account: ExternalAccount) -> ImportPreview:
    """A preview of a new import, which no worker has looked at yet."""
    return await ImportPreview.create(
        account_id=external_account.account_id, external_account_id=external_account.id, input={"criteria": {}}
    )


async def make_attempt(external_account: ExternalAccount) -> ServiceAuthorizationAttempt:
    """An attempt to reconnect an external account by consent, whose user has not come back yet."""
    return await ServiceAuthorizationAttempt.create(
        account_id=external_account.account_id,
        service=external_account.service,
        token_id=uuid7(),
        external_account_id=external_account.id,
        expires_at=datetime.now(UTC) + timedelta(minutes=10),
    )


async def make_undo(run: ImportRun, *, state: TaskState = TaskState.COMPLETED, **values: Any) -> ImportUndo:
    """The undoing of a run."""
    return await ImportUndo.create(
        account_id=run.account_id,
        automatic_import_id=run.automatic_import_id,
        run_ids=[str(run.id)],
        state=state,
        **values,
    )


async def make_undone_record(
    undo: ImportUndo,
    external_id: str,
    *,
    result: UndoResult = UndoResult.REMOVED,
    code: UndoCode | None = None,
    contact: Contact | None = None,
    details: list[dict[str, object]] | None = None,
) -> None:
    """What an undo of one run came to for one record."""
    await UndoneRecord.create(
        account_id=undo.account_id,
        undo_id=undo.id,
        run_id=undo.run_ids[0],
        external_id=external_id,
        contact_id=contact.id if contact else None,
        result=result,
        code=code,
        details=details or [],
    )


async def make_outcome(
    run: ImportRun,
    external_id: str,
    *,
    outcome: Outcome = Outcome.CREATED,
    code: str | None = None,
    contact: Contact | None = None,
    notes: list[str] | None = None,
) -> None:
    """An outcome of a run."""
    await RecordOutcome.create(
        account_id=run.account_id,
        day=datetime.now(UTC).date(),
        run_id=run.id,
        automatic_import_id=run.automatic_import_id,
        external_id=external_id,
        contact_id=contact.id if contact else None,
        outcome=outcome,
        code=code,
        notes=notes or [],
    )


async def rows_of(account_id: UUID) -> dict[str, list[dict[str, object]]]:
    """Everything that is stored for an account: what a refused request must leave alone."""
    tables = await database.fetch(
        "SELECT table_name FROM information_schema.columns WHERE column_name = 'account_id' AND table_schema = 'public'"
        " ORDER BY table_name"
    )
    return {
        table["table_name"]: sorted(
            [
                dict(row)
                for row in await database.fetch(
                    f"SELECT * FROM {table['table_name']} WHERE account_id = $1", account_id
                )
            ],
            key=repr,
        )
        for table in tables
    }
