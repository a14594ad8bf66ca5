"""Work in the background in the schema."""

from api.enums import describe
from domain.enums import TaskState

__all__ = ["TaskState"]

describe(
    TaskState,
    "Where work in the background stands.",
    name="TaskState",
    QUEUED="It starts as soon as a worker is free.",
    RUNNING="It is under way.",
    COMPLETED="It is done.",
    FAILED="It could not be done; the error says why.",
)
