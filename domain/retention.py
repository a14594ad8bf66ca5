"""What is kept for how long."""

from domain import database

DAYS_AHEAD = 8


async def prepare_outcome_days() -> None:
    """Make the partitions of the next days. A day that nobody prepared falls into the default partition."""
    await database.fetch("SELECT sluice_prepare_outcome_days(current_date, $1)", DAYS_AHEAD)
