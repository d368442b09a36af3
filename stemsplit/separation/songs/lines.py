"""Print what happens to each song, as text for people or as JSON for programs."""

import json
import sys
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from stemsplit.terminal.controls import harmless, quoted

# Every line of JSON has the keys `song` and `status`, and these. Keys that do not apply are null.
JSON_KEYS = ("stems", "seconds", "elapsed_seconds", "real_time_factor", "notes", "error")


class SeparatedSong(NamedTuple):
    """The result of separating a song.

    `paths` maps each stem to its file. `seconds` is the length of the song, and `elapsed_seconds`
    is the duration of the separation. `notes` are lines about losses, changes and clipped samples.
    """

    paths: dict[str, Path]
    seconds: float
    elapsed_seconds: float
    notes: list[str]

    @property
    def real_time_factor(self) -> float:
        """The time of the separation per second of the song."""
        return self.elapsed_seconds / self.seconds


class Lines:
    """Print lines from several threads. With `as_json`, stdout has only JSON, one line per song."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self._lock = Lock()

    def started(self, song: Path) -> None:
        self.print(quoted(song))

    def separated(self, song: Path, result: SeparatedSong) -> None:
        if result.notes:
            self.warn(f"{song}: {'; '.join(result.notes)}")
        lines = [quoted(path) for path in dict.fromkeys(result.paths.values())]
        lines.append(speed_text(result.seconds, result.elapsed_seconds))
        self.print("\n".join(lines))
        self._json(
            song,
            "separated",
            stems={stem: str(path) for stem, path in result.paths.items()},
            seconds=result.seconds,
            elapsed_seconds=result.elapsed_seconds,
            real_time_factor=result.real_time_factor,
            notes=result.notes,
        )

    def skipped(self, song: Path, paths: dict[str, Path]) -> None:
        self.print(f"{quoted(song)}: skipped, all its stems exist")
        self._json(song, "skipped", stems={stem: str(path) for stem, path in paths.items()})

    def failed(self, song: Path, error: str) -> None:
        self.warn(f"error: {error}")
        self._json(song, "failed", error=error)

    def print(self, text: str) -> None:
        """Print lines for people: on stderr with `as_json`, otherwise on stdout."""
        with self._lock:
            file = sys.stderr if self.as_json else sys.stdout
            print(harmless(text, keep="\n"), file=file, flush=True)

    def warn(self, text: str) -> None:
        """Print a line on stderr."""
        with self._lock:
            print(harmless(text), file=sys.stderr, flush=True)

    def _json(self, song: Path, status: str, **values: Any) -> None:
        if self.as_json:
            line = {"song": str(song), "status": status, **dict.fromkeys(JSON_KEYS), **values}
            with self._lock:
                print(json.dumps(line), flush=True)


def speed_text(seconds: float, elapsed_seconds: float) -> str:
    factor = elapsed_seconds / seconds
    return f"{seconds:.1f} s of audio in {elapsed_seconds:.1f} s, real-time factor {factor:.3f}"
