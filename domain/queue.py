"""What may be asked for later. A hint only: whatever must happen is a row first, and found without the hint."""

from typing import Protocol


class Queue(Protocol):
    """Where a commit says that there is work."""

    async def wake(self) -> None:
        """Look for due external accounts now instead of at the next tick."""
