"""Who may use the server, and what the command refuses."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import warnings
from typing import Any

import pytest

from families import tiny
from snipbias.cli import main
from snipbias.play import server
from snipbias.play.guard import HEADERS, Guard, is_loopback
from snipbias.play.session import Session
from toys import task


def test_names_of_the_server() -> None:
    named = ["127.0.0.1:8080", "localhost:80", "[::1]:8080", "localhost", "[::1]"]
    others = ["evil.example:8080", "127.0.0.1.evil.example", "192.168.0.5:80", "", "[::1", ":80"]
    for host in named + others:
        scope = {"type": "http", "headers": [(b"host", host.encode())]}
        assert Guard(None, "127.0.0.1")._is_own(scope) is (host in named), host  # type: ignore[arg-type]
        assert Guard(None, "0.0.0.0")._is_own(scope)  # type: ignore[arg-type]


def test_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "localhost", "::1", "127.9.9.9")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.0.5", "example.org", "")))


def through_guard(kind: str, headers: list[tuple[bytes, bytes]]) -> list[dict[str, Any]]:
    """What a guard for 127.0.0.1 sends for a request; the app behind it says yes to all."""
    sent: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if kind == "websocket":
            await send({"type": "websocket.accept"})
        else:
            await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Guard(app, "127.0.0.1")({"type": kind, "headers": headers}, None, send))  # type: ignore[arg-type]
    return sent


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_the_guard(kind: str) -> None:
    host = (b"host", b"127.0.0.1:8080")
    fine = [[host], [host, (b"origin", b"http://127.0.0.1:8080")]]
    other = [
        [],
        [(b"host", b"evil.example:8080")],
        [host, (b"host", b"evil.example")],
        [host, (b"origin", b"http://evil.example")],
        [host, (b"origin", b"http://127.0.0.1:8081")],  # another page of this machine
        [host, (b"origin", b"http://[::1")],  # no address at all
        [host, (b"origin", b"null")],  # a page in a sandbox, a file
        [host, (b"origin", b"http://127.0.0.1:8080"), (b"origin", b"http://evil.example")],
    ]
    for headers in fine:
        (first,) = through_guard(kind, headers)
        assert first["type"] == "websocket.accept" or first["status"] == 200
        if kind == "http":
            assert dict(first["headers"]) == {k.encode(): v.encode() for k, v in HEADERS.items()}
    for headers in other:
        first = through_guard(kind, headers)[0]
        assert first["type"] == "websocket.close" or first["status"] == 403


def test_the_guard_asks_for_its_token_once_and_then_for_the_cookie() -> None:
    def asked(query: bytes = b"", cookie: bytes = b"", kind: str = "http") -> dict[str, Any]:
        sent: list[dict[str, Any]] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": f"{kind}.response.start", "status": 200, "headers": []})

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"host", b"127.0.0.1:8080"), (b"cookie", cookie)]
        scope = {"type": kind, "headers": headers, "query_string": query, "path": "/"}
        asyncio.run(Guard(app, "127.0.0.1", "secret")(scope, None, send))  # type: ignore[arg-type]
        return {**sent[0], "headers": dict(sent[0].get("headers", ()))}

    welcome = asked(b"token=secret")
    assert welcome["status"] == 200
    cookie = welcome["headers"][b"set-cookie"]
    assert cookie == b"snipbias-8080=secret; HttpOnly; SameSite=Strict; Path=/"
    again = asked(cookie=b"a=b; snipbias-8080=secret")
    assert again["status"] == 200
    assert b"set-cookie" not in again["headers"]
    wrong = [(b"", b""), (b"token=", b""), (b"token=secre", b""), (b"token=s%C3%A9cret", b"x")]
    wrong += [(b"", b"snipbias-8081=secret"), (b"", b"snipbias-8080=")]
    assert {asked(*words)["status"] for words in wrong} == {403}
    assert asked(kind="websocket")["type"] == "websocket.close"
    assert asked(kind="lifespan")["type"] == "lifespan.response.start"  # nobody's request


def refused(capsys, *argv: object) -> str:
    with pytest.raises(SystemExit) as stop:
        main(["play", "demo", "--no-browser", *map(str, argv)])
    assert stop.value.code == 1
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = [line for line in said.err.splitlines() if line.startswith("error: ")]
    return line


def test_a_missing_package_is_named(capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "nicegui", None)
    assert "pip install 'snipbias[play]'" in refused(capsys)


def test_a_missing_edit_is_named(capsys) -> None:
    pytest.importorskip("nicegui")
    assert "there is no edit at nowhere" in refused(capsys, "--edit", "nowhere")


def test_a_port_that_is_taken_is_named(capsys) -> None:
    pytest.importorskip("nicegui")
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        assert f"cannot serve at 127.0.0.1, port {port}" in refused(capsys, "--port", port)
    assert "cannot serve at no.such.host.invalid" in refused(
        capsys, "--host", "no.such.host.invalid"
    )


def test_another_host_is_warned_of(capsys, monkeypatch) -> None:
    pytest.importorskip("nicegui")
    monkeypatch.setattr("snipbias.play.server.serve", lambda session, **how: None)
    with warnings.catch_warnings():
        for host, is_told in (("0.0.0.0", True), ("localhost", False)):
            with pytest.raises(SystemExit) as stop:
                main(["play", "demo", "--host", host, "--no-browser"])
            assert stop.value.code == 0
            assert ("warning: with --host 0.0.0.0" in capsys.readouterr().err) is is_told


def test_the_page_is_served_behind_its_token_until_an_interrupt(monkeypatch) -> None:
    nicegui, uvicorn = (pytest.importorskip(name) for name in ("nicegui", "uvicorn"))
    opened: list[str] = []
    told: list[str] = []
    served: list[dict] = []

    def run(self: object, sockets: list) -> None:
        (listener,) = sockets
        served.append({"config": self.config, "port": listener.getsockname()[1]})
        raise KeyboardInterrupt

    monkeypatch.setattr(uvicorn.Server, "run", run)
    monkeypatch.setattr(nicegui.ui, "run_with", lambda app, **how: served.append(how))
    monkeypatch.setattr(server.webbrowser, "open", opened.append)
    session = Session(tiny("llama"), [], [task()])
    for wants in (False, True):
        how = {"host": "127.0.0.1", "port": 0, "open_browser": wants}
        server.serve(session, **how, say=told.append)
    page, first, _, second = served
    assert (page["title"], page["root"].args) == ("snipbias · llama", (session,))
    assert opened == told[1:]
    for url, asked in zip(told, (first, second), strict=True):
        guard = asked["config"].app
        assert isinstance(guard, Guard)
        assert url == f"http://127.0.0.1:{asked['port']}/?token={guard._token}"
    assert first["config"].app._token != second["config"].app._token
