"""What users do about their plan (R11), in plain Python."""

from tests.domain.model.account import Account


def choose_plan(account: Account, limit: int) -> None:
    """R11: a lower limit deactivates nobody; a higher one lets those in who wait, and lifts the ceiling with it."""
    if limit != account.limit:
        account.limit, account.ceiling = limit, max(limit, account.ceiling)
        account.ask_for_draining()


def set_auto_upgrade(account: Account, *, enabled: bool, ceiling: int) -> bool:
    """R11: move up by itself, up to a ceiling. Returns whether that is accepted: not below the present plan."""
    if ceiling < account.limit:
        return False
    account.auto_upgrade, account.ceiling = enabled, ceiling
    if enabled:
        account.ask_for_draining()
    return True
