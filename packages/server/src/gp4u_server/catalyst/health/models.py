"""The table of gateways' authority. Private to this folder."""

from datetime import datetime

from sqlalchemy import Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from gp4u_server.kit.db import Base


class GatewayAuthority(Base):
    """One run of a gateway process. `authority_until` is for people to read; see `authority` for what decides."""

    __tablename__ = "gateway_authorities"
    gateway_id: Mapped[str] = mapped_column(primary_key=True)
    address: Mapped[str]
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    renewed_at: Mapped[datetime]
    authority_until: Mapped[datetime]
    ended_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_gateway_authorities_live", "authority_until", postgresql_where=text("ended_at IS NULL")),
    )
