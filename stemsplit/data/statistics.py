"""Measure the mean and the scale of every band of a network's inputs over the training songs.

The inputs are called views, such as the linear and the mel spectrogram (see `FrontEnd`). The
results are stored in the cache.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import Float
from rich.progress import track as progress
from torch import Tensor

from stemsplit.data.store.stored import StoredTrack, check_split, corpus_fingerprint
from stemsplit.files import one_at_a_time, replacing, where_writable
from stemsplit.models.shapes import View
from stemsplit.separation.front_end import FrontEnd

Statistics = dict[str, tuple[Tensor, Tensor]]
PIECE_SECONDS = 30  # songs are transformed in pieces of this length to limit the memory


class Moments:
    """Compute the mean and the standard deviation of every band over all added frames."""

    def __init__(self, bands: int) -> None:
        self.count = 0
        self.sum = torch.zeros(bands, dtype=torch.float64)
        self.squares = torch.zeros(bands, dtype=torch.float64)

    def add(self, view: View) -> None:
        """Add all frames of a view `(batch, channel, band, frame)`."""
        view = view.double()
        self.count += view.numel() // view.shape[2]
        self.sum += view.sum(dim=(0, 1, 3))
        self.squares += view.square().sum(dim=(0, 1, 3))

    def mean_and_scale(self) -> tuple[Float[Tensor, " band"], Float[Tensor, " band"]]:
        """The mean and the scale, each of shape `(band)`.

        The scale of a band is its standard deviation, but at least 1e-4 times the largest standard
        deviation of all bands, as in open-unmix. Without this minimum, the network's normalisation
        would amplify silent bands.
        """
        mean = self.sum / self.count
        scale = (self.squares / self.count - mean.square()).clamp(min=0).sqrt()
        floor = max(1e-4 * scale.max().item(), torch.finfo(torch.float32).tiny)
        return mean.float(), scale.clamp(min=floor).float()


@torch.inference_mode()
def statistics(
    tracks: Sequence[StoredTrack], front_end: FrontEnd, views: Sequence[str]
) -> Statistics:
    """Measure the mean and the scale of every band of each view.

    They are taken over all channels and frames of the tracks' mixtures.

    Raises `InputError` for test songs.
    """
    check_split(tracks)
    moments = {view: Moments(front_end.bands(view)) for view in views}
    for track in progress(tracks, "statistics of the training songs"):
        mixture = torch.from_numpy(track.mixture())[None]
        for piece in mixture.split(PIECE_SECONDS * front_end.sample_rate, dim=-1):
            for view, values in front_end.views(front_end(piece), views).items():
                moments[view].add(values)
    return {view: moment.mean_and_scale() for view, moment in moments.items()}


def cached_statistics(
    tracks: Sequence[StoredTrack], front_end: FrontEnd, views: Sequence[str], cache: Path
) -> Statistics:
    """Return the result of `statistics`, and store it in the folder `cache` for later calls.

    A later call reads the stored result if the content of the tracks, the views and the front end's
    settings are the same.
    """
    key = hashlib.blake2b(digest_size=16)
    key.update(repr([corpus_fingerprint(tracks), sorted(views), front_end.settings]).encode())
    path = cache / "statistics" / f"{key.hexdigest()}.npz"
    if (cached := _read(path, views)) is not None:
        return cached
    with one_at_a_time(cache, "computes the statistics"):
        if (cached := _read(path, views)) is not None:
            return cached
        computed = statistics(tracks, front_end, views)
        arrays = {
            f"{view}_{name}": values.numpy()
            for view, pair in computed.items()
            for name, values in zip(("mean", "scale"), pair, strict=True)
        }
        with where_writable(), replacing(path) as partial, partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
    return computed


def _read(path: Path, views: Sequence[str]) -> Statistics | None:
    """The stored statistics, or None if the file is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {
                view: (
                    torch.from_numpy(arrays[f"{view}_mean"]),
                    torch.from_numpy(arrays[f"{view}_scale"]),
                )
                for view in views
            }
    except (OSError, EOFError, KeyError, ValueError, BadZipFile):
        return None
