"""A fake W&B server that accepts runs and keeps their histories.

``python wandb_server.py FILE`` runs it in a separate process, which can be killed to simulate a
lost connection. It writes the environment variables for its clients to FILE.
"""

import gzip
import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

USER = {"id": "1", "username": "me", "entity": "me", "flags": "{}", "teams": {"edges": []}}


class FakeServer(ThreadingHTTPServer):
    """The server; `histories` has the rows of each run."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.histories: dict[str, list[dict[str, Any]]] = {}

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables with which a process uses this server."""
        return {
            "WANDB_BASE_URL": f"http://127.0.0.1:{self.server_address[1]}",
            "WANDB_API_KEY": 40 * "a",
        }

    def __enter__(self) -> "FakeServer":
        Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeServer

    def log_message(self, *message: object) -> None: ...

    def answer(self, response: Any) -> None:
        content = json.dumps(response).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def body(self) -> bytes:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content

    def do_GET(self) -> None:
        self.answer({})

    def do_PUT(self) -> None:
        self.body()
        self.answer({})

    def do_POST(self) -> None:
        request = json.loads(self.body())
        if self.path.endswith("/file_stream"):
            self.take_history(self.path.split("/")[-2], request)
            self.answer({"exitcode": None, "limits": {}})
            return
        query = re.search(r"(?:query|mutation)\s+(\w+)", request["query"])
        name = request.get("variables", {}).get("name")
        kind = query[1] if query else ""
        if kind == "RunResumeStatus":
            self.answer({"data": {"model": self.project() | {"bucket": self.run(name)}}})
        elif kind == "UpsertBucket":
            inserted = name not in self.server.histories
            self.server.histories.setdefault(name, [])
            self.answer(
                {"data": {"upsertBucket": {"bucket": self.run(name), "inserted": inserted}}}
            )
        elif kind == "CreateRunFiles":
            self.answer(
                {"data": {"createRunFiles": {"runID": "1", "uploadHeaders": [], "files": []}}}
            )
        else:
            self.answer({"data": {"viewer": USER, "serverInfo": {"features": []}}})

    def take_history(self, name: str, request: dict[str, Any]) -> None:
        if lines := (request.get("files") or {}).get("wandb-history.jsonl"):
            start, rows = lines["offset"], [json.loads(line) for line in lines["content"]]
            self.server.histories[name][start : start + len(rows)] = rows

    def project(self) -> dict[str, Any]:
        return {"id": "1", "name": "project", "entity": {"id": "1", "name": "me"}}

    def run(self, name: str) -> dict[str, Any] | None:
        """The current state of a run, or None if it does not exist."""
        if name not in self.server.histories:
            return None
        history = self.server.histories[name]
        return {
            **{"id": "1", "name": name, "displayName": name, "project": self.project()},
            **{"config": "{}", "wandbConfig": '{"t": 1}', "summaryMetrics": "{}", "tags": []},
            "historyLineCount": len(history),
            "historyTail": json.dumps([json.dumps(row) for row in history[-1:]]),
            **{"eventsLineCount": 0, "eventsTail": "[]", "logLineCount": 0},
        }


if __name__ == "__main__":
    with FakeServer() as server:
        Path(sys.argv[1]).write_text(json.dumps(server.environment))
        sys.stdin.read()
