"""Write ``result.json``: the scores of a run, its training data and the protocol."""

import json
import math
import platform
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock

from stemsplit.errors import InputError
from stemsplit.evaluation.protocol import Protocol
from stemsplit.evaluation.rows import Differences, Rows, Spreads
from stemsplit.files import replacing

PACKAGES = ("stemsplit", "torch", "torchaudio", "lightning", "hydra-core", "musdb", "museval")
TEST_SCORED = "test_scored"
KEPT = (TEST_SCORED,)  # keys that stay when new results replace old ones


def check_result(path: Path, protocol: Protocol, fingerprint: str) -> None:
    """Raise `InputError` if a file has results of another protocol or of other songs."""
    previous = _read(path)
    if "scores" not in previous:  # no file, or only the count of test scorings
        return
    tag = previous.get("protocol", {}).get("tag")
    songs = previous.get("fingerprint", fingerprint)
    if (tag, songs) != (str(protocol), fingerprint):
        raise InputError(
            f"{path}: holds scores of {tag} (corpus {songs[:8]}), which cannot be compared with "
            f"scores of {protocol} (corpus {fingerprint[:8]}): set output=ANOTHER_FOLDER"
        )


def write_result(
    path: Path,
    rows: Rows,
    protocol: Protocol,
    differences: Differences | None = None,
    spreads: Spreads | None = None,
    **facts: Any,
) -> None:
    """Write `facts` (model, corpus, seed, …), versions of code and packages, protocol and scores.

    An existing file is replaced, except for its count of test scorings.
    """
    result = {
        **facts,
        "commit": commit(),
        "versions": {"python": platform.python_version()}
        | {package: version(package) for package in PACKAGES},
        "protocol": protocol.facts(),
        "scores": {
            name: {
                stem: {metric: score.facts() for metric, score in metrics.items()}
                for stem, metrics in row.scores.items()
            }
            for name, row in rows.items()
        },
        "frames": {
            name: {"songs": row.songs, "of": row.frames}
            | {"dropped": row.dropped, "notes": row.notes}
            for name, row in rows.items()
        },
        "differences": {
            pair: {
                stem: {metric: difference.facts() for metric, difference in metrics.items()}
                for stem, metrics in stems.items()
            }
            for pair, stems in (differences or {}).items()
        },
        "spreads": {
            model: {
                stem: {metric: spread._asdict() for metric, spread in metrics.items()}
                for stem, metrics in stems.items()
            }
            for model, stems in (spreads or {}).items()
        },
    }
    _update(path, lambda previous: result | {key: previous[key] for key in KEPT if key in previous})


def count_test_scoring(run: Path, corpus: str) -> int:
    """Increment and return the number of test scorings of a run on a corpus, in RUN/result.json.

    Scoring the test set repeatedly selects models on it, so readers should know the count.
    """

    def counted(previous: dict[str, Any]) -> dict[str, Any]:
        counts = previous.get(TEST_SCORED, {})
        return previous | {TEST_SCORED: counts | {corpus: counts.get(corpus, 0) + 1}}

    return int(_update(run / "result.json", counted)[TEST_SCORED][corpus])


def counted_as(corpus: str, root: Path) -> str:
    """The name under which test scorings of a corpus are counted.

    All corpora of ``data=folder`` have the name "folder", so the path of the corpus is used.
    """
    return str(root) if corpus == "folder" else corpus


def _update(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """Replace a file's content by `change(content)`, under a lock; return the new content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        result = change(_read(path))
        with replacing(path) as partial:
            text = json.dumps(standard(result), indent=2, allow_nan=False)
            partial.write_text(text + "\n", encoding="utf-8")
    return result


def standard(content: Any) -> Any:
    """Replace infinities and NaN, which JSON does not have, with "inf", "-inf" and None."""
    if isinstance(content, dict):
        return {name: standard(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [standard(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None if math.isnan(content) else str(content)
    return content


def _read(path: Path) -> dict[str, Any]:
    """Read a file; {} if it does not exist.

    A damaged file is renamed, so that new results do not overwrite it.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        content = None
    if isinstance(content, dict):
        return content
    renamed = path.with_name(f"{path.name}.damaged")
    path.replace(renamed)
    print(f"{path}: is damaged; it was renamed to {renamed.name}", file=sys.stderr)
    return {}


def commit() -> str | None:
    """Hash of the checked-out commit, with "+" if files are changed; None outside a clone."""
    folder = Path(__file__).resolve().parent

    def git(*words: str) -> str:
        command = ["git", "-C", str(folder), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != folder.parents[1]:
            return None
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
