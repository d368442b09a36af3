"""``python -m stemsplit.evaluate checkpoint=RUN_OR_CKPT data=…``: score separated songs.

Several systems at once, ``checkpoint=[A,B] estimates=DIR``, are compared on the frames that they
share; DIR holds what any tool separated, SUBSET/TRACK/STEM.wav. ``estimates={NAME: DIR}`` names
the row of a table.
"""

from stemsplit.settings.help import begin

begin(__name__, "evaluate")  # before the imports that take seconds

import sys
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, OmegaConf

from stemsplit import configuration, processes
from stemsplit.command_line.corpora import make_corpus
from stemsplit.command_line.prepared import prepared
from stemsplit.command_line.scoring import asked_for, described
from stemsplit.configuration import CONF
from stemsplit.data.store.stored import corpus_fingerprint
from stemsplit.errors import InputError, one_line_errors
from stemsplit.evaluation.oracles import ORACLES, scaled_transform
from stemsplit.evaluation.protocol import Protocol
from stemsplit.evaluation.runner import evaluate
from stemsplit.evaluation.systems import Folder, Mixture, Oracle, Resampled, System, Trained
from stemsplit.evaluation.tables import Row, Rows, Spread, compare, rows_of, spread
from stemsplit.files import make_writable_folder, where_writable
from stemsplit.reporting.results import (
    check_result,
    count_test_scoring,
    counted_as,
    write_result,
)
from stemsplit.reporting.run_records import PLACES, flattened
from stemsplit.reporting.score_exports import (
    write_csv,
    write_differences_csv,
    write_latex,
    write_spreads_csv,
)
from stemsplit.reporting.score_tables import (
    print_differences,
    print_scores,
    print_spreads,
    print_whole_songs,
)
from stemsplit.separation.checkpoint import checkpoint_of
from stemsplit.separation.front_end import FrontEnd
from stemsplit.settings.check import check

configuration.register_resolvers()


class Given(NamedTuple):
    """A checkpoint to score; `run` holds its configuration, where it lies in a run's folder."""

    path: Path
    run: DictConfig | None
    name: str | None = None  # None: its model's, or its file's

    @property
    def model(self) -> str:
        return self.path.stem if self.run is None else str(self.run.name)


def main() -> None:
    with one_line_errors():
        sys.argv[1:] = prepared("evaluate", sys.argv[1:]).arguments
    composed()


@hydra.main(config_path=CONF, config_name="evaluate")
def composed(config: DictConfig) -> None:
    with one_line_errors(), processes.joined():
        evaluate_systems(config, HydraConfig.get().overrides.task)


def evaluate_systems(config: DictConfig, words: Sequence[str] = ()) -> None:
    """Score all systems, the mixture and the ideal masks; write JSON, CSV and LaTeX.

    `words` are the settings on the command line: they win over those of a run that is scored.
    """
    asked = asked_for(words)
    check(config, "evaluate")
    checkpoints = [given(path, name) for name, path in listed(config.checkpoint)]
    folders = [Folder(path, name) for name, path in listed(config.estimates)]
    if not checkpoints and not folders:
        raise InputError("say what to score: checkpoint=RUN_OR_CKPT, or estimates=DIR")
    device = processes.device(config.device)
    trained = systems_of(checkpoints, device)
    source = corpus_of(config, asked, checkpoints, folders)
    targets, stems = scenario(config.targets, source.data.stems, trained)
    source.data.also = []  # supplementary corpora have training songs only
    corpus = make_corpus(source.data)
    corpus.check_targets(targets)
    tracks = corpus.tracks(config.subset)
    protocol = Protocol(
        source.corpus,
        config.subset,
        stems,
        corpus.sample_rate,
        corpus.channels,
        config.evaluation.backend,
    )
    folder = output(config, source.corpus, checkpoints, folders)
    fingerprint = corpus_fingerprint(tracks)
    check_result(folder / "result.json", protocol, fingerprint)
    ours: list[System] = [*trained, *folders]
    transform = transform_of(source, asked, trained, protocol.sample_rate)
    systems = [*floor_and_ceiling(config.evaluation, transform, trained, protocol, device), *ours]
    songs = evaluate(
        *(systems, tracks, protocol, folder / "museval", config.workers, device),
        spectral=config.evaluation.spectral,
    )
    if processes.rank():
        return
    rows = rows_of(songs, Mixture.name)
    differences = {
        f"{other.name} - {one.name}": compare(songs[other.name], songs[one.name])
        for one, other in combinations(ours, 2)
    }
    spreads = spreads_of(checkpoints, trained, rows)
    write_result(
        folder / "result.json",
        rows,
        protocol,
        differences,
        spreads,
        checkpoints={system.name: str(system.checkpoint) for system in trained},
        estimates={system.name: str(system.root) for system in folders},
        corpus=source.corpus,
        subset=config.subset,
        fingerprint=fingerprint,
        targets=list(targets),
        **({"oracles": transform} if config.evaluation.oracles else {}),
    )
    write_csv(folder / "scores.csv", rows, protocol)
    write_differences_csv(folder / "differences.csv", differences, protocol)
    write_spreads_csv(folder / "spreads.csv", spreads, protocol)
    write_latex(folder / "scores.tex", rows, differences, spreads, protocol)
    print_scores(rows, protocol, f"{config.subset} songs of {source.corpus}: {folder}")
    print_whole_songs(rows)
    if differences:
        print_differences(differences)
    if spreads:
        print_spreads(spreads)
    if config.subset == "test":
        for run in dict.fromkeys(one.path.parent for one in checkpoints if one.run is not None):
            count = None
            with where_writable():
                count = count_test_scoring(run, counted_as(source.corpus, corpus.root))
            times = "once" if count == 1 else f"{count} times"
            print(
                f"{run}: may only be read, so it does not count this scoring of the test songs"
                if count is None
                else f"{run}: scored on the test songs of {source.corpus} {times} so far"
            )


def listed(several: Any) -> list[tuple[str | None, Path]]:
    """Names and paths of what is given: one, several, or several by their names."""
    if several is None:
        return []
    found: list[tuple[str | None, Any]] = (
        [(str(name), path) for name, path in several.items()]
        if isinstance(several, DictConfig)
        else [(None, path) for path in (several if isinstance(several, ListConfig) else [several])]
    )
    for _, path in found:
        if not isinstance(path, str | int | float):  # a folder's name may be a number
            raise InputError(f"{path} is no path: say PATH, [PATH,PATH] or {{NAME: PATH}}")
    return [(name, Path(str(path))) for name, path in found]


def given(run_or_checkpoint: Path, name: str | None) -> Given:
    path = checkpoint_of(run_or_checkpoint)
    in_run = (path.parent / "config.yaml").is_file()
    return Given(path, configuration.saved(path.parent) if in_run else None, name)


def systems_of(checkpoints: list[Given], device: str) -> list[Trained]:
    """By the names that they were given, or their models; those of one model by folders too."""
    models = [checkpoint.model for checkpoint in checkpoints if checkpoint.name is None]
    return [
        Trained(
            one.name
            or (
                one.model
                if models.count(one.model) == 1
                else f"{one.model} ({one.path.parent.name})"
            ),
            one.path,
            device,
        )
        for one in checkpoints
    ]


def corpus_of(
    config: DictConfig, asked: Sequence[str], checkpoints: list[Given], folders: list[Folder]
) -> DictConfig:
    """The configuration that describes the corpus: see `described`."""
    runs = [checkpoint.run for checkpoint in checkpoints if checkpoint.run is not None]
    if config.data.lister is None and not runs:
        what = checkpoints[0].path if checkpoints else folders[0].root
        raise InputError(f"{what} does not lie in a run's folder: say on which corpus, data=…")
    return described(config, asked, runs)


def transform_of(
    source: DictConfig, asked: Sequence[str], trained: list[Trained], sample_rate: int
) -> dict[str, int]:
    """Window and hop of the ideal masks, in samples of the rate that songs are scored at.

    They last as long as those that were asked for, else as those of the first separator, else as
    those of the corpus.
    """
    if trained and not {"window", "hop"} & set(asked):
        front_end = trained[0].separator.front_end
        window, hop, rate = front_end.window, front_end.hop, front_end.sample_rate
    else:
        window, hop, rate = source.window, source.hop, source.data.sample_rate
    return scaled_transform(window, hop, rate, sample_rate)


def scenario(
    asked: Sequence[str] | str | None, of: Sequence[str] | None, trained: list[Trained]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The targets, and with what they leave of the corpus's stems those that are scored together.

    They are what was asked for, else what all the checkpoints separate.
    """
    if asked is None and trained:
        by_system = {system.name: system.separator.stems for system in trained}
        if len({frozenset(stems) for stems in by_system.values()}) > 1:
            found = "; ".join(f"{name}: {', '.join(stems)}" for name, stems in by_system.items())
            raise InputError(
                f"the checkpoints separate different stems ({found}), whose scores are not of the "
                "same frames: say what to score all of them on, as in targets=[vocals]"
            )
        return trained[0].separator.targets, trained[0].separator.stems
    if isinstance(asked, str):
        asked = [asked]
    targets = ("vocals",) if asked is None else tuple(asked)
    rest = configuration.residual(targets, of)
    if rest in targets:
        raise InputError(f"the rest of the mixture is called {rest}, as a target is: rename it")
    return targets, (targets if rest is None else (*targets, rest))


def floor_and_ceiling(
    wanted: DictConfig,
    transform: Mapping[str, int],
    trained: list[Trained],
    protocol: Protocol,
    device: str,
) -> list[System]:
    """The mixture as it is, ideal masks, and what each separator loses on its way."""
    systems: list[System] = [Mixture()]
    if wanted.oracles:
        front_end = FrontEnd(protocol.sample_rate, **transform)
        systems += [Oracle(name, front_end) for name in ORACLES]
    if wanted.stages:
        systems += [
            Trained(f"{system.name}, mask only", system.checkpoint, device, wiener_iterations=0)
            for system in trained
            if system.separator.wiener_iterations
        ]
        rates = {system.separator.sample_rate for system in trained} - {protocol.sample_rate}
        systems += [Resampled(rate) for rate in sorted(rates)]
    return systems


def spreads_of(
    checkpoints: list[Given], trained: list[Trained], rows: Rows
) -> dict[str, dict[str, dict[str, Spread]]]:
    """Of the models that were trained several times, and alike but for the seed."""
    alike: dict[tuple[str, str], dict[str, Row]] = {}
    for checkpoint, system in zip(checkpoints, trained, strict=True):
        if checkpoint.run is not None:
            settings = flattened(OmegaConf.to_container(checkpoint.run))  # type: ignore[arg-type]
            kept = {
                name: value
                for name, value in settings.items()
                if not {*PLACES, "seed"} & set(name.split("."))
            }
            trainings = alike.setdefault((checkpoint.model, str(sorted(kept.items()))), {})
            # Of one training the first that is given: its last state is no other training.
            trainings.setdefault(str(checkpoint.path.parent.resolve()), rows[system.name])
    spreads = {
        (model, place): spread(list(found.values()))
        for place, ((model, _), found) in enumerate(alike.items())
        if len(found) > 1
    }
    models = [model for model, _ in spreads]
    return {
        model if models.count(model) == 1 else f"{model} ({place})": found
        for (model, place), found in spreads.items()
    }


def output(
    config: DictConfig, corpus: str, checkpoints: list[Given], folders: list[Folder]
) -> Path:
    """Beside the one checkpoint that is scored; of several systems, in ``evaluations``.

    Raises `InputError` where nothing can be written there.
    """
    name = f"{corpus}-{config.subset}"
    folder = Path("evaluations") / name
    if config.output is not None:
        folder = Path(str(config.output))
    elif len(checkpoints) == 1 and not folders:
        folder = checkpoints[0].path.parent / folder
    above = (folder, *folder.absolute().parents)
    try:
        make_writable_folder(next(place for place in above if place.exists()))
    except InputError as error:  # before hours are spent
        raise InputError(f"{error}, output=FOLDER") from None
    return folder


if __name__ == "__main__":
    main()
