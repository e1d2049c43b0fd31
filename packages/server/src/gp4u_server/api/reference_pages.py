"""The readable face of the API's description: `/docs` (Swagger UI) and `/redoc` (ReDoc).

Both run without any network: their programs come from the package fastapi-offline and are served from here, and the
pages' policy permits nothing from elsewhere.
"""

from functools import cache
from importlib.resources import files

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException

from gp4u_server.api.headers import inline_script_hashes, page_policy

# ReDoc shows its maker's mark from its maker's server; here it gets an empty picture instead of a refused request.
_FOREIGN_PICTURE = b"https://cdn.redoc.ly/redoc/logo-mini.svg"
_EMPTY_PICTURE = b"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'/%3E"
_ASSETS = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "redoc.standalone.js": "text/javascript; charset=utf-8",
}
# The package's version is not in these addresses, so they are asked for again after a day.
_CACHING = {"Cache-Control": "public, max-age=86400"}

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="/favicon.svg"><title>GP4U API</title>"""
_SWAGGER = f"""{_HEAD}<link rel="stylesheet" href="/docs/assets/swagger-ui.css"></head>
<body><div id="swagger-ui"></div><script src="/docs/assets/swagger-ui-bundle.js"></script>
<script>
SwaggerUIBundle({{
  url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, tryItOutEnabled: false, filter: true,
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIBundle.SwaggerUIStandalonePreset], validatorUrl: null,
  // Signed in by cookie, unsafe requests echo the session's token, as the web app's do.
  requestInterceptor: async (request) => {{
    const method = (request.method || "GET").toUpperCase();
    if (["GET", "HEAD"].includes(method) || request.headers.Authorization) return request;
    const session = await fetch("/api/v1/auth/session");
    if (session.ok) request.headers["X-CSRF-Token"] = (await session.json()).csrf_token;
    return request;
  }},
}});
</script></body></html>"""
_REDOC = f"""{_HEAD}<style>body{{margin:0}}</style></head>
<body><redoc spec-url="/openapi.json"></redoc><script src="/docs/assets/redoc.standalone.js"></script></body></html>"""

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def read_docs() -> Response:
    """Swagger UI: read the API, and try it."""
    return _page(_SWAGGER)


@router.get("/redoc")
async def read_redoc() -> Response:
    """ReDoc: the same, for reading on."""
    return _page(_REDOC)


@router.get("/docs/assets/{name}")
async def read_docs_asset(name: str) -> Response:
    """The programs and styles of both pages."""
    if name not in _ASSETS:
        raise HTTPException(404)
    return Response(_asset(name), media_type=_ASSETS[name], headers=_CACHING)


def _page(text: str) -> Response:
    return HTMLResponse(text, headers={"Content-Security-Policy": page_policy(inline_script_hashes(text))})


@cache
def _asset(name: str) -> bytes:
    content = files("fastapi_offline").joinpath("static", name).read_bytes()
    return content.replace(_FOREIGN_PICTURE, _EMPTY_PICTURE)
