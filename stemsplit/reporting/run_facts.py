"""Facts about the training and the scores of a checkpoint, from the folder of its run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stemsplit.reporting.documents import RESULT, read_json

TRAINING = ("model", "targets", "trained_on", "seed", "steps", "commit", "versions")
BEST = "best.ckpt"  # the checkpoint that `stemsplit train` scores


def run_facts(checkpoint: Path) -> dict[str, Any]:
    """Return the facts that the result files of a run state about one of its checkpoints.

    - ``file``, ``run``: the names of the file and of the run's folder, without their paths;
    - the keys in `TRAINING`, with their values from the run's ``result.json``;
    - ``weights``: the weights that the training started with, see `short_name`;
    - ``test_scored``: how often the run was scored on the test songs of each corpus;
    - ``results``: one entry for each result file that scores this checkpoint. An entry contains
      ``protocol`` and ``fingerprint`` of the songs (if recorded), ``scores`` of the checkpoint and
      of the mixture, and ``row``, the name of the checkpoint in ``scores``.

    For a checkpoint outside the folder of a run, the only fact is ``file``. Raises `InputError` if
    a result file is damaged.
    """
    run = checkpoint.parent
    facts: dict[str, Any] = {"file": checkpoint.name}
    if not (run / "config.yaml").is_file():
        return facts
    facts["run"] = run.resolve().name
    path = run / "result.json"
    if path.is_file():
        result = read_json(path, {})
        facts |= {name: result[name] for name in TRAINING if name in result}
        if "weights" in result:
            facts["weights"] = short_name(result["weights"])
        # The name of a corpus may be a path (see `counted_as`), of which the last part is kept.
        counts = result.get("test_scored", {})
        facts["test_scored"] = {Path(corpus).name: count for corpus, count in counts.items()}
    return {**facts, "results": list(_results(run, checkpoint.name))}


def short_name(weights: str) -> str:
    """The name of a published model, or RUN/FILE for the path of a checkpoint."""
    return "/".join(Path(weights).parts[-2:])


def _results(run: Path, checkpoint: str) -> Iterator[dict[str, Any]]:
    paths = [*sorted(run.glob("evaluations/*/result.json"))]
    if checkpoint == BEST:
        paths = [run / "result.json", run / "test/result.json", *paths]
    for path in paths:
        # A file without scores contains only the count of test scorings.
        if not path.is_file() or "scores" not in read_json(path, {}):
            continue
        result = read_json(path, RESULT)
        row = _row(result, checkpoint)
        if row in result["scores"]:
            scores = {row: result["scores"][row]}
            if "mixture" in result["scores"]:
                scores = {"mixture": result["scores"]["mixture"], **scores}
            kept: dict[str, Any] = {
                name: result[name] for name in ("protocol", "fingerprint") if name in result
            }
            yield kept | {"row": row, "scores": scores}


def _row(result: dict[str, Any], checkpoint: str) -> str | None:
    """The name of the checkpoint's row in a result file; None if not exactly one row fits."""
    if "checkpoints" not in result:
        return result.get("model")
    names = [name for name, path in result["checkpoints"].items() if Path(path).name == checkpoint]
    return names[0] if len(names) == 1 else None
