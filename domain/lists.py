"""Lists and tags: what an account sorts its contacts by."""

from uuid import UUID

from tortoise.exceptions import IntegrityError

from domain.errors import ErrorCode, Problem, Refused
from domain.models import ContactList, Tag
from domain.names import check_name


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
