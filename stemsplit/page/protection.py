"""Refuse requests that other web sites make through a visitor's browser; add security headers."""

import ipaddress
import socket
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    # The page loads its own files only, and scripts inside its HTML do not run.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Protection:
    """Middleware that checks the headers Host and Origin.

    A web site can make its own name point to 127.0.0.1 ("DNS rebinding"). A browser then believes
    that this page belongs to the site, so scripts of the site can read the page. The header Host
    of such a request contains the name of the site. So Host must be an IP address, localhost, the
    name of this machine, or the `host` that the server was started with. All requests except GET
    and HEAD must come from the page itself, or from a program that is not a browser.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self.app = app
        machine = socket.gethostname().lower()
        self.names = {"localhost", host.lower(), machine, f"{machine}.local"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        headers = Headers(scope=scope)
        answer: ASGIApp = self.app
        if not self.is_own_name(headers.get("host", "")):
            error = "unknown host name; open the page by IP address, or start it with --host NAME"
            answer = JSONResponse({"error": error}, 421)
        elif scope["method"] not in ("GET", "HEAD") and not is_same_origin(headers):
            answer = JSONResponse({"error": "requests from other sites are refused"}, 403)
        await answer(scope, receive, send_with_headers)

    def is_own_name(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name in self.names or is_address(name)


def is_address(name: str) -> bool:
    """Whether a host is an IP address, which no site can claim as its own name."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_same_origin(headers: Headers) -> bool:
    """Whether a request comes from the page or from a program that is not a browser.

    Browsers send the header Origin with all requests except GET and HEAD. Without Origin, the
    header Sec-Fetch-Site decides. Other programs send neither header, and are accepted.
    """
    origin = headers.get("origin")
    if origin is not None:
        try:
            return urlsplit(origin).netloc.lower() == headers["host"].lower()
        except ValueError:
            return False
    return headers.get("sec-fetch-site", "same-origin") == "same-origin"
