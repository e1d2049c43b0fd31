"""Accounts over HTTP: register, sign in and out, tokens for programs, API keys."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from gp4u_server.accounts.api_keys import ApiKeys
from gp4u_server.accounts.authenticator import Authenticator
from gp4u_server.accounts.devices import kept_user_agent
from gp4u_server.accounts.errors import InvalidToken, SessionRequired
from gp4u_server.accounts.limits import limit_registration, limit_sign_in
from gp4u_server.accounts.schemas import (
    ApiKeyCreatedOut,
    ApiKeyIn,
    ApiKeyOut,
    OpenSessionOut,
    RefreshIn,
    RegisterIn,
    SessionOut,
    SignInIn,
    TokensOut,
    UserOut,
)
from gp4u_server.accounts.service import Accounts
from gp4u_server.accounts.types import ApiKey, Role, Scope, SignedIn, User
from gp4u_server.accounts.web import CurrentUser, SignedInPerson
from gp4u_server.foundation.rate_limit import RateLimiter
from gp4u_server.foundation.web import Session, provided
from gp4u_server.kit.paging import PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, Page
from gp4u_server.settings import Settings

router = APIRouter(tags=["accounts"])

AccountsService = Annotated[Accounts, Depends(provided(Accounts))]
ApiKeysService = Annotated[ApiKeys, Depends(provided(ApiKeys))]
Auth = Annotated[Authenticator, Depends(provided(Authenticator))]
Limiter = Annotated[RateLimiter, Depends(provided(RateLimiter))]
Config = Annotated[Settings, Depends(provided(Settings))]


@router.post("/auth/register", status_code=201)
async def register(
    body: RegisterIn,
    request: Request,
    response: Response,
    accounts: AccountsService,
    auth: Auth,
    limiter: Limiter,
    settings: Config,
) -> SessionOut:
    """Create an account and sign the browser in (HttpOnly cookies)."""
    _refuse_foreign_page(request, auth)
    await limit_registration(limiter, settings, request)
    signed_in = await accounts.register(
        email=body.email,
        password=body.password,
        name=body.name,
        roles=body.roles,
        kind="browser",
        user_agent=_user_agent(request),
    )
    return _give_cookies(signed_in, response, auth)


@router.post("/auth/sign-in")
async def sign_in(
    body: SignInIn,
    request: Request,
    response: Response,
    accounts: AccountsService,
    auth: Auth,
    limiter: Limiter,
    settings: Config,
) -> SessionOut:
    """Sign the browser in (HttpOnly cookies)."""
    _refuse_foreign_page(request, auth)
    async with limit_sign_in(limiter, settings, request, body.email):
        signed_in = await accounts.sign_in(
            email=body.email, password=body.password, kind="browser", user_agent=_user_agent(request)
        )
    return _give_cookies(signed_in, response, auth)


@router.post("/auth/sign-out", status_code=204)
async def sign_out(
    request: Request, response: Response, session: Session, accounts: AccountsService, auth: Auth
) -> None:
    """End the session and delete its cookies. Harmless when nobody is signed in."""
    if "authorization" in request.headers:
        principal = await auth.principal_of(request)
        if principal.session_id is None:
            raise SessionRequired("An API key has no session to end; revoke the key instead.")
        await accounts.end_session(session, principal.session_id)
        return
    # By the refresh cookie, because the access cookie may have run out while the page was open.
    refresh_token = auth.cookies.refresh_token(request)
    session_id = await accounts.session_of_refresh_token(session, refresh_token) if refresh_token else None
    if session_id is None and auth.cookies.access_token(request) is not None:
        session_id = (await auth.principal_of(request)).session_id
    if session_id is not None:
        auth.check_csrf(request, session_id)
        await accounts.end_session(session, session_id)
    auth.cookies.clear(response)


@router.get("/auth/session")
async def read_session(
    user: CurrentUser, session: Session, accounts: AccountsService, auth: Auth
) -> SessionOut:
    """Who the caller is. 401 `unauthenticated` when nobody."""
    found = await accounts.users_by_id(session, [user.user_id])
    csrf_token = auth.csrf_token(user.session_id) if user.session_id else ""
    return SessionOut(user=_user_out(found[user.user_id]), csrf_token=csrf_token)


@router.post("/auth/refresh")
async def refresh_session(
    request: Request, response: Response, accounts: AccountsService, auth: Auth
) -> SessionOut:
    """Rotate the browser's tokens. Reuse of an old refresh token ends the whole family.

    Asks for no X-CSRF-Token (a page that was just loaded has none yet), but only our own pages may call it.
    """
    auth.cookies.check_same_site(request)
    refresh_token = auth.cookies.refresh_token(request)
    if refresh_token is None:
        raise InvalidToken("There is no session to refresh. Sign in.")
    return _give_cookies(await accounts.refresh(refresh_token), response, auth)


@router.post("/auth/token")
async def create_token(
    body: SignInIn, request: Request, accounts: AccountsService, limiter: Limiter, settings: Config
) -> TokensOut:
    """Tokens for programs that cannot keep cookies."""
    async with limit_sign_in(limiter, settings, request, body.email):
        signed_in = await accounts.sign_in(
            email=body.email, password=body.password, kind="program", user_agent=_user_agent(request)
        )
    return _tokens_out(signed_in)


@router.post("/auth/token/refresh")
async def refresh_token(body: RefreshIn, accounts: AccountsService) -> TokensOut:
    """Rotate a program's tokens. Reuse of an old refresh token ends the whole family."""
    return _tokens_out(await accounts.refresh(body.refresh_token))


@router.post("/auth/token/revoke", status_code=204)
async def revoke_token(body: RefreshIn, session: Session, accounts: AccountsService) -> None:
    """End the family this refresh token belongs to. Harmless for an unknown token."""
    session_id = await accounts.session_of_refresh_token(session, body.refresh_token)
    if session_id is not None:
        await accounts.end_session(session, session_id)


@router.get("/sessions")
async def list_sessions(
    user: SignedInPerson,
    session: Session,
    accounts: AccountsService,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_SIZE_MAX)] = PAGE_SIZE_DEFAULT,
) -> Page[OpenSessionOut]:
    """Where the caller is signed in, newest first. Needs a signed-in person."""
    page = await accounts.open_sessions(session, user.user_id, cursor=cursor, limit=limit)
    return Page[OpenSessionOut](
        items=[OpenSessionOut(**vars(found), current=found.id == user.session_id) for found in page.items],
        next_cursor=page.next_cursor,
    )


@router.delete("/sessions/{session_id}", status_code=204)
async def end_session(
    session_id: str,
    user: SignedInPerson,
    response: Response,
    session: Session,
    accounts: AccountsService,
    auth: Auth,
) -> None:
    """Sign out there: none of its tokens opens anything any more. The caller's own session may be ended too."""
    await accounts.end_own_session(session, user.user_id, session_id)
    if session_id == user.session_id and user.via == "cookie":
        auth.cookies.clear(response)


@router.get("/api-keys")
async def list_api_keys(
    user: CurrentUser,
    session: Session,
    keys: ApiKeysService,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_SIZE_MAX)] = PAGE_SIZE_DEFAULT,
) -> Page[ApiKeyOut]:
    """The caller's keys, newest first."""
    page = await keys.page(session, user.user_id, cursor=cursor, limit=limit)
    return Page(items=[ApiKeyOut(**_key_fields(key)) for key in page.items], next_cursor=page.next_cursor)


@router.post("/api-keys", status_code=201)
async def create_api_key(
    body: ApiKeyIn, user: SignedInPerson, session: Session, keys: ApiKeysService
) -> ApiKeyCreatedOut:
    """Make a key. It is shown this once. Needs a signed-in person: a key cannot make keys."""
    key, secret = await keys.create(
        session, user, name=body.name, scopes=body.scopes, expires_at=body.expires_at
    )
    return ApiKeyCreatedOut(**_key_fields(key), key=secret)


@router.delete("/api-keys/{key_id}", status_code=204)
async def revoke_api_key(key_id: str, user: SignedInPerson, session: Session, keys: ApiKeysService) -> None:
    """Revoke a key; it stops working at once."""
    await keys.revoke(session, user.user_id, key_id)


def _user_agent(request: Request) -> str:
    return kept_user_agent(request.headers.get("user-agent"))


def _refuse_foreign_page(request: Request, auth: Authenticator) -> None:
    # Without a session there is no CSRF token yet; still, no foreign page may sign a browser in as somebody else.
    if "sec-fetch-site" in request.headers or "origin" in request.headers:
        auth.cookies.check_same_site(request)


def _give_cookies(signed_in: SignedIn, response: Response, auth: Authenticator) -> SessionOut:
    auth.cookies.write(response, signed_in, auth.clock.now())
    return SessionOut(user=_user_out(signed_in.user), csrf_token=auth.csrf_token(signed_in.session_id))


def _tokens_out(signed_in: SignedIn) -> TokensOut:
    return TokensOut(
        access_token=signed_in.access_token,
        refresh_token=signed_in.refresh_token,
        expires_in_s=signed_in.access_ttl_s,
        user=_user_out(signed_in.user),
    )


def _user_out(user: User) -> UserOut:
    roles = [role for role in Role if role in user.roles]
    return UserOut(id=user.id, email=user.email, name=user.name, roles=roles, created_at=user.created_at)


def _key_fields(key: ApiKey) -> dict[str, object]:
    return {**vars(key), "scopes": [scope for scope in Scope if scope in key.scopes]}
