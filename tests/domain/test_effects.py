"""R10: what a change sets off, and that nothing comes of it when an automatic import made it."""

import pytest

from domain.effects import ContactChange, Effects, Origin, announce

CHANGES = [
    ContactChange(written=True, joined=2),
    ContactChange(written=False, left=1),
    ContactChange(written=False, joined=1),
    ContactChange(written=False),
]


def test_a_contact_sends_one_webhook_a_list_joined_an_autoresponder_and_each_list_a_notification() -> None:
    assert Effects.of(CHANGES) == Effects(autoresponders=3, webhooks=3, notifications=4)


@pytest.mark.parametrize(
    ("origin", "silenced"),
    [
        (Origin.AUTOMATIC_IMPORT, Effects(autoresponders=3, webhooks=3, notifications=4)),
        (Origin.API, Effects()),
    ],
)
def test_only_an_automatic_import_is_kept_silent_and_counted(origin: Origin, silenced: Effects) -> None:
    assert announce(origin, CHANGES) == silenced
