"""A member of Trello's workspaces and boards, put together from memberships, and the record of it.

https://developer.atlassian.com/cloud/trello/guides/rest-api/object-definitions/#member-object
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from pydantic import BaseModel, Field

from connectors.names import first_and_last
from domain.records import FieldSpec, FieldType, FieldValue, Record

MEMBER_FIELDS = "fullName,username,initials,avatarUrl,email,aaEmail"

FIELDS = (
    FieldSpec(key="username", title="Username", type=FieldType.TEXT),
    FieldSpec(key="initials", title="Initials", type=FieldType.TEXT),
    FieldSpec(key="avatarUrl", title="Avatar", type=FieldType.URL),
    FieldSpec(key="memberType", title="Member type", type=FieldType.MULTISELECT),
    FieldSpec(key="workspaces", title="Workspaces", type=FieldType.MULTISELECT),
    FieldSpec(key="boards", title="Boards", type=FieldType.MULTISELECT),
    FieldSpec(key="confirmed", title="Confirmed", type=FieldType.BOOLEAN),
    FieldSpec(key="deactivated", title="Deactivated", type=FieldType.BOOLEAN),
)
SPECS = {spec.key: spec for spec in FIELDS}


class Member(BaseModel):
    """A person. Trello shows an address to that person, and to whoever manages the account."""

    fullName: str | None = None  # noqa: N815  Trello's names
    username: str | None = None
    initials: str | None = None
    avatarUrl: str | None = None  # noqa: N815
    email: str | None = None
    aaEmail: str | None = None  # noqa: N815


class Membership(BaseModel):
    """What a person is in a workspace or on a board."""

    idMember: str = Field(min_length=1)  # noqa: N815
    memberType: str | None = None  # noqa: N815
    unconfirmed: bool | None = None
    deactivated: bool | None = None
    member: Member | None = None


@dataclass(slots=True)
class Person:
    """What all memberships together say of a person. `memberships` are those that are a reason to import."""

    memberships: list[Membership] = field(default_factory=list)
    workspaces: set[str] = field(default_factory=set)
    boards: set[str] = field(default_factory=set)

    @property
    def is_active(self) -> bool:
        """Not deactivated, in one place at least."""
        return any(not membership.deactivated for membership in self.memberships)

    def record(self, external_id: str, *, knows_boards: bool) -> Record:
        """The record; without the boards' field where not all of them have been read."""
        told = [membership.member for membership in self.memberships if membership.member is not None]
        shown = {key for member in told for key in member.model_fields_set}
        # A listing may show less of a member than another.
        found = {
            key: next(filter(None, (getattr(member, key) for member in told)), None) for key in Member.model_fields
        }
        values: dict[str, FieldValue] = {
            key: found[key] for key in ("username", "initials", "avatarUrl") if key in shown
        }
        values["memberType"] = _texts(membership.memberType for membership in self.memberships)
        values["workspaces"] = _texts(self.workspaces)
        if knows_boards:
            values["boards"] = _texts(self.boards)
        values["confirmed"] = any(not membership.unconfirmed for membership in self.memberships)
        values["deactivated"] = not self.is_active
        first_name, last_name = first_and_last(found["fullName"])
        return Record(
            external_id=external_id,
            email=found["email"] or found["aaEmail"],
            first_name=first_name,
            last_name=last_name,
            values=values,
        )


def _texts(values: Iterable[str | None]) -> tuple[str, ...] | None:
    return tuple(sorted({value for value in values if value})) or None
