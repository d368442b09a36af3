"""Load a separator, several separators combined into one, or an ensemble."""

from collections.abc import Sequence
from pathlib import Path

from stemsplit.separation import bag, checkpoint
from stemsplit.separation.ensemble import Ensemble, check_weights
from stemsplit.separation.separator import Separator

Source = str | Path


def load(
    source: Source | Sequence[Source],
    allow: Sequence[str] = (),
    device: str = "cpu",
    weights: Sequence[float] | None = None,
) -> Separator | Ensemble:
    """Load a separator or an ensemble onto a device, in evaluation mode.

    A source is the folder of a run, the path of a checkpoint or of a bundle, or the name of a
    published model, as in ``load("umxhq")``. The weights of a published model are downloaded at the
    first use. A name takes precedence over a folder of the same name in the current folder;
    ``./umxhq`` is the folder.

    Several sources are combined into one separator if all their targets differ, and if they have
    the same front end, channels and kind of output (see `bag.Bag`). The Wiener filter of this
    separator sees all stems. Otherwise, or with `weights`, the sources form an ensemble, which
    averages the stems that several sources have. `allow` names classes outside stemsplit that may
    be built.

    Raises `InputError` if a source cannot be loaded or downloaded, if the sources cannot be
    combined, or if the device cannot be used.
    """
    sources = [source] if isinstance(source, str | Path) else list(source)
    if weights is not None:
        check_weights(weights, len(sources))  # before anything is downloaded
    if len(sources) <= 1:
        return checkpoint.load(sources, allow, device)
    members = [checkpoint.load(part, allow, device) for part in sources]
    if weights is None and bag.fit_together(members):
        named = list(zip(map(Path, sources), members, strict=True))
        return checkpoint.on_device(checkpoint.combined(named, allow), device)
    return Ensemble(members, weights)
