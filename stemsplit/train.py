"""``stemsplit train``: train a separator and score it."""

from stemsplit.settings.help import begin

begin(__name__, "train")  # before the imports that take seconds

import shlex
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import hydra
import lightning as L
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.callbacks import LambdaCallback
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf import DictConfig, OmegaConf

from stemsplit import configuration
from stemsplit.command_line.argv import argv
from stemsplit.command_line.corpora import make_corpus
from stemsplit.command_line.fine_tuning import checkpoint_of_weights, initial_weights, initialise
from stemsplit.command_line.prepared import prepared
from stemsplit.command_line.resumption import resumed
from stemsplit.command_line.training_data import make_data
from stemsplit.configuration import CONF, make
from stemsplit.data.corpus import Corpus
from stemsplit.data.datamodule import StemDataModule
from stemsplit.data.doctor.diagnosis import listing_findings
from stemsplit.data.tracks import Subset
from stemsplit.data.trained_songs import changed_at, check_songs, remember_songs
from stemsplit.errors import InputError, one_line_errors, settings_at_fault
from stemsplit.evaluation.oracles import ORACLES
from stemsplit.evaluation.protocol import Protocol
from stemsplit.evaluation.rows import rows_of
from stemsplit.evaluation.runner import check_names, evaluate
from stemsplit.evaluation.systems import Mixture, System, Trained
from stemsplit.files import exit_at_sigterm, held, make_writable_folder, removed_if_empty
from stemsplit.machine.allocator import keep_freed_memory
from stemsplit.reporting.results import count_test_scoring, counted_as, write_result
from stemsplit.reporting.score_tables import print_scores
from stemsplit.separation.checkpoint import read
from stemsplit.settings.check import check
from stemsplit.sweeps.job import run_job
from stemsplit.training.checks import (
    check_callbacks,
    check_parts,
    check_processes,
    check_residual,
    check_srun,
    check_targets,
)
from stemsplit.training.loggers.metrics_csv import MetricsCsv
from stemsplit.training.loggers.weights_and_biases import WeightsAndBiases, finish
from stemsplit.training.module import SeparationModule
from stemsplit.training.precision import check_precision
from stemsplit.training.schedules import check_length
from stemsplit.training.trainer import (
    common_run,
    is_first,
    lightning_signals,
    quieten,
    was_pruned,
)

configuration.register_resolvers()


def main() -> None:
    with one_line_errors():
        arguments, folder, is_new = prepared("train", sys.argv[1:])
    try:
        with removed_if_empty(folder if is_first() else None), exit_at_sigterm():
            if folder is not None and is_first():
                with one_line_errors():
                    if is_new:
                        check_unused(folder)
                    make_writable_folder(folder, advice(folder))
            with argv(arguments):
                run()
    except SIGTERMException:  # raised by Lightning at SIGTERM; its exit code would be 0
        sys.exit(128 + signal.SIGTERM)


@hydra.main(config_path=CONF, config_name="train")
def run(config: DictConfig) -> None:
    quieten()
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        check(config, "train")
        run_job(config, train)  # Hydra records an exception of the job, and runs the next job
        return
    with one_line_errors(lambda: after_interruption(config)):
        check(config, "train")
        if config.resume is not None:
            words = HydraConfig.get().overrides.task
            config = resumed(config.resume, words, config.data.cache)
        train(config)


def check_unused(folder: Path) -> None:
    """Raise `InputError` if a folder contains a run with a checkpoint, which would be overwritten.

    A run that was interrupted before its first checkpoint can start again in its folder.
    """
    if (folder / "last.ckpt").is_file():
        raise InputError(
            f"{folder}: already contains a run; continue it with resume={folder}, or choose "
            "another folder with hydra.run.dir=FOLDER"
        )


def advice(run: Path) -> str:
    """Advice for a run folder that cannot be written."""
    if (run / "config.yaml").is_file():
        return "a resumed run writes to its own folder: change its permissions"
    return "choose another folder with hydra.run.dir=FOLDER"


def after_interruption(config: DictConfig) -> str:
    """The line printed when Ctrl-C ends a training run."""
    run = Path(config.resume or config.run_dir)
    if not (run / "last.ckpt").is_file():
        return "interrupted before the first checkpoint; start the training again"
    return f"interrupted; resume with: stemsplit train {shlex.quote(f'resume={run}')}"


def train(config: DictConfig) -> None:
    """Train, then score the best checkpoint on the validation songs."""
    run = Path(config.run_dir)
    keep_freed_memory()
    check_names([config.name])
    if config.name in (Mixture.name, *ORACLES):
        raise InputError(f"name={config.name}: this is the name of a baseline; choose another")
    with settings_at_fault():
        L.seed_everything(config.seed, workers=True, verbose=False)
    module: SeparationModule = make(config.model, "model")
    separator = module.separator
    weights = initial_weights(config, module)
    on_cpu = configuration.on_cpu(config.trainer.accelerator)
    check_precision(str(config.trainer.precision), module, on_cpu)
    if on_cpu:
        check_processes(config.trainer.devices)
    callbacks = made(config.callbacks, "callbacks")
    trainer: L.Trainer = make(
        config.trainer,
        "trainer",
        callbacks=list(callbacks.values()),
        logger=False,
    )
    check_srun(trainer)
    check_parts(module, trainer)
    check_callbacks(callbacks, module, run)
    if "best" not in callbacks and is_first():
        print(
            "callbacks.best=null: no best.ckpt will be written, so nothing will be scored",
            file=sys.stderr,
        )
    corpus = make_corpus(config.data)
    data = make_data(
        config.data, corpus, front_end=separator.front_end, views=separator.network.views
    )
    copies = {"model.separator.targets": separator.targets, "data.targets": data.targets}
    check_targets(config.targets, **copies)
    check_residual(separator, corpus.stems)
    subsets: list[Subset] = ["valid", "test"] if config.evaluate_test else ["valid"]
    check_data(config, data, subsets)
    keep_roots(config, corpus)
    initialise(config, module, data, weights, subsets)
    loggers = list(made(config.logger, "logger").values()) if is_first() else []
    dashboards = [logger for logger in loggers if isinstance(logger, WeightsAndBiases)]
    try:
        for dashboard in dashboards:
            dashboard.add_tag(f"data-{data.trained_on()['fingerprint'][:8]}")
        with held(run, "trains this run") if is_first() else nullcontext():
            fit(config, trainer, module, data, loggers)
        run = common_run(run, trainer)
        config.run_dir = str(run)
        if was_pruned(trainer):
            for dashboard in dashboards:
                dashboard.add_tag("pruned")
        elif (run / "best.ckpt").is_file():
            for subset in subsets:
                score(config, data, subset, trainer, loggers)
            for dashboard in dashboards:
                dashboard.log_checkpoint(run / "best.ckpt")
        elif is_first() and not config.trainer.fast_dev_run:
            print(f"{run}: has no best.ckpt, so nothing is scored", file=sys.stderr)
    except BaseException:
        finish(loggers, failed=True)
        raise
    finish(loggers, failed=False)


def made(group: DictConfig, name: str) -> dict[str, Any]:
    """Instantiate the objects of a group of settings. Objects that are null are left out."""
    return {key: item for key, item in make(group, name).items() if item is not None}


def check_data(config: DictConfig, data: StemDataModule, subsets: list[Subset]) -> None:
    """Decode the songs and check them, before the training starts."""
    corpus = data.corpus
    data.prepare_data()
    corpus.tracks(*subsets)
    if config.resume:
        run = Path(config.run_dir)
        note = check_songs(run, corpus.contents(), config.allow_changed_corpus)
        if note and is_first():
            print(f"data: {note}", file=sys.stderr)
    if is_first():
        songs = [track for track in corpus.songs if not track.corpus]  # without songs of data.also
        for finding in listing_findings(corpus.root, songs, corpus.stems, corpus.channels):
            print(f"data: {finding}", file=sys.stderr)


def keep_roots(config: DictConfig, corpus: Corpus) -> None:
    """Store absolute corpus folders, so that a run can be resumed from any working directory."""
    config.data.root = str(corpus.root)
    for index, supplement in enumerate(corpus.also):
        config.data.also[index].root = str(supplement.folder)


def fit(
    config: DictConfig,
    trainer: L.Trainer,
    module: SeparationModule,
    data: StemDataModule,
    loggers: list[Any],
) -> None:
    """Train. A resumed run continues from its last checkpoint."""
    if not config.trainer.fast_dev_run:
        trainer.loggers = loggers
    for logger in loggers:
        logger.log_hyperparams(OmegaConf.to_container(config, resolve=True))
    checkpoint, kept_steps = None, 0
    if config.resume:
        checkpoint = Path(config.run_dir) / "last.ckpt"
        content = read(checkpoint)
        epochs = content["epoch"] + 1
        if 0 <= (trainer.max_epochs or -1) < epochs:
            raise InputError(
                f"{checkpoint}: is already trained for {epochs} epochs; set epochs to at least "
                f"{epochs}"
            )
        kept_steps = content["global_step"]
        if 0 <= trainer.max_steps < kept_steps:
            raise InputError(
                f"{checkpoint}: is already trained for {kept_steps} steps; set trainer.max_steps "
                f"to at least {kept_steps}"
            )

    def record(*_: Any) -> None:
        """Record the training, after all checks: a run that fails them stays unchanged."""
        check_length(trainer)  # the module checks it too, but only after the callbacks
        for logger in loggers:
            if isinstance(logger, MetricsCsv):  # drop the rows after the checkpoint
                logger.forget_from(kept_steps)
        if is_first():
            configuration.save(config, Path(config.run_dir))
            songs = data.corpus.contents()
            remember_songs(Path(config.run_dir), songs, kept_steps, checkpoint_of_weights(config))

    cast(Any, trainer).callbacks.insert(0, LambdaCallback(on_train_start=record))
    with lightning_signals():
        trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)


def score(
    config: DictConfig,
    data: StemDataModule,
    subset: Subset,
    trainer: L.Trainer,
    loggers: list[Any],
) -> None:
    """Score the best checkpoint on one subset.

    The scores of validation songs are in RUN/result.json, the scores of test songs in RUN/test/.
    """
    run = Path(config.run_dir)
    folder = run if subset == "valid" else run / "test"
    system = Trained(config.name, run, str(trainer.strategy.root_device))
    corpus = data.corpus
    protocol = Protocol(
        config.corpus, subset, system.separator.stems, corpus.sample_rate, corpus.channels
    )
    systems: list[System] = [Mixture(), system]
    songs = evaluate(
        systems, corpus.tracks(subset), protocol, folder / "museval", device=system.device
    )
    if not is_first():
        return
    rows = rows_of(songs, Mixture.name)
    write_result(
        folder / "result.json",
        rows,
        protocol,
        model=config.name,
        corpus=config.corpus,
        subset=subset,
        trained_on=data.trained_on() | {"songs_changed_at_steps": changed_at(run)},
        seed=config.seed,
        steps=trainer.global_step,
        targets=list(config.targets),
        **({} if config.weights is None else {"weights": config.weights}),
        # A new run has no test scorings yet. `write_result` keeps the counts of a resumed run.
        **({} if subset == "test" else {"test_scored": {}}),
    )
    if subset == "test":
        count_test_scoring(run, counted_as(config.corpus, corpus.root))
    for logger in loggers:
        if isinstance(logger, WeightsAndBiases):
            logger.log_scores(subset, rows, trainer.global_step)
        logger.log_metrics(
            {
                f"score/{subset}/{stem}/{metric}": score.value
                for stem, metrics in rows[config.name].scores.items()
                for metric, score in metrics.items()
                if score.value is not None
            },
            trainer.global_step,
        )
    print_scores(
        rows, protocol, f"{config.name} on the {subset} songs of {config.corpus}: {folder}"
    )


if __name__ == "__main__":
    main()
