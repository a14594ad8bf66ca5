"""Names that people give: to accounts, lists, tags and imports. Pure."""

from domain.errors import ErrorCode, Problem, Refused

MAX_NAME = 200


def check_name(name: str) -> str:
    """`name` without surrounding space; Refused where nothing is left or it is too long to show."""
    name = name.strip()
    if not name:
        raise Refused(Problem(ErrorCode.BLANK, "Give it a name.", ("name",)))
    if len(name) > MAX_NAME:
        message = f"Use at most {MAX_NAME} characters, not {len(name)}."
        raise Refused(Problem(ErrorCode.TOO_LONG, message, ("name",)))
    if not name.isprintable():
        message = "Remove the control characters and line breaks from the name."
        raise Refused(Problem(ErrorCode.INVALID, message, ("name",)))
    return name
