"""The one name that some services have for a person, as the two that contacts have."""


def first_and_last(name: str | None) -> tuple[str | None, str | None]:
    """Split a whole name: the first word is the first name, whatever follows the last name.

    "Ludwig van Beethoven" is (Ludwig, van Beethoven). "Beethoven, Ludwig" is turned round, but behind several words a
    comma is not followed by a first name: "Jane Doe, PhD" is (Jane, Doe, PhD). One word is a first name.
    An address in the name's place, as services have it for whom they invited, is no name.
    """
    words = " ".join((name or "").split())
    if "@" in words:
        return None, None
    last, _, first = (part.strip() for part in words.partition(","))
    if not (first and last) or " " in last:
        first, _, last = words.strip(" ,").partition(" ")
    return first or None, last or None
