"""All that can be seen of model and engine, in one shape."""

from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from typing import Any
from uuid import UUID

import orjson

from domain import database
from domain.account import email_hash
from domain.database import Connection
from domain.enums import Outcome, OutcomeCode
from tests.domain.model.account import Account, Contact, Entry, Run
from tests.domain.model.engine import Engine
from tests.domain.model.silence import AUTORESPONDERS, NOTIFICATIONS, WEBHOOKS

EFFECTS = (AUTORESPONDERS, WEBHOOKS, NOTIFICATIONS)
Seen = dict[str, Any]
"""By kind: contacts, consent, ledger, waiting room, runs, outcomes, cap, account."""


def predicted(model: Account) -> Seen:
    """What there should be."""
    imports = model.imports.items()
    line = sorted(
        (entry.place, name, entry.external_id)
        for name, each in imports
        if not each.deleted
        for entry in each.ledger.values()
        if entry.code is OutcomeCode.CONTACT_LIMIT
    )
    return {
        "contacts": {contact.key: _contact(contact) for contact in model.contacts},
        "suppressions": dict(model.suppressed),
        "tombstones": set(model.tombstones),
        "ledger": {
            (name, entry.external_id): _entry(entry) for name, each in imports for entry in each.ledger.values()
        },
        "waiting room": [(name, external_id) for _, name, external_id in line],
        "runs": {name: [_run(run) for run in each.runs] for name, each in imports},
        "outcomes": {
            name: [[(each.external_id, each.outcome, each.code) for each in run.outcomes] for run in each.runs]
            for name, each in imports
        },
        "undone": {name: [run.undone for run in each.runs] for name, each in imports},
        "imports": {name: (each.state, each.checkpoint, each.failures) for name, each in imports},
        "cap": {name: (each.health, each.used) for name, each in model.external_accounts.items()},
        "active contacts": model.active,
        "limit": model.limit,
    }


def _contact(contact: Contact) -> Seen:
    return {
        "email": contact.email,
        "first_name": contact.first_name,
        "phone": contact.phone,
        "status": contact.status,
        "values": contact.values,
        "lists": contact.lists,
        "tags": contact.tags,
    }


def _entry(entry: Entry) -> tuple[Any, ...]:
    contact = entry.contact.key if entry.contact else None
    return entry.state, entry.code, contact, entry.key, entry.due


def _run(run: Run) -> tuple[Any, ...]:
    counts = {outcome.value: run.counts[outcome] for outcome in Outcome if run.counts[outcome]}
    return (
        run.trigger, run.state, run.stopped_by, run.error, run.checks, counts, run.protected, run.deleted,
        {effect: count for effect, count in run.silenced.items() if count},
        (run.review.kind, run.review.known, run.review.affected) if run.review else None,
    )  # fmt: skip


async def observed(engine: Engine, addresses: Collection[str]) -> Seen:
    """What there is; of consent, what is kept under one of `addresses`."""
    async with database.transaction() as connection:
        return {
            **await _contacts_and_ledger(connection, engine),
            **await _consent(connection, engine, addresses),
            **await _runs(connection, engine),
            **await _imports(connection, engine),
            "active contacts": await connection.fetchval("SELECT active_contacts FROM account"),
            "limit": await connection.fetchval(
                "SELECT contact_limit FROM account a JOIN plan_tier t ON t.key = a.plan_tier_key"
            ),
        }


async def _contacts_and_ledger(connection: Connection, engine: Engine) -> Seen:
    fields = {str(row["id"]): row["source_key"] for row in await connection.fetch("SELECT id, source_key FROM field")}
    contacts = await connection.fetch(
        """
        SELECT id, email, email_key, first_name, phone, status, field_values::text AS values,
            (SELECT coalesce(json_object_agg(l.name, s.status), '{}') FROM subscription s
                JOIN contact_list l ON l.id = s.list_id WHERE s.contact_id = c.id)::text AS lists,
            ARRAY(SELECT t.name FROM contact_tag x JOIN tag t ON t.id = x.tag_id WHERE x.contact_id = c.id) AS tags
        FROM contact c
        """
    )
    keys = {row["id"]: row["email_key"] for row in contacts}
    ledger = await connection.fetch(
        "SELECT l.*, deleted_at FROM ledger l JOIN automatic_import i ON i.id = automatic_import_id ORDER BY position"
    )
    imports = {import_id: name for name, import_id in engine.imports.items()}
    return {
        "contacts": {
            row["email_key"]: {
                **{name: row[name] for name in ("email", "first_name", "phone", "status")},
                "values": {fields[key]: value for key, value in orjson.loads(row["values"]).items()},
                "lists": orjson.loads(row["lists"]),
                "tags": set(row["tags"]),
            }
            for row in contacts
        },
        "ledger": {
            (imports[row["automatic_import_id"]], row["external_id"]): (
                row["state"], row["code"], keys.get(row["contact_id"]), row["email_key"], row["due"],
            )
            for row in ledger
        },
        "waiting room": [
            (imports[row["automatic_import_id"]], row["external_id"])
            for row in ledger
            if row["code"] == OutcomeCode.CONTACT_LIMIT and row["deleted_at"] is None
        ],
    }  # fmt: skip


async def _consent(connection: Connection, engine: Engine, addresses: Collection[str]) -> Seen:
    known = {email_hash(engine.hash_key, key): key for key in addresses}
    rows = await connection.fetch(
        "SELECT email_hash, l.name, status FROM suppression s LEFT JOIN contact_list l ON l.id = s.list_id"
        " UNION ALL SELECT email_hash, NULL, NULL FROM tombstone"
    )
    return {
        "suppressions": {(known[row["email_hash"]], row["name"]): row["status"] for row in rows if row["status"]},
        "tombstones": {known[row["email_hash"]] for row in rows if not row["status"]},
    }


async def _runs(connection: Connection, engine: Engine) -> Seen:
    rows = await connection.fetch("SELECT * FROM import_run ORDER BY id")
    outcomes = await connection.fetch("SELECT run_id, external_id, outcome, code FROM outcome ORDER BY id")
    undone = await connection.fetch("SELECT run_id, external_id, result, code FROM undone_record ORDER BY id")
    runs = {name: [row for row in rows if row["automatic_import_id"] == key] for name, key in engine.imports.items()}
    return {
        "runs": {name: [_run_row(row) for row in runs[name]] for name in runs},
        "outcomes": {name: [_of_run(row["id"], outcomes) for row in runs[name]] for name in runs},
        "undone": {name: [_of_run(row["id"], undone) for row in runs[name]] for name in runs},
    }


def _of_run(run_id: UUID, rows: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    return [tuple(row.values())[1:] for row in rows if row["run_id"] == run_id]


def _run_row(row: Mapping[str, Any]) -> tuple[Any, ...]:
    counts = {outcome.value: row[f"{outcome.value.lower()}_count"] for outcome in Outcome}
    assert row["read_count"] == sum(counts.values())
    return (
        row["trigger"], row["state"], row["stopped_by"], row["error_code"], row["checks"],
        {outcome: count for outcome, count in counts.items() if count}, row["protected_count"],
        row["deleted_count"],
        {name: row[f"silenced_{name}"] for name in EFFECTS if row[f"silenced_{name}"]},
        tuple(orjson.loads(row["review"])[name] for name in ("kind", "known", "affected")) if row["review"] else None,
    )  # fmt: skip


async def _imports(connection: Connection, engine: Engine) -> Seen:
    rows = await connection.fetch("SELECT id, state, checkpoint::text, consecutive_failures FROM automatic_import")
    imports = {import_id: name for name, import_id in engine.imports.items()}
    externals = await connection.fetch("SELECT id, health, window_used FROM external_account")
    names = {row_id: name for name, row_id in engine.external_accounts.items()}
    return {
        "imports": {
            imports[row["id"]]: (
                row["state"],
                orjson.loads(row["checkpoint"]) if row["checkpoint"] else None,
                row["consecutive_failures"],
            )
            for row in rows
        },
        "cap": {names[row["id"]]: (row["health"], row["window_used"]) for row in externals},
    }


def differences(seen: Seen, expected: Seen) -> str:
    """What the engine has and the rules do not, line by line; empty where they agree."""
    lines = []
    for kind, wanted in expected.items():
        found = seen[kind]
        if found == wanted:
            continue
        if not isinstance(wanted, dict):
            lines.append(f"{kind}: engine {_plain(found)}, rules {_plain(wanted)}")
            continue
        lines += [
            f"{kind}, {_plain(key)}: engine {_plain(found.get(key))}, rules {_plain(wanted.get(key))}"
            for key in sorted(wanted.keys() | found.keys(), key=str)
            if found.get(key) != wanted.get(key)
        ]
    return "\n".join(lines)


def _plain(value: Any) -> Any:
    """Without the names of enums."""
    match value:
        case Enum():
            return value.value
        case dict():
            return {_plain(key): _plain(each) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case _:
            return value
