"""The controller's part of noticing a restored database: raise the mark, and give out no epoch before it was compared."""

from dataclasses import dataclass

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.foundation import incarnation
from gp4u_server.foundation.incarnation import MARK_BYTES_MAX, MARK_KEY, FoundBy, Mark, MarkStore
from gp4u_server.kit.db import Database
from gp4u_server.kit.errors import DomainError, Kind

log = structlog.get_logger(__name__)


@dataclass
class IncarnationWatch:
    """One controller's view. Until it has compared the database with the store once, it places nothing; afterwards it
    remembers, and a store that is away holds nothing up. A database that knows less than it did is compared again first."""

    database: Database
    store: MarkStore
    name: str = "incarnation"
    interval_s: float = 10.0
    channels: tuple[str, ...] = ()
    _seen: Mark | None = None

    async def run_once(self) -> int:
        """Compare, raise the mark in the database, then in the store. Answers 0."""
        try:
            stored = Mark.read(await self.store.read(MARK_KEY, bytes_max=MARK_BYTES_MAX))
        except DomainError as error:
            if error.kind is not Kind.UNAVAILABLE:
                raise
            if self._seen is None:
                log.warning("incarnation_unknown", why=error.detail)
            return 0
        remembered = self._seen or Mark()
        found_by = FoundBy.STORE if stored >= remembered else FoundBy.MEMORY
        async with self.database.transaction() as session:
            mark, restored = await incarnation.advance(session, max(stored, remembered), found_by)
        if restored:
            log.error("database_restored", found_by=found_by, restores=mark.restores)
        self._seen = max(mark, remembered)
        try:
            await self.store.overwrite(MARK_KEY, mark.written())
        except DomainError as error:
            if error.kind is not Kind.UNAVAILABLE:
                raise
        return 0

    async def may_place(self, session: AsyncSession) -> bool:
        """Whether this database is known to have forgotten nothing."""
        return self._seen is not None and await incarnation.current(session) >= self._seen
