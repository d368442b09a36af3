"""A stand-in for the W&B server: it takes runs and keeps the lines of their histories.

As a process of its own, ``python wandb_server.py FILE``: FILE gets its port, and it ends when it is
killed, as a network does.
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


class StandIn(ThreadingHTTPServer):
    """`histories` by run: what a run page would draw."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.histories: dict[str, list[dict[str, Any]]] = {}

    @property
    def environment(self) -> dict[str, str]:
        """For processes that are to find it."""
        return {
            "WANDB_BASE_URL": f"http://127.0.0.1:{self.server_address[1]}",
            "WANDB_API_KEY": 40 * "a",
        }

    def __enter__(self) -> "StandIn":
        Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StandIn

    def log_message(self, *message: object) -> None: ...

    def answer(self, found: Any) -> None:
        content = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def said(self) -> bytes:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content

    def do_GET(self) -> None:
        self.answer({})

    def do_PUT(self) -> None:
        self.said()
        self.answer({})

    def do_POST(self) -> None:
        asked = json.loads(self.said())
        if self.path.endswith("/file_stream"):
            self.take_history(self.path.split("/")[-2], asked)
            self.answer({"exitcode": None, "limits": {}})
            return
        query = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
        name = asked.get("variables", {}).get("name")
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

    def take_history(self, name: str, sent: dict[str, Any]) -> None:
        if lines := (sent.get("files") or {}).get("wandb-history.jsonl"):
            start, rows = lines["offset"], [json.loads(line) for line in lines["content"]]
            self.server.histories[name][start : start + len(rows)] = rows

    def project(self) -> dict[str, Any]:
        return {"id": "1", "name": "project", "entity": {"id": "1", "name": "me"}}

    def run(self, name: str) -> dict[str, Any] | None:
        """As it is; None where there is none."""
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
    with StandIn() as server:
        Path(sys.argv[1]).write_text(json.dumps(server.environment))
        sys.stdin.read()
