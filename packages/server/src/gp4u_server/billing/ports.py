"""What billing needs from outside."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.accounts.types import User
from gp4u_server.billing.types import PaymentIntent, PaymentOutcome


class PaymentProvider(Protocol):
    """Brings money in. `sandbox` in the demo; a card processor later."""

    @property
    def name(self) -> str:
        """Names the outside account, `world:<name>`."""
        ...

    async def charge(self, intent: PaymentIntent) -> PaymentOutcome:
        """Take the money, at most once per `intent.id`: the same id is always answered alike.

        Raises PaymentUnavailable when no answer was had; whether money moved is then unknown.
        """
        ...


class People(Protocol):
    """Who somebody is (accounts.service.AccountService has it)."""

    async def users_by_id(self, session: AsyncSession, user_ids: Collection[str]) -> Mapping[str, User]:
        """Those of the ids that exist."""
        ...


class JobLock(Protocol):
    """Locks a job before its meter, so that postings and reports of one job take their locks in the same order."""

    async def lock_job(self, session: AsyncSession, job_id: str, *, skip_locked: bool = False) -> bool:
        """Lock the job's row until the transaction ends. False only with `skip_locked`, when somebody has it."""
        ...


class LeaseCoverage(Protocol):
    """Until when a node's leases were renewable at all (catalyst.health has it)."""

    async def confirmed_until(self, session: AsyncSession, node_id: str) -> datetime | None:
        """When the node's gateway last proved that it lives; None when nothing is known of it."""
        ...
