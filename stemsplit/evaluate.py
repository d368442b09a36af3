"""``python -m stemsplit.evaluate checkpoint=RUN_OR_CKPT data=…``: museval's scores."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from stemsplit import configuration, processes
from stemsplit.checkpoint import checkpoint_of, load
from stemsplit.configuration import CONF, make
from stemsplit.data.datamodule import StemDataModule
from stemsplit.data.store import corpus_fingerprint
from stemsplit.errors import InputError, one_line_errors
from stemsplit.evaluation.scores import PROTOCOL, evaluate
from stemsplit.reporting.results import count_test_scoring, counted_as, print_scores, write_result

SUBSETS = ("valid", "test")

configuration.register_resolvers()


@hydra.main(config_path=CONF, config_name="evaluate")
def main(config: DictConfig) -> None:
    with one_line_errors(), processes.joined():
        evaluate_checkpoint(config)


def evaluate_checkpoint(config: DictConfig) -> None:
    """Scores of one checkpoint and of the mixture, to ``result.json`` and museval's files."""
    if not isinstance(config.checkpoint, str):
        raise InputError("say which separator to score: checkpoint=RUN_OR_CKPT, one at a time")
    if config.subset not in SUBSETS:
        raise InputError(f"subset={config.subset} is none of {SUBSETS}")
    checkpoint = checkpoint_of(Path(config.checkpoint))
    row = checkpoint.stem
    corpus, data_config = config.corpus, config.data
    run = None
    if (checkpoint.parent / "config.yaml").is_file():
        run = checkpoint.parent
        trained = configuration.saved(run)
        row = trained.name
        if data_config.lister is None:
            corpus, data_config = trained.corpus, trained.data
    if data_config.lister is None:
        raise InputError(
            f"{checkpoint} does not lie in a run's folder: say on which corpus, data=…"
        )
    separator = load(checkpoint, device=processes.device(config.device))
    # The corpora that were trained on besides are not needed to score.
    data: StemDataModule = make(data_config, targets=list(separator.targets), also=[])
    tracks = data.tracks(config.subset)
    folder = Path(config.output or checkpoint.parent / "evaluations" / f"{corpus}-{config.subset}")
    scores = evaluate(separator, tracks, row, folder / "museval", config.workers)
    if processes.rank():
        return
    write_result(
        folder / "result.json",
        scores,
        checkpoint=str(checkpoint),
        corpus=corpus,
        subset=config.subset,
        protocol=PROTOCOL,
        fingerprint=corpus_fingerprint(tracks),
        targets=list(separator.targets),
    )
    times = None
    if run is not None and config.subset == "test":
        times = count_test_scoring(run, counted_as(corpus, data.root))
    print_scores(scores, f"{row} on the {config.subset} songs of {corpus}: {folder}")
    if times is not None:
        print(f"this run was scored on the test songs of {corpus} {times} times by now")


if __name__ == "__main__":
    main()
