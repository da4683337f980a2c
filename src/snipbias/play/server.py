"""The local server."""

from __future__ import annotations

import contextlib
import secrets
import socket
import warnings
import webbrowser
from collections.abc import Callable
from functools import partial

from snipbias.base.errors import SnipbiasError
from snipbias.play.session import Session

ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" '
    'rx="7" fill="#0f766e"/><path d="M9 9l14 14M23 9L9 23" stroke="#fff" stroke-width="3" '
    'stroke-linecap="round"/></svg>'
)


def serve(
    session: Session, *, host: str, port: int, open_browser: bool, say: Callable[[str], None]
) -> None:
    """Serve the page until the user interrupts it.

    Args:
        session: the model, tasks and edits.
        host: the address to serve at.
        port: the port; 0 for any free one.
        open_browser: open the page.
        say: called with the address of the page.
    """
    import uvicorn
    from fastapi import FastAPI
    from nicegui import ui

    from snipbias.play.guard import Guard
    from snipbias.play.page import Page

    app = FastAPI(openapi_url=None)
    ui.run_with(
        app,
        root=partial(Page, session),
        title=f"snipbias · {session.lm.name}",
        favicon=ICON,
        language="en-US",
        dark=None,
        tailwind=False,
        binding_refresh_interval=None,
        show_welcome_message=False,
    )
    with _listening(host, port) as listener:
        bound = listener.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        token = secrets.token_urlsafe(16)
        url = f"http://{shown}:{bound}/?token={token}"
        config = uvicorn.Config(
            Guard(app, host, token),
            log_level="error",
            access_log=False,
            timeout_graceful_shutdown=1,
            server_header=False,
        )
        say(url)
        if open_browser:
            webbrowser.open(url)
        # nicegui inspects every object in the process, about which torch warns.
        warnings.filterwarnings("ignore", message=".*reduce_op.*", category=FutureWarning)
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        raise SnipbiasError(
            f"cannot serve at {host}, port {port} ({error.strerror or error}): give another "
            "--port (0 takes any that is free) or --host."
        ) from None
    return listener
