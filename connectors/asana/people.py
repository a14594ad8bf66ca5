"""A person as Asana shows one, and the record of it.

https://developers.asana.com/reference/users, https://developers.asana.com/reference/workspace-memberships
"""

from collections.abc import Container, Sequence

from pydantic import BaseModel, Field

from connectors.names import first_and_last
from domain.records import FieldSpec, FieldType, FieldValue, Record

USER_FIELDS = "name,email,photo.image_128x128,workspaces.name"
"""What a listing of users must be asked for: by itself it has names alone."""
MEMBERSHIP_FIELDS = "user,is_active,is_guest"

FIELDS = (
    FieldSpec(key="workspaces", title="Workspaces", type=FieldType.MULTISELECT),
    FieldSpec(key="photo", title="Photo", type=FieldType.URL),
    FieldSpec(key="is_guest", title="Guest", type=FieldType.BOOLEAN),
    FieldSpec(key="is_active", title="Active", type=FieldType.BOOLEAN),
)
SPECS = {spec.key: spec for spec in FIELDS}


class Named(BaseModel):
    """A workspace or a team."""

    gid: str = Field(min_length=1)
    name: str | None = None


class Photo(BaseModel):
    """Addresses of a person's picture, by size."""

    image_128x128: str | None = None


class User(Named):
    """A person. `email` is null or left out where Asana does not show it; `workspaces` are those shared with us."""

    email: str | None = None
    photo: Photo | None = None
    workspaces: Sequence[Named] | None = None


class Membership(BaseModel):
    """What a person is in a workspace. `is_active` until removed or deactivated."""

    user: Named | None = None
    is_active: bool | None = None
    is_guest: bool | None = None


def to_record(user: User, *, guests: Container[str] | None, inactive: Container[str] | None) -> Record:
    """The record of a person. `guests` and `inactive` tell by gid who is, None where that is unknown."""
    first_name, last_name = first_and_last(user.name)
    values: dict[str, FieldValue] = {}
    if user.workspaces is not None:
        values["workspaces"] = tuple(sorted({place.name for place in user.workspaces if place.name})) or None
    if "photo" in user.model_fields_set:
        values["photo"] = _lasting(user.photo.image_128x128 if user.photo else None)
    if guests is not None:
        values["is_guest"] = user.gid in guests
    if inactive is not None:
        values["is_active"] = user.gid not in inactive
    return Record(
        external_id=user.gid, email=user.email or None, first_name=first_name, last_name=last_name, values=values
    )


def _lasting(address: str | None) -> str | None:
    """A picture's address; None for a signed one, which would be another in each cycle and is dead soon after."""
    return None if not address or "?" in address else address
