"""Tables of accounts."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from gp4u_server.kit.db import Base


class UserRow(Base):
    """One account."""

    __tablename__ = "users"
    id: Mapped[str] = mapped_column(primary_key=True)
    email: Mapped[str]
    name: Mapped[str]
    password_hash: Mapped[str]
    roles: Mapped[list[str]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (Index("uq_users_email_lower", text("lower(email)"), unique=True),)


class SessionRow(Base):
    """One family of refresh tokens: a browser or a program that signed in once."""

    __tablename__ = "sessions"
    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="RESTRICT"))
    kind: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    revoked_because: Mapped[str | None]
    user_agent: Mapped[str] = mapped_column(server_default="")  # what it was opened from, as that said itself

    __table_args__ = (
        CheckConstraint("kind IN ('browser', 'program')", name="kind"),
        Index(None, "user_id"),
        Index(None, "expires_at"),
        Index(None, "revoked_at", postgresql_where=text("revoked_at IS NOT NULL")),
    )


class RefreshTokenRow(Base):
    """One refresh token, as its SHA-256. `sealed_successor` can be opened only with the token itself."""

    __tablename__ = "refresh_tokens"
    token_hash: Mapped[bytes] = mapped_column(primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"))
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    successor_hash: Mapped[bytes | None]
    sealed_successor: Mapped[bytes | None]

    __table_args__ = (
        Index(None, "session_id"),
        # At most one unused token a family: the database says so, whatever the code does.
        Index(
            "uq_refresh_tokens_unused", "session_id", unique=True, postgresql_where=text("used_at IS NULL")
        ),
    )


class ApiKeyRow(Base):
    """One API key, as its SHA-256; `prefix` is what its owner recognises it by."""

    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="RESTRICT"))
    name: Mapped[str]
    prefix: Mapped[str]
    key_hash: Mapped[bytes] = mapped_column(unique=True)
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]

    __table_args__ = (Index(None, "user_id", "id"),)
