"""Accounts over HTTP: register, sign in and out, tokens for programs, API keys."""

from fastapi import APIRouter, Response

from gp4u_server.accounts.schemas import (
    ApiKeyCreatedOut,
    ApiKeyIn,
    ApiKeyOut,
    RefreshIn,
    RegisterIn,
    SessionOut,
    SignInIn,
    TokensOut,
)
from gp4u_server.kit.paging import Page

router = APIRouter(tags=["accounts"])


@router.post("/auth/register", status_code=201)
async def register(body: RegisterIn, response: Response) -> SessionOut:
    """Create an account and sign the browser in (HttpOnly cookies)."""
    raise NotImplementedError


@router.post("/auth/sign-in")
async def sign_in(body: SignInIn, response: Response) -> SessionOut:
    """Sign the browser in (HttpOnly cookies)."""
    raise NotImplementedError


@router.post("/auth/sign-out", status_code=204)
async def sign_out(response: Response) -> None:
    """End the session and delete its cookies."""
    raise NotImplementedError


@router.get("/auth/session")
async def read_session() -> SessionOut:
    """Who the caller is. 401 `unauthenticated` when nobody."""
    raise NotImplementedError


@router.post("/auth/refresh")
async def refresh_session(response: Response) -> SessionOut:
    """Rotate the browser's tokens. Reuse of an old refresh token ends the whole family."""
    raise NotImplementedError


@router.post("/auth/token")
async def create_token(body: SignInIn) -> TokensOut:
    """Tokens for programs that cannot keep cookies."""
    raise NotImplementedError


@router.post("/auth/token/refresh")
async def refresh_token(body: RefreshIn) -> TokensOut:
    """Rotate a program's tokens."""
    raise NotImplementedError


@router.post("/auth/token/revoke", status_code=204)
async def revoke_token(body: RefreshIn) -> None:
    """End the family this refresh token belongs to."""
    raise NotImplementedError


@router.get("/api-keys")
async def list_api_keys(cursor: str | None = None, limit: int = 50) -> Page[ApiKeyOut]:
    """The caller's keys."""
    raise NotImplementedError


@router.post("/api-keys", status_code=201)
async def create_api_key(body: ApiKeyIn) -> ApiKeyCreatedOut:
    """Make a key. It is shown this once."""
    raise NotImplementedError


@router.delete("/api-keys/{key_id}", status_code=204)
async def revoke_api_key(key_id: str) -> None:
    """Revoke a key; it stops working at once."""
    raise NotImplementedError
