"""What an import's passes over its service are remembered by. No rules, no database."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Review:
    """What somebody has to judge: of how many known records, how many are concerned."""

    kind: str
    known: int
    affected: int


@dataclass(kw_only=True)
class Sweeps:
    """What an import's readings of everything told, by external id (R16).

    `seen` by the one under way (None: there is none), which is no longer `is_whole` where part of it was read under
    other credentials; `expected`: seen by the last complete one, or new since; `missed` by that one, `gone` after two.
    """

    seen: set[str] | None = None
    is_whole: bool = True
    expected: set[str] = field(default_factory=set)
    missed: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)


@dataclass(kw_only=True)
class Pass:
    """What the guard against accidents counts until all is read: known records, and those it is there for."""

    known: int = 0
    affected: int = 0
    is_approved: bool = False
