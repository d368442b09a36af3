"""``stemsplit evaluate checkpoint=RUN_OR_CKPT data=…``: score separated songs.

``checkpoint=[A,B] estimates=DIR`` compares each pair of systems on the frames in which both have a
score. DIR contains stems separated by any tool, as SUBSET/TRACK/STEM.wav. ``estimates={NAME:
DIR}`` sets the name of a system in the tables.
"""

from stemsplit.settings.help import begin

begin(__name__, "evaluate")  # before the imports that take seconds

import sys
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from stemsplit import configuration, processes
from stemsplit.command_line.argv import argv
from stemsplit.command_line.corpora import make_corpus
from stemsplit.command_line.prepared import prepared
from stemsplit.command_line.scored import (
    Checkpoint,
    checkpoint,
    named_paths,
    seed_spreads,
    separators,
)
from stemsplit.command_line.scoring import (
    baselines,
    corpus_settings,
    oracle_transform,
    scored_stems,
    setting_names,
)
from stemsplit.command_line.seen_songs import check_unseen, systems_that_saw, with_notes
from stemsplit.configuration import CONF
from stemsplit.data.store.stored import corpus_fingerprint
from stemsplit.errors import InputError, one_line_errors
from stemsplit.evaluation.estimates import Folder
from stemsplit.evaluation.protocol import Protocol
from stemsplit.evaluation.rows import compare, rows_of
from stemsplit.evaluation.runner import evaluate
from stemsplit.evaluation.systems import Mixture, System
from stemsplit.files import make_writable_folder, where_writable
from stemsplit.reporting.results import (
    check_result,
    count_test_scoring,
    counted_as,
    write_result,
)
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
from stemsplit.settings.check import check

configuration.register_resolvers()


def main() -> None:
    with one_line_errors():
        arguments = prepared("evaluate", sys.argv[1:]).arguments
    with argv(arguments):
        run()


@hydra.main(config_path=CONF, config_name="evaluate")
def run(config: DictConfig) -> None:
    with one_line_errors(), processes.process_group():
        evaluate_systems(config, HydraConfig.get().overrides.task)


def evaluate_systems(config: DictConfig, words: Sequence[str] = ()) -> None:
    """Score all systems, the mixture and the ideal masks; write JSON, CSV and LaTeX.

    `words` are the settings on the command line. They replace the settings of the scored runs.
    """
    names = setting_names(words)
    check(config, "evaluate")
    checkpoints = [checkpoint(path, name) for name, path in named_paths(config.checkpoint)]
    folders = [Folder(Path(path), name) for name, path in named_paths(config.estimates)]
    if not checkpoints and not folders:
        raise InputError("nothing to score; set checkpoint=RUN_OR_CKPT or estimates=DIR")
    device = processes.device(config.device)
    trained = separators(checkpoints, device)
    runs = [entry.run for entry in checkpoints if entry.run is not None]
    source = corpus_settings(
        config, names, runs, checkpoints[0].source if checkpoints else folders[0].root
    )
    targets, stems = scored_stems(config.targets, source.data.stems, trained)
    source.data.also = []  # supplementary corpora have training songs only
    corpus = make_corpus(source.data)
    corpus.check_targets(targets)
    tracks = corpus.tracks(config.subset)
    seen = systems_that_saw(trained, corpus, source.corpus, config.subset)
    if not config.allow_training_songs:
        check_unseen(seen)
    protocol = Protocol(
        source.corpus,
        config.subset,
        stems,
        corpus.sample_rate,
        corpus.channels,
        config.evaluation.backend,
    )
    folder = output_folder(config, source.corpus, checkpoints, folders)
    fingerprint = corpus_fingerprint(tracks)
    check_result(folder / "result.json", protocol, fingerprint)
    compared: list[System] = [*trained, *folders]
    transform = oracle_transform(source, names, trained, protocol.sample_rate)
    songs = evaluate(
        [*baselines(config.evaluation, transform, trained, protocol, device), *compared],
        tracks,
        protocol,
        folder / "museval",
        config.workers,
        device,
        spectral=config.evaluation.spectral,
    )
    if processes.rank():
        return
    rows = with_notes(rows_of(songs, Mixture.name), seen)
    differences = {
        f"{second.name} - {first.name}": compare(songs[second.name], songs[first.name])
        for first, second in combinations(compared, 2)
    }
    spreads = seed_spreads(checkpoints, trained, rows)
    write_result(
        folder / "result.json",
        rows,
        protocol,
        differences,
        spreads,
        checkpoints={system.name: str(system.source) for system in trained},
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
        runs_scored = [entry.folder for entry in checkpoints if entry.run is not None]
        for run in dict.fromkeys(filter(None, runs_scored)):
            count_scoring(run, source.corpus, corpus.root)


def count_scoring(run: Path, corpus: str, root: Path) -> None:
    """Increase the count of test scorings in the folder of a run, and print the new count."""
    count = None
    with where_writable():
        count = count_test_scoring(run, counted_as(corpus, root))
    if count is None:
        print(f"{run}: read-only, so this scoring of the test songs is not counted")
    else:
        times = "once" if count == 1 else f"{count} times"
        print(f"{run}: scored on the test songs of {corpus} {times} so far")


def output_folder(
    config: DictConfig, corpus: str, checkpoints: list[Checkpoint], folders: list[Folder]
) -> Path:
    """The folder for results: the setting `output`, or ``evaluations/CORPUS-SUBSET`` by default.

    The default folder is beside the checkpoint if exactly one checkpoint and no estimates are
    scored. It is in the current folder if several systems or a published model are scored. Raises
    `InputError` if the folder is not writable, so that no song is scored in vain.
    """
    folder = Path("evaluations") / f"{corpus}-{config.subset}"
    if config.output is not None:
        folder = Path(str(config.output))
    elif len(checkpoints) == 1 and not folders and checkpoints[0].folder is not None:
        folder = checkpoints[0].folder / folder
    candidates = (folder, *folder.absolute().parents)
    existing = next(path for path in candidates if path.exists())
    make_writable_folder(existing, "choose another folder with output=FOLDER")
    return folder


if __name__ == "__main__":
    main()
