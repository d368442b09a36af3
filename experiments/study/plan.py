"""The plans of the study: `experiments/studies/NAME.yaml`."""

from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stemsplit.errors import InputError

PLANS = Path(__file__).resolve().parent.parent / "studies"
# Settings for a test of an experiment on the demo songs.
SMALL = [
    "data=demo", "epochs=1", "chunks_per_track=2", "chunk_seconds=1", "data.batch_size=4",
    "callbacks.excerpts.count=1",
]  # fmt: skip
LEAST_TRIALS = 3  # fewest trials that `stemsplit report ranking` accepts
Settings = list[str]


class Sweep(BaseModel):
    """A sweep on a downsampled training set.

    After the sweep, `trials` of its trials, evenly spaced from the best to the worst, are trained
    again on the full training set, with the settings `full`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    settings: Settings
    trials: int
    full: Settings = []


class Plan(BaseModel):
    """An experiment: which networks are trained, and what is compared.

    Each of `runs` is trained with the settings `train`, its own settings, the settings `added` on
    the command line, and each of `seeds`. Then all runs are scored together on the test songs with
    the settings `evaluate`, if `scored`. `published` holds scores from papers, with their source,
    to print beside ours. A run may end with an error if `may_fail`; the error is then a part of the
    result. `measures` are further results, see `experiments.study.measures`. `small` are settings
    for a test on the demo songs. An experiment may have a `sweep` instead of runs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    question: str
    command: str
    cost: str
    answer: str
    train: Settings
    added: Settings = []
    runs: dict[str, Settings] = {}
    sweep: Sweep | None = None
    seeds: Annotated[list[int], Field(min_length=1)] = [0]
    scored: bool = True
    evaluate: Settings = []
    published: dict[str, dict[str, dict[str, float]]] = {}
    may_fail: bool = False
    measures: list[str] = []
    small: Settings = []

    @model_validator(mode="after")
    def _has_something_to_train(self) -> Self:
        if bool(self.runs) == (self.sweep is not None):
            raise ValueError("give either runs or a sweep")
        return self

    def with_settings(self, settings: Settings) -> Self:
        """Add settings to those of all runs. Raises `InputError` for names and seeds of runs."""
        if fixed := [word for word in settings if word.startswith(("name=", "seed="))]:
            raise InputError(f"{fixed[0]}: the experiment sets the names and seeds of its runs")
        return self.model_copy(update={"added": [*self.added, *settings]})

    def as_test(self) -> Self:
        """The same experiment with one short epoch on the demo songs, and one seed."""
        changes: dict[str, Any] = {
            "seeds": self.seeds[:1],
            "evaluate": [*self.evaluate, "evaluation.oracles=false"],
        }
        if self.sweep is not None:
            changes["sweep"] = self.sweep.model_copy(update={"trials": LEAST_TRIALS, "full": []})
        return self.with_settings([*SMALL, *self.small]).model_copy(update=changes)

    def trainings(self) -> dict[str, Settings]:
        """The settings of every run by its name, one seed after the other."""
        return {
            f"{name}-{seed}": [*self.train, *own, *self.added, f"seed={seed}", f"name={name}"]
            for seed in self.seeds
            for name, own in self.runs.items()
        }


def plans() -> list[Plan]:
    return [plan(path.stem) for path in sorted(PLANS.glob("*.yaml"))]


def plan(name: str) -> Plan:
    """Read the plan with this name. Raises `InputError` if it does not exist or is not valid."""
    path = PLANS / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(path.stem for path in sorted(PLANS.glob("*.yaml")))
        raise InputError(f"{name}: unknown experiment; choose one of {known}")
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Plan.model_validate({"name": name, **content})
    except (TypeError, ValidationError, yaml.YAMLError) as error:
        raise InputError(f"{path}: {error}") from None
