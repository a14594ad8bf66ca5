"""What every resolver can reach."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from uuid import UUID

import strawberry

from api.loaders import Loaders
from domain.account import Viewer
from domain.catalogue import Catalogue, ServiceInfo
from domain.events import Events, ImportChanged, Watch
from domain.queue import Queue


@dataclass(slots=True, kw_only=True)
class Context:
    """One HTTP request, or one WebSocket connection, whose viewer is known once it has introduced itself.

    `callback_url`: where services send what their users agreed to; None where that is not known.
    """

    catalogue: Catalogue
    queue: Queue
    events: Events
    watch: Watch
    viewer: Viewer | None = None
    connection_params: Mapping[str, Any] | None = None
    callback_url: str | None = None
    _loaders: Loaders | None = field(default=None, init=False)
    _services: Mapping[str, ServiceInfo] | None = field(default=None, init=False)

    @property
    def known_viewer(self) -> Viewer:
        """Who is asking. No operation is run for anybody else."""
        if self.viewer is None:
            raise RuntimeError("An operation was run for nobody.")
        return self.viewer

    @property
    def loaders(self) -> Loaders:
        """What batches the reads of this request."""
        if self._loaders is None:
            self._loaders = Loaders(self.known_viewer.account_id)
        return self._loaders

    @property
    def services(self) -> Mapping[str, ServiceInfo]:
        """The catalogue by key, which does not change while a process runs."""
        if self._services is None:
            self._services = {service.key: service for service in self.catalogue.services()}
        return self._services


Info: TypeAlias = strawberry.Info[Context, None]


def viewer(info: Info) -> Viewer:
    """Who is asking."""
    return info.context.known_viewer


def account_id(info: Info) -> UUID:
    """Whose data is asked for: every read and write of a resolver is scoped by it."""
    return info.context.known_viewer.account_id


async def tell(info: Info, import_ids: Iterable[UUID]) -> None:
    """Tell whoever follows these automatic imports that they were changed; once that is stored."""
    whose, events = account_id(info), info.context.events
    await asyncio.gather(
        *(events.publish(ImportChanged(account_id=whose, automatic_import_id=import_id)) for import_id in import_ids)
    )


def loaders(info: Info) -> Loaders:
    """What batches the reads of this request."""
    return info.context.loaders
