"""The built web app: its files, and its one page for every address that is not the API's."""

from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse, Response
from starlette.exceptions import HTTPException

from gp4u_server.api.headers import inline_script_hashes, page_policy

WEB_DIST = Path(__file__).resolve().parent.parent / "web_dist"
_NOT_PAGES = ("api/", "agent/", "health", "readiness", "metrics", "openapi.json", "docs", "redoc")
_IMMUTABLE = "public, max-age=31536000, immutable"
_NOT_BUILT = """<!doctype html><meta charset="utf-8"><title>GP4U</title>
<body style="font:16px/1.5 system-ui;max-width:42rem;margin:4rem auto;padding:0 1rem">
<h1>GP4U is running</h1><p>The web app has not been built yet: run <code>make web</code> and reload this page.
The API is at <a href="/docs">/docs</a>, and the <code>gp4u</code> command works already.</p>"""


@dataclass(frozen=True)
class WebApp:
    """Serves one built folder; looks at it anew on each request, so a rebuild needs no restart."""

    folder: Path

    def router(self) -> APIRouter:
        """The catch-all. Include it last."""
        router = APIRouter(include_in_schema=False)
        router.add_api_route("/{path:path}", self.serve, methods=["GET", "HEAD"])
        return router

    async def serve(self, path: str, request: Request) -> Response:
        """A file of the build, or the page."""
        if path.startswith(_NOT_PAGES):
            raise HTTPException(404)
        file = self._file(path)
        if file is not None:
            hashed = path.startswith("assets/")
            return FileResponse(file, headers={"Cache-Control": _IMMUTABLE if hashed else "no-cache"})
        if path.startswith("assets/"):
            raise HTTPException(404)  # a page here would be cached as a script
        return self._page()

    def _file(self, path: str) -> Path | None:
        if not path or "\0" in path or path == "index.html":
            return None
        file = (self.folder / path).resolve()
        return file if file.is_relative_to(self.folder.resolve()) and file.is_file() else None

    def _page(self) -> Response:
        index = self.folder / "index.html"
        page = index.read_text("utf-8") if index.is_file() else _NOT_BUILT
        policy = page_policy(inline_script_hashes(page))
        return HTMLResponse(page, headers={"Content-Security-Policy": policy, "Cache-Control": "no-cache"})
