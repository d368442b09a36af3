"""Sweep settings on a downsampled training set, and repeat some trials on the full set."""

import json
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from experiments.study.plan import Plan, Sweep
from experiments.study.trainings import succeed
from stemsplit.sweeps.study import open_study, trials_in

FACTS = ("commit", "versions", "trained_on")  # about the first trial


def carry_out(plan: Plan, sweep: Sweep, folder: Path) -> dict[str, Any]:
    """Run or resume the sweep; return its trials and the ranking of the repeated ones."""
    words = [*sweep.settings, *plan.train, *plan.added]
    succeed("train", "-m", *words, f"hydra.sweep.dir={folder}")
    succeed("report", "ranking", str(folder), "--trials", str(sweep.trials), *sweep.full)
    complete = trials_in(open_study(folder), TrialState.COMPLETE)
    ranking = json.loads((folder / "ranking.json").read_text())
    result = json.loads((folder / str(complete[0].number) / "result.json").read_text())
    return {
        **{name: result[name] for name in FACTS},
        "trials": [{**trial.params, "value": trial.value} for trial in complete],
        "ranking": ranking,
    }
