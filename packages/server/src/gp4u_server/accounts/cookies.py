"""The browser's cookies: out of script's reach, and of no use to a foreign page."""

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from fastapi import Request, Response

from gp4u_server.accounts.errors import CsrfRefused
from gp4u_server.accounts.types import SignedIn

CSRF_HEADER = "X-CSRF-Token"
REFRESH_PATH = "/api/v1/auth"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class Cookies:
    """Reads and writes the two cookies. `secure` when the platform is reached over https."""

    secure: bool
    origin: str

    @classmethod
    def of(cls, public_url: str) -> "Cookies":
        """For the platform at `public_url`."""
        parts = urlsplit(public_url)
        return cls(parts.scheme == "https", f"{parts.scheme}://{parts.netloc}")

    @property
    def access_name(self) -> str:
        """`__Host-` binds the cookie to this very host; browsers grant it only over https."""
        return "__Host-gp4u_access" if self.secure else "gp4u_access"

    @property
    def refresh_name(self) -> str:
        """`__Host-` would ask for the path `/`; the narrow path is worth more here."""
        return "__Secure-gp4u_refresh" if self.secure else "gp4u_refresh"

    def access_token(self, request: Request) -> str | None:
        """The access token in the request's cookies."""
        return request.cookies.get(self.access_name) or None

    def refresh_token(self, request: Request) -> str | None:
        """The refresh token in the request's cookies."""
        return request.cookies.get(self.refresh_name) or None

    def write(self, response: Response, signed_in: SignedIn, now: datetime) -> None:
        """Give the browser its tokens."""
        family_s = max(0, int((signed_in.refresh_expires_at - now).total_seconds()))
        for name, value, path, max_age_s in (
            (self.access_name, signed_in.access_token, "/", signed_in.access_ttl_s),
            (self.refresh_name, signed_in.refresh_token, REFRESH_PATH, family_s),
        ):
            response.set_cookie(
                name, value, max_age=max_age_s, path=path, httponly=True, samesite="lax", secure=self.secure
            )

    def clear(self, response: Response) -> None:
        """Take them away."""
        for name, path in ((self.access_name, "/"), (self.refresh_name, REFRESH_PATH)):
            response.delete_cookie(name, path=path, httponly=True, samesite="lax", secure=self.secure)

    def check_same_site(self, request: Request) -> None:
        """Raise CsrfRefused unless the browser says that our own page sent this.

        Sec-Fetch-Site decides where the browser sends it; older browsers send Origin; neither of the two means that
        we cannot know, and then the answer is no.
        """
        fetch_site = request.headers.get("sec-fetch-site")
        if fetch_site is not None:
            same = fetch_site in ("same-origin", "none")
        else:
            own = {self.origin, f"{request.url.scheme}://{request.headers.get('host', '')}"}
            same = request.headers.get("origin") in own
        if not same:
            raise CsrfRefused("This request did not come from a page of this platform.")
