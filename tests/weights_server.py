"""A local server of small weights in the layouts of open-unmix and torchaudio.

The server misbehaves on demand: see `Server.faults`.
"""

import hashlib
import io
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import torchaudio
from openunmix.model import OpenUnmix

TARGETS = ("vocals", "drums", "bass", "other")
SOURCES = ("drums", "bass", "other", "vocals")
HDEMUCS = "hdemucs_high_trained.pt"


class Server:
    """Files by name, and what goes wrong.

    `faults` holds a list for each name; each request takes the first item, and is answered
    properly when the list is empty: a status (403), "short" (the connection breaks off in the
    middle), "slow" (it pauses in the middle), "wrong" (other bytes), "longer" (more bytes, with
    their number), "no ranges", "no length", "wrong range", "redirect ADDRESS", "page" (HTML with
    status 200) or "raw HEAD" (this text in place of the status line and the headers).
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[int | str]] = {}
        self.pause_seconds = 0.0
        self.requests: list[tuple[str, str | None]] = []  # name and range

    def entry(self, name: str, **changes: Any) -> dict[str, Any]:
        """The catalogue's entry of a file, with its true digest and size."""
        content = self.files[name]
        digest = hashlib.sha256(content).hexdigest()
        facts = {"address": f"{self.address}/{name}", "sha256": digest, "size": len(content)}
        return {key: value for key, value in {**facts, **changes}.items() if value is not None}


@contextmanager
def serving() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            pass

        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            asked = self.headers.get("Range")
            server.requests.append((name, asked))
            faults = server.faults.get(name, [])
            answer(self, server, name, asked, faults.pop(0) if faults else None)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server = Server(f"http://127.0.0.1:{http.server_port}")
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


def answer(
    request: BaseHTTPRequestHandler,
    server: Server,
    name: str,
    asked: str | None,
    fault: int | str | None,
) -> None:
    if isinstance(fault, int) or name not in server.files:
        request.send_error(fault if isinstance(fault, int) else 404)
        return
    if isinstance(fault, str) and fault.startswith("redirect "):
        request.send_response(302)
        request.send_header("Location", fault.removeprefix("redirect "))
        request.send_header("Content-Length", "0")
        request.end_headers()
        return
    content = server.files[name]
    if isinstance(fault, str) and fault.startswith("raw "):
        request.wfile.write(fault.removeprefix("raw ").encode("latin-1") + b"\r\n\r\n" + content)
        request.close_connection = True
        return
    content = {"wrong": b"x" * len(content), "longer": content + b"x", "page": b"<html>"}.get(
        str(fault), content
    )
    start = 0
    if asked is not None and fault != "no ranges":
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
        if start >= len(content):
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(content)}")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        request.send_response(206)
        stated = 0 if fault == "wrong range" else start
        request.send_header("Content-Range", f"bytes {stated}-{len(content) - 1}/{len(content)}")
    else:
        request.send_response(200)
    body = content[start:]
    if fault != "no length":
        request.send_header("Content-Length", str(len(body)))
    request.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()[:8]}"')
    request.end_headers()
    half = len(body) // 2
    request.wfile.write(body[:half])
    request.wfile.flush()
    if fault == "short":
        request.close_connection = True
        return
    time.sleep(server.pause_seconds if fault == "slow" else 0)
    try:
        request.wfile.write(body[half:])
    except OSError:  # the client has given up
        request.close_connection = True


@cache
def open_unmix(target: str) -> bytes:
    """Random weights of open-unmix for one target: windows of 256 samples, hidden size 8."""
    torch.manual_seed(TARGETS.index(target))
    model = OpenUnmix(nb_channels=2, hidden_size=8, nb_layers=1, nb_bins=129, max_bin=80)
    return saved(model.state_dict())


@cache
def hdemucs() -> bytes:
    torch.manual_seed(0)
    model = torchaudio.models.HDemucs(list(SOURCES), channels=4, nfft=1024, depth=5)
    return saved(model.state_dict())


def saved(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def publish(server: Server, path: Path, names: tuple[str, ...] = ("umxhq", "hdemucs")) -> None:
    """Serve small weights, and write a catalogue with the entries umxhq and hdemucs_musdb_plus."""
    entries: dict[str, dict[str, Any]] = {}
    if "umxhq" in names:
        server.files |= {f"{target}-{number:08}.pth": open_unmix(target) for number, target in
                         enumerate(TARGETS)}  # fmt: skip
        files = [server.entry(name) for name in server.files if name.endswith(".pth")]
        entries["umxhq"] = {"stems": list(TARGETS), "files": files, "licence": "MIT"}
    if "hdemucs" in names:
        server.files[HDEMUCS] = hdemucs()
        entries["hdemucs_musdb_plus"] = {
            "stems": list(SOURCES),
            "files": [server.entry(HDEMUCS)],
            "saw_musdb18_test": "yes",
            "trained_on": "MUSDB18-HQ, all songs",
        }
    write_catalogue(path, entries)


def write_catalogue(path: Path, entries: dict[str, dict[str, Any]]) -> None:
    """Write TOML, in which JSON's strings, numbers and lists are valid."""
    lines = []
    for name, entry in entries.items():
        lines.append(f"[{name}]")
        for key, value in entry.items():
            lines.append(f"{key} = {inline(value)}")
    path.write_text("\n".join(lines), encoding="utf-8")


def inline(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key} = {inline(item)}' for key, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(inline, value))}]"
    return json.dumps(value)


def environment(folder: Path) -> dict[str, str]:
    """Variables that make a command use the catalogue and the cache in `folder`, and no proxy."""
    return {
        "STEMSPLIT_MODELS": str(folder / "models.toml"),
        "STEMSPLIT_CACHE": str(folder / "cache"),
        "no_proxy": "127.0.0.1",
    }


@contextmanager
def published(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Serve both models, and make `stemsplit` use them, without pauses between tries."""
    with serving() as server:
        publish(server, folder / "models.toml")
        for name, value in environment(folder).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(
            "stemsplit.separation.published.download.PAUSES_SECONDS", (0.0, 0.0, 0.0)
        )
        yield server
