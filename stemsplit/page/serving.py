"""Serve the page until Ctrl-C."""

import errno
import ipaddress
import logging
import os
import socket
import sys
import webbrowser

import uvicorn

from stemsplit.errors import InputError
from stemsplit.page.folder import temporary_folder
from stemsplit.page.jobs import JobQueue
from stemsplit.page.models import Models
from stemsplit.page.server import Limits, Page
from stemsplit.page.work import separate_job


class Server(uvicorn.Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Without this, uvicorn would print a traceback for every request that it cuts off.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        await super().shutdown(sockets)


def serve(
    host: str,
    port: int,
    models: Models,
    limits: Limits,
    places: int,
    most_songs: int,
    open_browser: bool,
) -> None:
    """Serve the page until Ctrl-C, which raises `KeyboardInterrupt`.

    Raises `InputError` if the host or the port cannot be used.
    """
    with listening_socket(host, port) as listening, temporary_folder() as folder:
        queue = JobQueue(
            lambda job: separate_job(job, models), places, most_songs, limits.keep_minutes * 60
        )
        config = uvicorn.Config(
            Page(folder, queue, models, limits).application(host),
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=0,  # an open page never closes its connection by itself
        )
        address = address_of(listening)
        print(f"the page is at {address}; Ctrl-C ends the server", flush=True)
        if is_public(host):
            print(
                "everyone who can reach this machine can use the page: it has no password, and "
                "sends songs without encryption",
                file=sys.stderr,
            )
        if open_browser and has_screen():
            webbrowser.open(address)
        Server(config).run(sockets=[listening])


def listening_socket(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=100)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InputError(
                f"port {port} is in use; choose another with --port (0: any free port)"
            ) from None
        raise InputError(f"cannot listen on {host}, port {port}: {error.strerror}") from None


def address_of(listening: socket.socket) -> str:
    """The address at which a browser on this machine finds the page."""
    host, port = listening.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "localhost"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def is_public(host: str) -> bool:
    """Whether other machines can reach the server if it listens on `host`."""
    addresses = socket.getaddrinfo(host, None)
    return not all(ipaddress.ip_address(address[4][0]).is_loopback for address in addresses)


def has_screen() -> bool:
    """Whether a browser can open a window.

    Without a screen, Python might start a text browser in the terminal.
    """
    return sys.platform in ("darwin", "win32") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
