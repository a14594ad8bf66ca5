"""The run's state machine: queued, running, waiting for the service, and the ways to end.

Every change raises the row's `revision`, which watchers compare. A run's counts change in `ingest` only, together
with the records that they count. opening: the run that something belongs to · counting: what became of its records ·
states: from one state to the next · cancelling: because a user says so.
"""

from domain.import_runs.cancelling import cancel, cancel_open
from domain.import_runs.counting import count, count_deleted
from domain.import_runs.opening import OPEN, open_for_news, open_for_room, queue
from domain.import_runs.states import RunError, finish, go_on, review, start, wait_for_service

__all__ = [
    "OPEN",
    "RunError",
    "cancel",
    "cancel_open",
    "count",
    "count_deleted",
    "finish",
    "go_on",
    "open_for_news",
    "open_for_room",
    "queue",
    "review",
    "start",
    "wait_for_service",
]
