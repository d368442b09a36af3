"""``result.json``: the scores of a run, its training data, and the protocol."""

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
from stemsplit.evaluation.tables import Differences, Rows, Spreads
from stemsplit.files import replacing

PACKAGES = ("stemsplit", "torch", "torchaudio", "lightning", "hydra-core", "musdb", "museval")
TEST_SCORED = "test_scored"
KEPT = (TEST_SCORED,)  # what a file of results keeps when new ones take their place


def check_result(path: Path, protocol: Protocol, fingerprint: str) -> None:
    """Raise `InputError` where there are results of another protocol or other songs."""
    before = _read(path)
    if "scores" not in before:  # nothing, or no more than how often a run was scored
        return
    found = before.get("protocol", {}).get("tag"), before.get("fingerprint", fingerprint)
    if found != (str(protocol), fingerprint):
        raise InputError(
            f"{path}: holds scores of {found[0]} (corpus {found[1][:8]}), which are not to be "
            f"mixed with those of {protocol} (corpus {fingerprint[:8]}): say output=ANOTHER_FOLDER"
        )


def write_result(
    path: Path,
    rows: Rows,
    protocol: Protocol,
    differences: Differences | None = None,
    spreads: Spreads | None = None,
    **facts: Any,
) -> None:
    """`facts` (model, corpus, seed, …), what the code was, the scores and how they were taken.

    How often the test songs were scored stays as it was counted.
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
                stem: {metric: found.facts() for metric, found in metrics.items()}
                for stem, metrics in stems.items()
            }
            for pair, stems in (differences or {}).items()
        },
        "spreads": {
            model: {
                stem: {metric: found._asdict() for metric, found in metrics.items()}
                for stem, metrics in stems.items()
            }
            for model, stems in (spreads or {}).items()
        },
    }
    _update(path, lambda before: result | {key: before[key] for key in KEPT if key in before})


def count_test_scoring(run: Path, corpus: str) -> int:
    """Count in RUN/result.json that the run was scored on a corpus's test songs; how often by now.

    Scoring the test set repeatedly selects models on it, so readers should know the count.
    """

    def counted(before: dict[str, Any]) -> dict[str, Any]:
        counts = before.get(TEST_SCORED, {})
        return before | {TEST_SCORED: counts | {corpus: counts.get(corpus, 0) + 1}}

    return int(_update(run / "result.json", counted)[TEST_SCORED][corpus])


def counted_as(corpus: str, root: Path) -> str:
    """A corpus by its name; one of anyone's own songs by its folder."""
    return str(root) if corpus == "folder" else corpus


def _update(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """Exchange a file's content for what `change` makes of it; one process at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        result = change(_read(path))
        with replacing(path) as partial:
            text = json.dumps(standard(result), indent=2, allow_nan=False)
            partial.write_text(text + "\n", encoding="utf-8")
    return result


def standard(content: Any) -> Any:
    """The same in standard JSON, which has no infinity and no NaN: as "inf", "-inf" and null."""
    if isinstance(content, dict):
        return {name: standard(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [standard(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None if math.isnan(content) else str(content)
    return content


def _read(path: Path) -> dict[str, Any]:
    """What is there. A damaged file is put aside: the results of a training are not lost for it."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        content = None
    if isinstance(content, dict):
        return content
    aside = path.with_name(f"{path.name}.damaged")
    path.replace(aside)
    print(f"{path}: was damaged, and lies as {aside.name} now", file=sys.stderr)
    return {}


def commit() -> str | None:
    """The commit of the checkout that runs, with a plus where it was changed; None in a wheel."""
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
