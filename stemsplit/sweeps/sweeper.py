"""Hydra sweeper that runs jobs as Optuna trials and resumes an interrupted sweep.

Hydra loads this module as a plugin at every start, so slow imports are inside functions.

Optuna's study, its record of the trials, is in the sweep's folder. The folder's name has no date,
so the same command finds the study again. A finished trial never runs again. An interrupted trial
resumes from its last checkpoint, in its folder and under its number.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from stemsplit.errors import InputError, needs_extra, one_line_errors

if TYPE_CHECKING:
    from stemsplit.sweeps.definition import Definition


class TrialSweeper(Sweeper):
    """The sweeper of ``hydra/sweeper=trials``, which ``+sweep=…`` selects.

    `params` maps settings to values. `jobs` is the number of trials that run at the same time. With
    the `sampler` ``grid``, the sweep tries all combinations of values. With ``tpe``, Optuna's
    tree-structured Parzen estimator proposes `trials` combinations (J. Bergstra et al., "Algorithms
    for Hyper-Parameter Optimization", NeurIPS 2011).
    """

    def __init__(
        self, sampler: str, trials: int | None, jobs: int, seed: int, params: DictConfig | None
    ) -> None:
        self.sampler = sampler
        self.trials = trials
        self.jobs = jobs
        self.seed = seed
        self.params = {str(name): values for name, values in (params or {}).items()}

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        with one_line_errors(), needs_extra("sweeps"):
            import optuna  # noqa: F401 (before any job is prepared)

            if "sweep" not in config:
                raise InputError("hydra/sweeper=trials needs a sweep, for example +sweep=lr_decay")
        self.base = config
        self.loader = hydra_context.config_loader
        self.folder = Path(config.hydra.sweep.dir).absolute()
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        from filelock import FileLock, Timeout

        from stemsplit.sweeps.definition import define
        from stemsplit.sweeps.record import shared_settings
        from stemsplit.sweeps.trial_runner import Jobs, run_sweep

        assert self.launcher is not None
        with one_line_errors():
            definition = define(
                arguments,
                self.params,
                OverridesParser.create(self.loader),
                sampler=self.sampler,
                trials=self.trials,
                jobs=self.jobs,
                seed=self.seed,
            )
            words = partial(self.words, definition)
            # Compose a configuration with each value here, to find invalid values before Optuna's
            # study is created.
            configs = (
                self.loader.load_sweep_config(self.base, words(0, settings))
                for settings in definition.examples()
            )
            settings = shared_settings(definition, configs)
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                with FileLock(self.folder / ".sweep.lock", timeout=0):
                    run_sweep(definition, settings, self.folder, Jobs(words, self.launcher))
            except Timeout:
                raise InputError(f"{self.folder}: another process runs this sweep") from None

    def words(
        self, definition: "Definition", number: int, settings: Mapping[str, Any]
    ) -> list[str]:
        """The command line of a trial.

        It also sets the name and the folder of the sweep. Their defaults may depend on a swept
        setting, such as the model, but all trials need the same name and folder.
        """
        from stemsplit.settings.paths import quote
        from stemsplit.sweeps.search_space import words_of

        folder, name = quote(str(self.folder)), quote(str(self.base.sweep.name))
        of_sweep = [f"hydra.sweep.dir={folder}", f"sweep.name={name}", f"sweep.trial={number}"]
        return [*definition.words, *words_of(settings), *of_sweep]
