"""The tables; no rules.

Keys that span account_id and others, foreign keys, checks, partial indexes and triggers are
SQL in the migrations: Tortoise cannot say them, and is told of one column of each key only. The real key of every
table of an account is (account_id, id), or what its docstring says. So nothing is fetched, saved or deleted by `pk`
alone: `filter(account_id=…, id=…)` uses the key, and keeps every query inside its account.
"""

from domain.models.account import Account, ApiToken, AuditEntry, BackgroundTask, PlanTier
from domain.models.contacts import (
    Contact,
    ContactFieldValue,
    ContactList,
    ContactTag,
    CustomField,
    Subscription,
    Suppression,
    Tag,
    Tombstone,
)
from domain.models.imports import (
    AutomaticImport,
    ExternalAccount,
    ImportList,
    ImportTag,
    ServiceAuthorizationAttempt,
)
from domain.models.runs import (
    ImportPreview,
    ImportRun,
    ImportUndo,
    LedgerEntry,
    MissingRecord,
    RecordOutcome,
    SweepPage,
    UndoneRecord,
)

__all__ = [
    "Account",
    "ApiToken",
    "AuditEntry",
    "AutomaticImport",
    "BackgroundTask",
    "Contact",
    "ContactFieldValue",
    "ContactList",
    "ContactTag",
    "CustomField",
    "ExternalAccount",
    "ImportList",
    "ImportPreview",
    "ImportRun",
    "ImportTag",
    "ImportUndo",
    "LedgerEntry",
    "MissingRecord",
    "PlanTier",
    "RecordOutcome",
    "ServiceAuthorizationAttempt",
    "Subscription",
    "Suppression",
    "SweepPage",
    "Tag",
    "Tombstone",
    "UndoneRecord",
]
