"""What an offline W&B run holds: a reader of its ``run-ID.wandb`` file.

The file is a log as LevelDB has it (header, then blocks of 32 KiB, in which records are whole or
cut in parts), and each record is a protobuf message of `wandb.proto`.
"""

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

HEADER = b":W&B"
HEADER_LENGTH = 7  # with a magic number and a version
BLOCK = 32 * 1024
PART = struct.Struct("<IHB")  # checksum, length, kind
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass
class OfflineRun:
    """`history` by row, as it was logged; `files` of media and tables, with their names."""

    identity: str = ""
    name: str = ""
    group: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    steps_by: dict[str, str] = field(default_factory=dict)
    exit_code: int | None = None

    @property
    def logged(self) -> set[str]:
        return {name for row in self.history for name in row}


def offline_runs(folder: Path) -> list[OfflineRun]:
    """All of a run's folder, in the order in which they were begun, once they are written whole.

    (A process of W&B writes them, which may be some time behind when a run is finished.)
    """
    deadline = monotonic() + 20
    while True:
        runs = [read(path) for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))]
        if all(run.exit_code is not None for run in runs):
            return runs
        assert monotonic() < deadline, f"{folder}: holds a run without its end"
        sleep(0.05)


def read(path: Path) -> OfflineRun:
    run = OfflineRun()
    for content in records(path.read_bytes()):
        record = Record()
        record.ParseFromString(content)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run.identity, run.name = record.run.run_id, record.run.display_name
            run.group, run.tags = record.run.run_group, list(record.run.tags)
            run.config |= values(record.run.config.update)
        elif kind == "config":
            run.config |= values(record.config.update)
        elif kind == "history":
            run.history.append(values(record.history.item))
        elif kind == "summary":
            run.summary |= values(record.summary.update)
        elif kind == "metric":
            run.steps_by[record.metric.name or record.metric.glob_name] = record.metric.step_metric
        elif kind == "exit":
            run.exit_code = record.exit.exit_code
    return run


def values(items: Any) -> dict[str, Any]:
    """By name; what has parts of its own (a file, a setting's group) is a dictionary."""
    found: dict[str, Any] = {}
    for item in items:
        *path, name = [item.key] if item.key else list(item.nested_key)
        inside = found
        for part in path:
            inside = inside.setdefault(part, {})
        inside[name] = json.loads(item.value_json)
    return found


def records(content: bytes) -> Iterator[bytes]:
    assert content.startswith(HEADER[: len(content)])
    place, parts = HEADER_LENGTH, b""
    while place + PART.size <= len(content):
        left = BLOCK - place % BLOCK
        if left < PART.size:  # too little for another part
            place += left
            continue
        checksum, length, kind = PART.unpack_from(content, place)
        part = content[place + PART.size : place + PART.size + length]
        if len(part) < length:  # the rest is not written yet
            return
        assert zlib.crc32(bytes([kind]) + part) == checksum, f"damaged at byte {place}"
        assert (kind in (WHOLE, FIRST)) == (not parts), f"part {kind} at byte {place}"
        parts += part
        if kind in (WHOLE, LAST):
            yield parts
            parts = b""
        place += PART.size + length
