"""What endpoints share: the request's transaction and the services that bootstrap provided."""

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, TypeVar, cast

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.kit.db import Database

Service = TypeVar("Service")


def provided(service_type: type[Service]) -> Callable[[Request], Service]:
    """A dependency that answers the one instance of `service_type` that bootstrap put into the app.

    `app.state.provided` is a dict from type to instance. Use: `Annotated[X, Depends(provided(X))]`.
    """

    def from_app(request: Request) -> Service:
        services: dict[type[Any], Any] = request.app.state.provided
        return cast("Service", services[service_type])

    return from_app


async def get_session(
    database: Annotated[Database, Depends(provided(Database))],
) -> AsyncIterator[AsyncSession]:
    """One request, one transaction."""
    async with database.transaction() as session:
        yield session


# scope="function": the commit happens before the answer is sent, so a client that has its 201 has its row.
Session = Annotated[AsyncSession, Depends(get_session, scope="function")]
