"""Connected logins at services: connect, reconnect, disconnect."""

from collections.abc import Mapping, Sequence
from typing import Any, cast
from uuid import UUID

import orjson
from tortoise.exceptions import IntegrityError
from tortoise.transactions import in_transaction
from uuid_utils.compat import uuid7

from domain import cycle, database, pausing, sweeps
from domain.account import Viewer
from domain.audit import record_audit
from domain.catalogue import Catalogue, CriterionChoice, RemoteIdentity, find_service
from domain.credentials import key_ring
from domain.enums import ExternalAccountHealth
from domain.errors import ErrorCode, Problem, Refused, not_found
from domain.models import AutomaticImport, ExternalAccount


async def connect(
    viewer: Viewer, *, service: str, credentials: Mapping[str, Any], catalogue: Catalogue
) -> ExternalAccount:
    """Connect a login after asking the service whose it is. Connecting the same one again renews its credentials."""
    find_service(catalogue, service)
    checked = _checked(catalogue, service, credentials)
    remote = await catalogue.identify(service, checked)
    existing = await ExternalAccount.get_or_none(
        account_id=viewer.account_id, service=service, remote_identity=remote.identity
    )
    if existing is not None:
        return await _renew(viewer, existing, checked, remote)
    row_id = uuid7()
    try:
        async with in_transaction():
            created = await ExternalAccount.create(
                id=row_id,
                account_id=viewer.account_id,
                service=service,
                remote_identity=remote.identity,
                label=remote.label,
                credentials=_seal(checked, row_id),
            )
            await record_audit(viewer, "EXTERNAL_ACCOUNT_CONNECTED", row_id, service=service)
            return created
    except IntegrityError:
        # Somebody connected it a moment ago: the same again renews its credentials.
        made = await ExternalAccount.get(account_id=viewer.account_id, service=service, remote_identity=remote.identity)
        return await _renew(viewer, made, checked, remote)


async def reconnect(
    viewer: Viewer, external_account_id: UUID, *, credentials: Mapping[str, Any], catalogue: Catalogue
) -> ExternalAccount:
    """Give an external account new credentials, which must open the same account at the service (R15)."""
    external_account = await get(viewer.account_id, external_account_id)
    checked = _checked(catalogue, external_account.service, credentials)
    remote = await catalogue.identify(external_account.service, checked)
    if remote.identity != external_account.remote_identity:
        message = f"These credentials open {remote.label}, not {external_account.label}. Connect it as a new one."
        raise Refused(Problem(ErrorCode.WRONG_EXTERNAL_ACCOUNT, message, ("credentials",)))
    return await _renew(viewer, external_account, checked, remote)


async def disconnect(viewer: Viewer, external_account_id: UUID) -> ExternalAccount:
    """Erase the credentials and pause the imports. Ledger and the cap's window stay (R23)."""
    async with in_transaction():
        row = ExternalAccount.filter(account_id=viewer.account_id, id=external_account_id)
        # Lock order: the external account first, then its imports.
        if await row.select_for_update(no_key=True).first() is None:
            raise not_found("external account", "externalAccountId")
        await row.update(
            credentials=None,
            health=ExternalAccountHealth.DISCONNECTED,
            health_reason=None,
            next_cycle_at=None,
        )
        imports = AutomaticImport.filter(
            account_id=viewer.account_id, external_account_id=external_account_id, deleted_at=None
        )
        import_ids = [automatic_import.id async for automatic_import in imports]
        async with database.transaction() as connection:
            await pausing.pause(connection, viewer.account_id, import_ids)
        await record_audit(viewer, "EXTERNAL_ACCOUNT_DISCONNECTED", external_account_id)
        return await row.get()


async def criteria_choices(
    account_id: UUID, external_account_id: UUID, *, criterion: str, search: str | None, catalogue: Catalogue
) -> Sequence[CriterionChoice]:
    """What a criterion can be in this external account; with `search`, those whose label contains it."""
    external_account = await get(account_id, external_account_id)
    credentials = unseal_credentials(external_account)
    choices = await catalogue.choices(external_account.service, credentials, criterion)
    return [choice for choice in choices if (search or "").casefold() in choice.label.casefold()]


async def get(account_id: UUID, external_account_id: UUID) -> ExternalAccount:
    """The external account; Refused where this account has none with this id."""
    found = await ExternalAccount.get_or_none(account_id=account_id, id=external_account_id)
    if found is None:
        raise not_found("external account", "externalAccountId")
    return found


def unseal_credentials(external_account: ExternalAccount) -> dict[str, Any]:
    """The credentials in the clear. They go to the connector and nowhere else."""
    if external_account.credentials is None:
        message = "This external account is disconnected. Reconnect it first."
        raise Refused(Problem(ErrorCode.NEEDS_RECONNECT, message, ("externalAccountId",)))
    return unseal(external_account.credentials, row=external_account.id)


def unseal(credentials: bytes, *, row: UUID) -> dict[str, Any]:
    """The sealed credentials of the external account `row` in the clear."""
    return cast("dict[str, Any]", orjson.loads(key_ring().unseal(credentials, row=row)))


async def _renew(
    viewer: Viewer, external_account: ExternalAccount, credentials: Mapping[str, Any], remote: RemoteIdentity
) -> ExternalAccount:
    row = ExternalAccount.filter(account_id=viewer.account_id, id=external_account.id)
    async with in_transaction():
        await row.update(
            credentials=_seal(credentials, external_account.id),
            label=remote.label,
            health=ExternalAccountHealth.HEALTHY,
            health_reason=None,
            transient_failures=0,
            not_before=None,
            # A cycle under way reads with the old credentials: it is fenced out.
            lease_token=None,
            lease_expires_at=None,
        )
        # Its checkpoints are still true: the next cycle carries on where the last one stopped.
        async with database.transaction() as connection:
            await cycle.ask_for(connection, viewer.account_id, external_account.id)
            # What other credentials could see says nothing of deletions.
            await sweeps.forget_all(connection, viewer.account_id, external_account.id)
        await record_audit(viewer, "EXTERNAL_ACCOUNT_RECONNECTED", external_account.id)
    return await row.get()


def _checked(catalogue: Catalogue, service: str, credentials: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return catalogue.check_credentials(service, credentials)
    except Refused as refused:
        raise refused.inside("credentials") from None


def _seal(credentials: Mapping[str, Any], row: UUID) -> bytes:
    return key_ring().seal(orjson.dumps(credentials), row=row)
