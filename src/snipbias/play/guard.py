"""Who may talk to the server: pages that it served itself, under a name that is its own."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# The page asks nothing of any other machine, and the browser sees to it. Vue compiles in place.
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


class Guard:
    """ASGI middleware: refuses requests of other web pages, and tells the browser to load nothing.

    Any page in the user's browser can send requests to 127.0.0.1. One of another origin gives
    itself away by its Origin header, and one whose own name was made to point here (DNS
    rebinding) by the Host header.
    """

    def __init__(self, app: App, host: str) -> None:
        self.app = app
        self._host = host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
        elif not self._is_own(scope):
            await _refuse(scope, send)
        else:
            await self.app(scope, receive, _with_headers(send))

    def _is_own(self, scope: Scope) -> bool:
        values = [(name, value.decode("latin-1")) for name, value in scope["headers"]]
        hosts = [value for name, value in values if name == b"host"]
        origins = [value for name, value in values if name == b"origin"]
        return (
            len(hosts) == 1
            and is_own_name(hosts[0], self._host)
            and all(urlsplit(origin).netloc == hosts[0] for origin in origins)
        )


def is_own_name(host: str, served: str) -> bool:
    """Whether a Host header names this server.

    An address may: nobody else's name can be made one. Beside it only `localhost`, the name that
    the user gave, and, where it serves the network, this machine's.
    """
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return False
    if is_loopback(served):
        return is_loopback(name) or name == served
    return is_loopback(name) or _is_address(name) or name in {served, socket.gethostname().lower()}


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host."""
    if host == "localhost":
        return True
    return _is_address(host) and ipaddress.ip_address(host).is_loopback


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def _refuse(scope: Scope, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    text = b"refused: open the page by the address that snipbias printed."
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": text})


def _with_headers(send: Send) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            message = {**message, "headers": [*message.get("headers", ()), *added]}
        await send(message)

    return sending
