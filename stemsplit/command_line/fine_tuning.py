"""Start a training with the weights that ``weights=`` names."""

import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from stemsplit.command_line.seen_songs import songs_seen
from stemsplit.data.corpus import Corpus
from stemsplit.data.datamodule import StemDataModule
from stemsplit.data.tracks import Subset
from stemsplit.data.trained_songs import all_songs_known
from stemsplit.errors import InputError
from stemsplit.separation import checkpoint
from stemsplit.separation.origins import origins, published_as
from stemsplit.separation.separator import Separator
from stemsplit.separation.sources import resolved
from stemsplit.settings.paths import literal
from stemsplit.training.initial_weights import new_views, take_over
from stemsplit.training.module import SeparationModule
from stemsplit.training.trainer import is_first
from stemsplit.training.weights_fit import check_fit

SUBSETS = {"valid": "validation", "test": "test"}


def initial_weights(config: DictConfig, module: SeparationModule) -> Separator | None:
    """Load the separator of ``weights=``; None without this setting, or if a run is resumed.

    The configuration gets the absolute path of the checkpoint. Raises `InputError` if the weights
    cannot be loaded or do not fit the settings of the run.
    """
    if config.weights is None or config.resume:
        return None
    source = resolved(config.weights)
    separator = checkpoint.load(source, allowed(config))
    check_fit(separator, module.separator, config.weights, config.data.downsample.rate)
    module.published = origins(source)
    config.weights = literal(str(source.absolute() if isinstance(source, Path) else source))
    return separator


def initialise(
    config: DictConfig,
    module: SeparationModule,
    data: StemDataModule,
    weights: Separator | None,
    subsets: Sequence[Subset],
) -> None:
    """Set the statistics of the inputs and the initial weights of a new run.

    Without `weights`, the statistics are computed from the training songs. With `weights`, they
    come with the weights; only the statistics of views that the network of the weights does not
    read come from the training songs. `subsets` are the subsets whose songs the run scores, see
    `check_songs_unseen`.
    """
    network = module.separator.network
    views = set(network.views) if weights is None else new_views(weights, module.separator)
    if module.normalise and views and not config.resume:
        network.set_statistics(data.statistics())
    if weights is not None:
        if is_first() and not has_known_songs(resolved(config.weights)):
            print(
                f"weights={config.weights}: the training songs of these weights are unknown; "
                "scores of these songs would be too high",
                file=sys.stderr,
            )
        check_songs_unseen(config, data.corpus, subsets)
        line = take_over(weights, module.separator, config.weights, allowed(config))
        if is_first():
            print(line, file=sys.stderr)


def has_known_songs(source: str | Path) -> bool:
    """Whether `songs_seen` knows the training songs of a checkpoint or of a published model."""
    if not isinstance(source, Path):
        return True
    return all_songs_known(source) or published_as(source) is not None


def check_songs_unseen(config: DictConfig, corpus: Corpus, subsets: Sequence[Subset]) -> None:
    """Print a warning if the training of the initial weights saw validation songs.

    Raises `InputError` if that training saw test songs, and the run scores the test songs.
    """
    for subset in subsets:
        seen = songs_seen(resolved(config.weights), corpus, config.corpus, subset)
        if not seen:
            continue
        text = (
            f"weights={config.weights}: their training saw {len(seen)} of the {SUBSETS[subset]} "
            f"songs ({seen[0]}…), so the scores of these songs "
        )
        if subset == "test":
            raise InputError(f"{text}would be too high; leave out evaluate_test=true")
        if is_first():
            print(f"{text}are too high", file=sys.stderr)


def checkpoint_of_weights(config: DictConfig) -> Path | None:
    """The checkpoint whose weights a new run starts with.

    None for a published model, without initial weights, and for a resumed run.
    """
    if config.weights is None or config.resume:
        return None
    source = resolved(config.weights)
    return source if isinstance(source, Path) and published_as(source) is None else None


def allowed(config: DictConfig) -> list[str]:
    """The classes outside stemsplit that the settings of the separator allow."""
    return list(config.model.separator.get("allow", []))
