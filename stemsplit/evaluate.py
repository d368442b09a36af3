"""``python -m stemsplit.evaluate checkpoint=RUN_OR_CKPT data=…``: scores of separated songs.

Several systems at once, ``checkpoint=[A,B] estimates=DIR``, are compared on the frames that they
share; DIR holds what any tool separated, SUBSET/TRACK/STEM.wav.
"""

from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import hydra
from omegaconf import DictConfig, ListConfig

from stemsplit import configuration, processes
from stemsplit.checkpoint import checkpoint_of
from stemsplit.configuration import CONF, make
from stemsplit.data.datamodule import StemDataModule
from stemsplit.data.stored import corpus_fingerprint
from stemsplit.errors import InputError, one_line_errors
from stemsplit.evaluation.oracles import ORACLES
from stemsplit.evaluation.protocol import ACCOMPANIMENT, Protocol
from stemsplit.evaluation.runner import evaluate
from stemsplit.evaluation.systems import Folder, Mixture, Oracle, Resampled, System, Trained
from stemsplit.evaluation.tables import compare, row_of, spread
from stemsplit.features import FrontEnd
from stemsplit.reporting.results import count_test_scoring, counted_as, write_result
from stemsplit.reporting.score_tables import (
    print_differences,
    print_scores,
    print_spreads,
    print_whole_songs,
    write_csv,
    write_latex,
)

SUBSETS = ("valid", "test")

configuration.register_resolvers()


class Checkpoint(NamedTuple):
    """One to score; `run` holds its configuration, where it lies in a run's folder."""

    path: Path
    run: DictConfig | None
    model: str


@hydra.main(config_path=CONF, config_name="evaluate")
def main(config: DictConfig) -> None:
    with one_line_errors(), processes.joined():
        evaluate_systems(config)


def evaluate_systems(config: DictConfig) -> None:
    """Scores of all that is given, beside floor and ceiling, to ``result.json`` and its like."""
    if config.subset not in SUBSETS:
        raise InputError(f"subset={config.subset} is none of {SUBSETS}")
    if config.workers is not None and config.workers < 1:
        raise InputError(f"workers={config.workers}: at least one process scores")
    checkpoints = [found(Path(given)) for given in listed(config.checkpoint)]
    folders = [Folder(Path(given)) for given in listed(config.estimates)]
    if not checkpoints and not folders:
        raise InputError("say what to score: checkpoint=RUN_OR_CKPT, or estimates=DIR")
    corpus, data_config = config.corpus, config.data
    if data_config.lister is None:
        run = next((checkpoint.run for checkpoint in checkpoints if checkpoint.run), None)
        if run is None:
            what = checkpoints[0].path if checkpoints else folders[0].root
            raise InputError(f"{what} does not lie in a run's folder: say on which corpus, data=…")
        corpus, data_config = run.corpus, run.data
    device = processes.device(config.device)
    trained = named(checkpoints, device)
    if trained:
        stems = trained[0].separator.stems
        targets = trained[0].separator.targets
    else:
        targets = tuple(config.targets)
        rest = ACCOMPANIMENT if targets == ("vocals",) else "residual"
        whole = config.stems is not None and set(config.stems) <= set(targets)
        stems = targets if whole else (*targets, rest)
    # The corpora that were trained on besides are not needed to score.
    data: StemDataModule = make(data_config, targets=list(targets), also=[])
    tracks = data.tracks(config.subset)
    store = data.store
    protocol = Protocol(
        *(corpus, config.subset, stems, store.sample_rate, store.channels),
        backend=config.evaluation.backend,
    )
    systems: list[System] = [Mixture()]
    if config.evaluation.oracles:
        front_end = FrontEnd(store.sample_rate, config.window, config.hop)
        if trained and trained[0].separator.sample_rate == store.sample_rate:
            front_end = trained[0].separator.front_end
        systems += [Oracle(name, front_end.cpu()) for name in ORACLES]
    if config.evaluation.stages:
        systems += stages(trained, store.sample_rate, device)
    ours: list[System] = [*trained, *folders]
    folder = output(config, corpus, checkpoints, folders)
    songs = evaluate(
        [*systems, *ours], tracks, protocol, folder / "museval", config.workers, device
    )
    if processes.rank():
        return
    rows = {name: row_of(scores) for name, scores in songs.items()}
    differences = {
        f"{other.name} - {one.name}": compare(songs[other.name], songs[one.name])
        for one, other in combinations(ours, 2)
    }
    models = {checkpoint.model for checkpoint in checkpoints}
    by_model = {
        model: [
            rows[system.name]
            for checkpoint, system in zip(checkpoints, trained, strict=True)
            if checkpoint.model == model
        ]
        for model in sorted(models)
    }
    spreads = {model: spread(found) for model, found in by_model.items() if len(found) > 1}
    write_result(
        folder / "result.json",
        rows,
        protocol,
        checkpoints={system.name: str(system.checkpoint) for system in trained},
        estimates={system.name: str(system.root) for system in folders},
        corpus=corpus,
        subset=config.subset,
        fingerprint=corpus_fingerprint(tracks),
        targets=list(targets),
        differences={
            pair: {
                stem: {
                    metric: {**found.interval._asdict(), "p": found.p, "songs": found.songs}
                    for metric, found in metrics.items()
                }
                for stem, metrics in by_stem.items()
            }
            for pair, by_stem in differences.items()
        },
        spreads={
            model: {
                stem: {metric: found._asdict() for metric, found in metrics.items()}
                for stem, metrics in by_stem.items()
            }
            for model, by_stem in spreads.items()
        },
    )
    write_csv(folder / "scores.csv", rows, protocol)
    write_latex(folder / "scores.tex", rows, protocol)
    counts = {}
    if config.subset == "test":
        places = [
            checkpoint.path.parent for checkpoint in checkpoints if checkpoint.run is not None
        ]
        counts = {
            place: count_test_scoring(place, counted_as(corpus, data.root)) for place in places
        }
    print_scores(rows, protocol, f"{config.subset} songs of {corpus}: {folder}")
    print_whole_songs(rows)
    if differences:
        print_differences(differences)
    if spreads:
        print_spreads(spreads)
    for place, count in counts.items():
        times = "once" if count == 1 else f"{count} times"
        print(f"{place}: scored on the test songs of {corpus} {times} by now")


def listed(given: str | float | ListConfig | None) -> list[str]:
    """One, several or none."""
    if given is None:
        return []
    several = given if isinstance(given, ListConfig) else [given]
    return [str(one) for one in several]  # a folder's name may be a number


def found(run_or_checkpoint: Path) -> Checkpoint:
    path = checkpoint_of(run_or_checkpoint)
    if not (path.parent / "config.yaml").is_file():
        return Checkpoint(path, None, path.stem)
    run = configuration.saved(path.parent)
    return Checkpoint(path, run, run.name)


def named(checkpoints: list[Checkpoint], device: str) -> list[Trained]:
    """By their models; those of one model by their folders too."""
    models = [checkpoint.model for checkpoint in checkpoints]
    return [
        Trained(
            model if models.count(model) == 1 else f"{model} ({checkpoint.path.parent.name})",
            checkpoint.path,
            device,
        )
        for model, checkpoint in zip(models, checkpoints, strict=True)
    ]


def stages(trained: list[Trained], sample_rate: int, device: str) -> list[System]:
    """What each separator gives before its Wiener filter, and the most that its rate allows."""
    systems: list[System] = [
        Trained(f"{system.name}, mask only", system.checkpoint, device, wiener_iterations=0)
        for system in trained
        if system.separator.wiener_iterations
    ]
    rates = {system.separator.sample_rate for system in trained} - {sample_rate}
    return [*systems, *(Resampled(rate) for rate in sorted(rates))]


def output(
    config: DictConfig, corpus: str, checkpoints: list[Checkpoint], folders: list[Folder]
) -> Path:
    """Beside the one checkpoint that is scored; of several systems, in ``evaluations``."""
    name = f"{corpus}-{config.subset}"
    if config.output is not None:
        return Path(config.output)
    if len(checkpoints) == 1 and not folders:
        return checkpoints[0].path.parent / "evaluations" / name
    return Path("evaluations") / name


if __name__ == "__main__":
    main()
