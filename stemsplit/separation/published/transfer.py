"""Receive a file over http or https, or copy a local file; continue an interrupted transfer."""

import errno
import http.client
import re
import socket
import ssl
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any, BinaryIO
from urllib.error import HTTPError, URLError
from urllib.request import (
    FileHandler,
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

from stemsplit.separation.published.addresses import encoded

TIMEOUT_SECONDS = 30.0  # longest time without a byte
BLOCK = 2**18  # bytes
# HTTP statuses of temporary failures: the server is overloaded, restarting, or behind a slow proxy.
TEMPORARY = {408, 425, 429, 500, 502, 503, 504}
CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")
LONGEST_REASON = 300  # characters of an error message, which may be untrusted
UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN}


class DroppedError(Exception):
    """The connection was lost or the server is overloaded; another attempt may succeed."""


class RefusedError(Exception):
    """The transfer failed, and another attempt would fail in the same way."""


class Transfer:
    """The transfer of one file from `address` to the file `part`.

    `size` is the expected number of bytes, if it is known. `resumable` says whether bytes that an
    earlier process left in `part` may be kept; the caller must then check the whole file.
    """

    def __init__(self, address: str, part: Path, size: int | None, resumable: bool) -> None:
        self.address = address
        self.part = part
        self.size = size
        self.resumable = resumable
        self.validator: str | None = None  # identifies the version of the file on the server

    @property
    def received(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def receive(self, progress: Callable[[int, int | None], object]) -> None:
        """Receive the rest of the file; call `progress(bytes, total)` after each block.

        `total` is None if it is unknown. If the server cannot send only the rest, or its file has
        changed, the whole file is received again.
        Raises `DroppedError`, `RefusedError`, and `OSError` if `part` cannot be written.
        """
        if not (self.resumable or self.validator):
            self.part.unlink(missing_ok=True)
        start = self.received
        if start and start == self.size:
            return
        headers = {"User-Agent": "stemsplit", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
            if self.validator:
                headers["If-Range"] = self.validator
        response = self.opened(Request(self.address, headers=headers))
        if response is None:
            return
        with response:
            start, total = self.extent(response, start)
            if self.size not in (None, total) and total is not None:
                raise RefusedError(f"the file on the server has {total} bytes, not {self.size}")
            with self.part.open("r+b" if start else "wb") as file:
                file.truncate(start)
                file.seek(start)
                self.copy(response, file, total, progress)
        if total is not None and self.received < total:
            raise DroppedError(f"it ended after {self.received} of {total} bytes")

    def copy(
        self,
        response: Any,
        file: BinaryIO,
        total: int | None,
        progress: Callable[[int, int | None], object],
    ) -> None:
        limit = total if total is not None else self.size
        while True:
            try:
                block = response.read1(BLOCK)
            except (OSError, http.client.HTTPException) as error:
                raise DroppedError(reason(error)) from None
            if not block:
                return
            file.write(block)
            progress(file.tell(), total)
            if limit is not None and file.tell() > limit:
                raise RefusedError(f"the server sends more than {limit} bytes")

    def opened(self, request: Request) -> Any:
        """The response of the server; None if the file is already complete."""
        try:
            return opener(request.type).open(request, timeout=TIMEOUT_SECONDS)
        except HTTPError as error:
            error.close()
            status = in_one_line(f"HTTP status {error.code} {error.reason}")
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                if not request.has_header("Range"):
                    raise RefusedError(f"{status}, but the whole file was requested") from None
                if error.headers.get("Content-Range") == f"bytes */{self.received}":
                    return None
                self.part.unlink(missing_ok=True)
                raise DroppedError("the partial file is longer than the server's") from None
            raise (DroppedError if error.code in TEMPORARY else RefusedError)(status) from None
        except URLError as error:
            cause = error.reason
            if isinstance(cause, socket.gaierror):
                raise RefusedError(f"no network, or the host is unknown: {reason(cause)}") from None
            if isinstance(cause, OSError) and cause.errno in UNREACHABLE:
                raise RefusedError(f"no network: {reason(cause)}") from None
            # If the cause is a string, the request itself is wrong, for example its scheme.
            final = isinstance(cause, (str, ssl.SSLCertVerificationError))
            if final or request.type == "file":
                raise RefusedError(reason(cause)) from None
            raise DroppedError(reason(cause)) from None
        except (ValueError, http.client.InvalidURL) as error:
            # The address itself was checked when the catalogue was read.
            raise RefusedError(
                f"a redirection or the proxy has an invalid address: {reason(error)}"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise DroppedError(reason(error)) from None

    def extent(self, response: Any, start: int) -> tuple[int, int | None]:
        """The position at which the response starts, and the total size if the server states it."""
        tag = response.headers.get("ETag", "")
        self.validator = tag if tag.startswith('"') else response.headers.get("Last-Modified")
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            return 0, stated_length(response.headers)
        stated = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if stated is not None:
            total = self.size if stated[3] == "*" else int(stated[3])
            # Without the total, it would be unknown whether this part completes the file.
            if total is not None and int(stated[1]) == start <= int(stated[2]) < total:
                return start, total
        self.part.unlink(missing_ok=True)
        raise DroppedError("the server sent another part of the file")


class Redirections(HTTPRedirectHandler):
    """Follows redirections to http and https. Raises `InputError` for other addresses."""

    inf_msg = "too many redirections: "  # how the error begins; the default has several lines

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        address = encoded(newurl, ("http", "https"))
        return super().redirect_request(req, fp, code, msg, headers, address)


def stated_length(headers: Message) -> int | None:
    """The stated length of the body, or None. Raises `RefusedError` if it is not one number."""
    values = ",".join(headers.get_all("Content-Length", []))
    lengths = {length.strip() for length in values.split(",")}  # RFC 9112 allows equal lengths
    if lengths == {""}:
        return None
    length = min(lengths)
    if len(lengths) > 1 or not re.fullmatch("[0-9]{1,18}", length):
        raise RefusedError(in_one_line(f"the server states the invalid Content-Length {values!r}"))
    return int(length)


def opener(scheme: str) -> OpenerDirector:
    """Return an opener for http and https. It opens ``file:`` only if `scheme` is ``file``."""
    director = OpenerDirector()
    handlers = [
        ProxyHandler(),
        HTTPHandler(),
        HTTPSHandler(),
        Redirections(),
        HTTPDefaultErrorHandler(),
        HTTPErrorProcessor(),
        UnknownHandler(),
    ]
    for handler in [*handlers, FileHandler()] if scheme == "file" else handlers:
        director.add_handler(handler)
    return director


def reason(error: object) -> str:
    """The message of an exception, in one line."""
    return in_one_line(getattr(error, "strerror", None) or str(error) or type(error).__name__)


def in_one_line(text: str) -> str:
    """Join lines, and shorten the text to `LONGEST_REASON`."""
    joined = " ".join(text.split())
    return joined if len(joined) <= LONGEST_REASON else f"{joined[:LONGEST_REASON]} …"
