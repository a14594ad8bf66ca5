"""Lists and tags: what an account sorts its contacts by."""

from uuid import UUID

from tortoise.exceptions import IntegrityError

from domain.errors import ErrorCode, Problem, Refused
from domain.models import ContactList, Tag

MAX_NAME = 200


async def create_list(account_id: UUID, *, name: str) -> ContactList:
    """A new, empty list. Names are unique in an account, whatever their case."""
    try:
        return await ContactList.create(account_id=account_id, name=check_name(name))
    except IntegrityError:
        raise Refused(Problem(ErrorCode.TAKEN, f"There is already a list called {name!r}.", ("name",))) from None


async def create_tag(account_id: UUID, *, name: str) -> Tag:
    """A new tag. Names are unique in an account, whatever their case."""
    try:
        return await Tag.create(account_id=account_id, name=check_name(name))
    except IntegrityError:
        raise Refused(Problem(ErrorCode.TAKEN, f"There is already a tag called {name!r}.", ("name",))) from None


def check_name(name: str) -> str:
    """`name` without surrounding space; Refused where nothing is left or it is too long to show."""
    name = name.strip()
    if not name:
        raise Refused(Problem(ErrorCode.BLANK, "Give it a name.", ("name",)))
    if len(name) > MAX_NAME:
        message = f"Use at most {MAX_NAME} characters, not {len(name)}."
        raise Refused(Problem(ErrorCode.TOO_LONG, message, ("name",)))
    if "\0" in name:
        raise Refused(Problem(ErrorCode.INVALID, "Remove the NUL character from the name.", ("name",)))
    return name
