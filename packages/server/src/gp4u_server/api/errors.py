"""Every failure as an RFC 9457 document (application/problem+json) with a stable `code`.

The one place that knows which HTTP status a kind of failure has.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from gp4u_server.kit.errors import DomainError, Kind

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2
FIELD_ERRORS_MAX = 50

STATUS = {
    Kind.INVALID: HTTPStatus.UNPROCESSABLE_ENTITY,
    Kind.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    Kind.FORBIDDEN: HTTPStatus.FORBIDDEN,
    Kind.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Kind.CONFLICT: HTTPStatus.CONFLICT,
    Kind.PAYMENT_REQUIRED: HTTPStatus.PAYMENT_REQUIRED,
    Kind.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Kind.TOO_MANY: HTTPStatus.TOO_MANY_REQUESTS,
    Kind.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
}
# What the framework itself refuses, in our words.
FRAMEWORK_ERRORS = {
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not know the method."),
    413: ("body_too_large", "The body of the request is too large."),
}


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    request_id: str,
    extra: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """One error document."""
    document = {
        **(extra or {}),
        "type": f"urn:gp4u:error:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "request_id": request_id,
    }
    all_headers = dict(headers or {})
    if status == HTTPStatus.UNAUTHORIZED:
        all_headers.setdefault("WWW-Authenticate", 'Bearer realm="gp4u"')
    if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        wait_s = (extra or {}).get("retry_after_s", RETRY_AFTER_S)
        all_headers.setdefault("Retry-After", str(wait_s))
    return Response(json.dumps(document, default=str), status, all_headers, MEDIA_TYPE)


def body_too_large(limit_bytes: int, request_id: str) -> Response:
    """The refusal of a body that says it is larger than `limit_bytes`. Closes the connection instead of reading it."""
    detail = f"The body of the request is too large: at most {limit_bytes} bytes are taken here."
    return problem(413, "body_too_large", detail, request_id=request_id, headers={"Connection": "close"})


def request_id_of(request: Request) -> str:
    """The id that the middleware gave this request."""
    return getattr(request.state, "request_id", "")


def install_error_documents(app: FastAPI) -> None:
    """Answer every expected failure with its document. Unexpected ones are answered by the middleware."""
    app.add_exception_handler(DomainError, _domain_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _framework_error)
    for away in (OperationalError, InterfaceError, PoolTimeout, DBAPIError):
        app.add_exception_handler(away, _database_error)


async def _domain_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, DomainError)
    status = STATUS[error.kind]
    return problem(status, error.code, error.detail, request_id=request_id_of(request), extra=error.extra)


async def _invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # Only place and reason: what was sent may be a password.
    errors = [
        {"field": _field_of(found["loc"]), "message": str(found["msg"]).removeprefix("Value error, ")}
        for found in error.errors()[:FIELD_ERRORS_MAX]
    ]
    first = errors[0] if errors else {"field": "", "message": "The request is not valid."}
    detail = f"{first['field']}: {first['message']}" if first["field"] else first["message"]
    return problem(
        422, "validation_failed", detail, request_id=request_id_of(request), extra={"errors": errors}
    )


def _field_of(location: tuple[Any, ...]) -> str:
    # ("body", "resources", "gpus") → resources.gpus; ("body", 17) is a place in text that is not JSON.
    parts = (
        location[1:]
        if location and location[0] in ("body", "query", "path", "header", "cookie")
        else location
    )
    return ".".join(str(part) for part in parts)


async def _framework_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code, detail = FRAMEWORK_ERRORS.get(error.status_code, ("http_error", str(error.detail)))
    return problem(
        error.status_code, code, detail, request_id=request_id_of(request), headers=error.headers or {}
    )


# A character that text cannot hold (refused by the driver, or by the server in its two ways), a number out of range.
_UNSTORABLE = {None, "22021", "22P05", "22003"}


async def _database_error(request: Request, error: Exception) -> Response:
    if isinstance(error, DataError) and getattr(error.orig, "sqlstate", "") in _UNSTORABLE:
        # Bodies are checked by their models; what gets here came in a path or a query.
        return problem(
            422,
            "validation_failed",
            "The request holds a character or a number that cannot be stored.",
            request_id=request_id_of(request),
        )
    gone = isinstance(error, OperationalError | InterfaceError | PoolTimeout)
    gone = gone or (isinstance(error, DBAPIError) and error.connection_invalidated)
    if not gone:
        raise error  # a statement that the database refuses is a bug of ours, not an outage
    log.warning("the database did not answer", error=type(error).__name__, exc_info=error)
    return problem(
        503,
        "temporarily_unavailable",
        "The platform cannot reach its database at this moment. Nothing was changed; try again.",
        request_id=request_id_of(request),
    )
