"""What the tests put in the place of services, queue and events."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from domain.catalogue import (
    ConsentAttempt,
    CriterionChoice,
    RemoteIdentity,
    Renewal,
    ServiceAuthorization,
    ServiceInfo,
)
from domain.errors import ErrorCode, Problem, Refused
from domain.events import Changes, ImportChanged, RunChanged
from domain.records import FieldSpec, FieldType

SAMPLE = ServiceInfo(
    key="sample",
    name="Sample",
    category="E_COMMERCE",
    documentation_url="https://example.com/docs",
    authorization=ServiceAuthorization.OAUTH,
    authorizations=(ServiceAuthorization.OAUTH, ServiceAuthorization.FORM),
    credentials_schema={"type": "object", "properties": {"token": {"type": "string"}}},
    authorization_schema={"type": "object", "properties": {"shop": {"type": "string"}}},
    criteria_schema={"type": "object", "properties": {"group": {"type": "string"}}},
    fields=(FieldSpec(key="spent", title="Total spent", type=FieldType.NUMBER),),
    unstable_ids=False,
    tells_deletions=True,
    notice="It knows no phone numbers.",
)
BOOK = ServiceInfo(
    key="book",
    name="Address book",
    category="ADDRESS_BOOK",
    documentation_url="https://example.com/book",
    authorization=ServiceAuthorization.FORM,
    authorizations=(ServiceAuthorization.FORM,),
    credentials_schema={"type": "object"},
    authorization_schema=None,
    criteria_schema={"type": "object"},
    fields=(),
    unstable_ids=True,
    tells_deletions=False,
)


@dataclass(slots=True)
class FakeCatalogue:
    """Two services that accept the token "good", whose account is `identity`, and know the criterion `group`.

    "sample" has a page to agree on, whose answer is `{"code": token}`. `revoked`: what was given back; with
    `refuses_to_revoke`, what was to be.
    """

    identity: str = "shop-1"
    attempts: list[ConsentAttempt] = field(default_factory=list)
    answers: list[Mapping[str, str]] = field(default_factory=list)
    revoked: list[Mapping[str, Any]] = field(default_factory=list)
    refuses_to_revoke: bool = False

    def services(self) -> Sequence[ServiceInfo]:
        return [BOOK, SAMPLE]

    def check_credentials(self, service: str, credentials: Mapping[str, Any]) -> dict[str, Any]:
        if not isinstance(credentials.get("token"), str):
            raise Refused(Problem(ErrorCode.INVALID, "Field required.", ("token",)))
        return {"token": credentials["token"]}

    def check_criteria(self, service: str, criteria: Mapping[str, Any]) -> dict[str, Any]:
        if criteria.keys() - {"group"}:
            raise Refused(
                Problem(ErrorCode.INVALID, "There is no such criterion.", (min(criteria.keys() - {"group"}),))
            )
        return dict(criteria)

    async def identify(self, service: str, credentials: Mapping[str, Any]) -> RemoteIdentity:
        if credentials["token"] != "good":
            raise Refused(Problem(ErrorCode.CREDENTIALS_REJECTED, "The token is wrong.", ("credentials",)))
        return RemoteIdentity(identity=self.identity, label=f"{self.identity}.example.com")

    async def choices(self, service: str, credentials: Mapping[str, Any], criterion: str) -> Sequence[CriterionChoice]:
        if criterion != "group":
            raise Refused(Problem(ErrorCode.NOT_FOUND, f"There is no criterion {criterion!r}.", ("criterion",)))
        return [CriterionChoice(value="1", label="Friends"), CriterionChoice(value="2", label="Family")]

    def check_details(self, service: str, details: Mapping[str, Any]) -> dict[str, Any]:
        if service != "sample":
            raise Refused(Problem(ErrorCode.INVALID, "Address book has no page to agree on: use connectService."))
        if details.keys() - {"shop"}:
            raise Refused(Problem(ErrorCode.INVALID, "There is no such detail.", (min(details.keys() - {"shop"}),)))
        return dict(details)

    def authorization_url(self, attempt: ConsentAttempt) -> str:
        self.attempts.append(attempt)
        return f"https://sample.example/authorize?state={attempt.state}"

    async def exchange(self, attempt: ConsentAttempt, answer: Mapping[str, str]) -> dict[str, Any]:
        self.attempts.append(attempt)
        self.answers.append(answer)
        if "code" not in answer:
            raise Refused(Problem(ErrorCode.CREDENTIALS_REJECTED, "Access was declined.", ("credentials",)))
        return {"token": answer["code"]}

    def renewal(self, service: str) -> Renewal | None:
        return None

    def can_revoke(self, service: str) -> bool:
        return service == "sample"

    async def revoke(self, service: str, credentials: Mapping[str, Any]) -> None:
        self.revoked.append(credentials)
        if self.refuses_to_revoke:
            raise Refused(Problem(ErrorCode.SERVICE_UNAVAILABLE, "Sample does not answer."))


@dataclass(slots=True)
class RecordingQueue:
    """Counts how often there was said to be work."""

    woken: int = 0

    async def wake(self) -> None:
        self.woken += 1


@dataclass(slots=True)
class RecordingEvents:
    """Every event, in order."""

    published: list[RunChanged | ImportChanged] = field(default_factory=list)

    async def publish(self, event: RunChanged | ImportChanged) -> None:
        self.published.append(event)


class DeafWatch:
    """Hears of nothing: whoever follows has to look for itself."""

    @contextmanager
    def changes(self, account_id: UUID, *, automatic_import_id: UUID | None = None) -> Iterator[Changes]:
        yield _Silence()


class _Silence:
    async def wait(self) -> None:
        await asyncio.Event().wait()
