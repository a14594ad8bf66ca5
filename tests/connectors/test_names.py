import pytest

from connectors.names import first_and_last


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Ann Lee", ("Ann", "Lee")),
        ("  Ann \n Lee ", ("Ann", "Lee")),
        ("Ludwig van Beethoven", ("Ludwig", "van Beethoven")),
        ("Beethoven, Ludwig van", ("Ludwig van", "Beethoven")),
        ("Ann Lee,", ("Ann", "Lee")),
        ("Jane Doe, PhD", ("Jane", "Doe, PhD")),
        ("Doe , Jane", ("Jane", "Doe")),
        (", Ann", ("Ann", None)),
        ("Ann", ("Ann", None)),
        ("ann@example.com", (None, None)),
        ("  ", (None, None)),
        ("", (None, None)),
        (None, (None, None)),
    ],
)
def test_a_whole_name_is_split_at_its_first_word(name: str | None, expected: tuple[str | None, str | None]) -> None:
    assert first_and_last(name) == expected
