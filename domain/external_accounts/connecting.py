"""What users do with logins at services: connect, reconnect, disconnect, look what a criterion can be."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from tortoise.exceptions import IntegrityError
from uuid_utils.compat import uuid7

from domain import cycle, database, pausing, renewing, sweeps
from domain.account import Viewer
from domain.audit import record_audit
from domain.catalogue import Catalogue, CriterionChoice, RemoteIdentity, find_service
from domain.credentials import seal_json, unseal_json
from domain.enums import ExternalAccountHealth
from domain.errors import ErrorCode, Misconfigured, Problem, Refused, not_found
from domain.models import AutomaticImport, ExternalAccount


async def connect(
    viewer: Viewer, *, service: str, credentials: Mapping[str, Any], catalogue: Catalogue
) -> ExternalAccount:
    """Connect a login after asking the service whose it is. Connecting the same one again renews its credentials."""
    find_service(catalogue, service)
    checked = _checked(catalogue, service, credentials)
    return await keep_new(viewer, service, checked, await catalogue.identify(service, checked))


async def keep_new(
    viewer: Viewer, service: str, credentials: Mapping[str, Any], remote: RemoteIdentity
) -> ExternalAccount:
    """Store checked credentials, which open `remote`, as `connect` does."""
    existing = await ExternalAccount.get_or_none(
        account_id=viewer.account_id, service=service, remote_identity=remote.identity
    )
    if existing is not None:
        return await _replace(viewer, existing, credentials, remote)
    row_id = uuid7()
    try:
        async with database.transaction():
            created = await ExternalAccount.create(
                id=row_id,
                account_id=viewer.account_id,
                service=service,
                remote_identity=remote.identity,
                label=remote.label,
                credentials=seal_json(credentials, row=row_id),
            )
            await record_audit(viewer, "EXTERNAL_ACCOUNT_CONNECTED", row_id, service=service)
            return created
    except IntegrityError:
        # Somebody connected it a moment ago: the same again renews its credentials.
        made = await ExternalAccount.get(account_id=viewer.account_id, service=service, remote_identity=remote.identity)
        return await _replace(viewer, made, credentials, remote)


async def reconnect(
    viewer: Viewer, external_account_id: UUID, *, credentials: Mapping[str, Any], catalogue: Catalogue
) -> ExternalAccount:
    """Give an external account new credentials, which must open the same account at the service (R15)."""
    external_account = await get(viewer.account_id, external_account_id)
    checked = _checked(catalogue, external_account.service, credentials)
    remote = await catalogue.identify(external_account.service, checked)
    return await keep_again(viewer, external_account_id, checked, remote)


async def keep_again(
    viewer: Viewer, external_account_id: UUID, credentials: Mapping[str, Any], remote: RemoteIdentity
) -> ExternalAccount:
    """Store checked credentials, which open `remote`, as `reconnect` does."""
    external_account = await get(viewer.account_id, external_account_id)
    if remote.identity != external_account.remote_identity:
        message = f"These credentials open {remote.label}, not {external_account.label}. Connect it as a new one."
        raise Refused(Problem(ErrorCode.WRONG_EXTERNAL_ACCOUNT, message, ("credentials",)))
    return await _replace(viewer, external_account, credentials, remote)


async def disconnect(
    viewer: Viewer,
    external_account_id: UUID,
    *,
    catalogue: Catalogue,
    tell: Callable[[Sequence[UUID]], Awaitable[None]] | None = None,
) -> Sequence[str]:
    """Erase the credentials, pause the imports, then give the credentials back at the service. Returns warnings.

    Ledger and the cap's window stay (R23). `tell` is told of the paused imports before the service is asked, which may
    take its time.
    """
    async with database.transaction():
        row = ExternalAccount.filter(account_id=viewer.account_id, id=external_account_id)
        # Lock order: the external account first, then its imports.
        external_account = await row.select_for_update(no_key=True).first()
        if external_account is None:
            raise not_found("external account", "externalAccountId")
        await row.update(
            credentials=None,
            health=ExternalAccountHealth.DISCONNECTED,
            health_reason=None,
            next_cycle_at=None,
        )
        imports = AutomaticImport.filter(
            account_id=viewer.account_id, external_account_id=external_account_id, deleted_at=None
        ).order_by("id")
        import_ids = [automatic_import.id async for automatic_import in imports]
        async with database.transaction() as connection:
            await pausing.pause(connection, viewer.account_id, import_ids)
        await record_audit(viewer, "EXTERNAL_ACCOUNT_DISCONNECTED", external_account_id)
    if tell is not None:
        await tell(import_ids)
    return await _give_back(external_account, catalogue)


async def _give_back(external_account: ExternalAccount, catalogue: Catalogue) -> Sequence[str]:
    """What is erased here is erased, whatever the service says."""
    if external_account.credentials is None or not catalogue.can_revoke(external_account.service):
        return []
    if await _is_held_elsewhere(external_account):
        return [_not_revoked("")]
    try:
        credentials = unseal_json(external_account.credentials, row=external_account.id)
        await catalogue.revoke(external_account.service, credentials)
    except (Refused, Misconfigured) as error:
        # What is misconfigured is the operator's, and told when it matters again.
        reason = f" {error}" if isinstance(error, Refused) else ""
        return [_not_revoked(reason)]
    return []


async def _is_held_elsewhere(external_account: ExternalAccount) -> bool:
    """Whether another account is connected to the same: services end all that a user agreed to, or uninstall the app.

    Looked at once ours is erased, so that of two that disconnect at once the last one sees none.
    """
    return await ExternalAccount.exists(
        service=external_account.service,
        remote_identity=external_account.remote_identity,
        credentials__isnull=False,
    )


def _not_revoked(reason: str) -> str:
    return f"Its access could not be revoked at the service.{reason} Revoke it there yourself."


async def criteria_choices(
    account_id: UUID, external_account_id: UUID, *, criterion: str, search: str | None, catalogue: Catalogue
) -> Sequence[CriterionChoice]:
    """What a criterion can be in this external account; with `search`, those whose label contains it."""
    external_account = await get(account_id, external_account_id)
    choices = await _choices(external_account, criterion, catalogue)
    return [choice for choice in choices if (search or "").casefold() in choice.label.casefold()]


async def _choices(
    external_account: ExternalAccount, criterion: str, catalogue: Catalogue
) -> Sequence[CriterionChoice]:
    key, service = (external_account.account_id, external_account.id), external_account.service
    renewal = catalogue.renewal(service)
    credentials = _connected(await renewing.usable(*key, renewal))
    try:
        return await catalogue.choices(service, credentials, criterion)
    except Refused as refused:
        if renewal is None or refused.problems[0].code != ErrorCode.CREDENTIALS_REJECTED:
            raise
        renewed = _connected(await renewing.usable(*key, renewal, refused=credentials))
        if renewed == credentials:
            raise
        return await catalogue.choices(service, renewed, criterion)


async def get(account_id: UUID, external_account_id: UUID) -> ExternalAccount:
    """The external account; Refused where this account has none with this id."""
    found = await ExternalAccount.get_or_none(account_id=account_id, id=external_account_id)
    if found is None:
        raise not_found("external account", "externalAccountId")
    return found


def _connected(credentials: dict[str, Any] | None) -> dict[str, Any]:
    if credentials is None:
        message = "This external account is disconnected. Reconnect it first."
        raise Refused(Problem(ErrorCode.NEEDS_RECONNECT, message, ("externalAccountId",)))
    return credentials


async def _replace(
    viewer: Viewer, external_account: ExternalAccount, credentials: Mapping[str, Any], remote: RemoteIdentity
) -> ExternalAccount:
    row = ExternalAccount.filter(account_id=viewer.account_id, id=external_account.id)
    async with database.transaction():
        await row.update(
            credentials=seal_json(credentials, row=external_account.id),
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
