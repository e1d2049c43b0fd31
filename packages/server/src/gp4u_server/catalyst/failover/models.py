"""Tables of failover. Private to this folder."""

from datetime import datetime

from sqlalchemy import Identity, func
from sqlalchemy.orm import Mapped, mapped_column

from gp4u_server.kit.db import Base


class CapacitySignal(Base):
    """GPUs of a node can be had that could not before. Deleted by the loop that has looked who waits for them."""

    __tablename__ = "capacity_signals"
    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    node_id: Mapped[str]
    at: Mapped[datetime] = mapped_column(server_default=func.now())
