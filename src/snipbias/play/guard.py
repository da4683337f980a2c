"""Who may talk to the server: only those who know its token, from a page that it served."""

from __future__ import annotations

import ipaddress
import re
from hmac import compare_digest

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

# The browser must not contact any other machine. Vue compiles in place, hence unsafe-eval.
POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "style-src 'self' 'unsafe-inline' data: blob:; frame-ancestors 'none'; form-action 'self'; "
    "base-uri 'none'; object-src 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
REFUSED = "refused: open the page with the full address that snipbias printed."


class Guard:
    """ASGI middleware that refuses foreign requests and forbids the browser to load anything else.

    Other users of the machine do not know the token, which is in the address first and in a cookie
    afterwards. Any web page in the user's browser can also send requests to 127.0.0.1: one of
    another origin is recognised by its Origin header, and one whose name was made to point here
    (DNS rebinding) by its Host header.

    Args:
        app: the application.
        host: the address that it is served at.
        token: the secret; None requires none.
    """

    def __init__(self, app: ASGIApp, host: str, token: str | None = None) -> None:
        self.app = app
        self._host = host
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        if not (self._is_own(scope) and self._knows_token(scope)):
            is_socket = scope["type"] == "websocket"
            refuse = WebSocketClose(1008) if is_socket else PlainTextResponse(REFUSED, 403)
            await refuse(scope, receive, send)
            return

        async def add_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                asked = HTTPConnection(scope)
                if self._token and "token" in asked.query_params:
                    cookie = f"{_cookie(asked)}={self._token}; HttpOnly; SameSite=Strict; Path=/"
                    headers.append("set-cookie", cookie)
            await send(message)

        await self.app(scope, receive, add_headers)

    def _is_own(self, scope: Scope) -> bool:
        headers = Headers(scope=scope)
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or any(origin.partition("://")[2] != hosts[0] for origin in origins):
            return False
        name = re.sub(r":\d+$", "", hosts[0]).strip("[]").rstrip(".")
        return not is_loopback(self._host) or is_loopback(name) or name == self._host

    def _knows_token(self, scope: Scope) -> bool:
        if self._token is None:
            return True
        asked = HTTPConnection(scope)
        given = asked.cookies.get(_cookie(asked), ""), asked.query_params.get("token", "")
        return any(compare_digest(token.encode(), self._token.encode()) for token in given)


def _cookie(asked: HTTPConnection) -> str:
    """The cookie's name, with the port, since all ports of a machine share their cookies."""
    return f"snipbias-{asked.headers['host'].rpartition(':')[2]}"


def is_loopback(host: str) -> bool:
    """Whether an address can be reached only from this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
