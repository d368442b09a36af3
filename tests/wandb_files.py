"""Read the ``run-ID.wandb`` file of an offline W&B run.

The file has LevelDB's log format: a header, then blocks of 32 KiB with complete or split records.
Each record is a protobuf message of `wandb.proto`.
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
HEADER_LENGTH = 7  # including a magic number and a version
BLOCK = 32 * 1024
PART = struct.Struct("<IHB")  # checksum, length, kind
COMPLETE, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass
class OfflineRun:
    """Content of an offline run; `history` has one dictionary per logged row."""

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
    """Wait until all offline runs of a run folder are complete; return them in order of creation.

    A background process of W&B writes the files, and may finish after the run.
    """
    deadline = monotonic() + 20
    while True:
        runs = [read(path) for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))]
        if all(run.exit_code is not None for run in runs):
            return runs
        assert monotonic() < deadline, f"{folder}: a run is incomplete"
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
    """The values of protobuf items by name, with nested keys as nested dictionaries."""
    nested: dict[str, Any] = {}
    for item in items:
        *path, name = [item.key] if item.key else list(item.nested_key)
        group = nested
        for part in path:
            group = group.setdefault(part, {})
        group[name] = json.loads(item.value_json)
    return nested


def records(content: bytes) -> Iterator[bytes]:
    assert content.startswith(HEADER[: len(content)])
    place, parts = HEADER_LENGTH, b""
    while place + PART.size <= len(content):
        left = BLOCK - place % BLOCK
        if left < PART.size:  # no room for another part
            place += left
            continue
        checksum, length, kind = PART.unpack_from(content, place)
        part = content[place + PART.size : place + PART.size + length]
        if len(part) < length:  # the rest is not written yet
            return
        assert zlib.crc32(bytes([kind]) + part) == checksum, f"damaged at byte {place}"
        assert (kind in (COMPLETE, FIRST)) == (not parts), f"part {kind} at byte {place}"
        parts += part
        if kind in (COMPLETE, LAST):
            yield parts
            parts = b""
        place += PART.size + length
