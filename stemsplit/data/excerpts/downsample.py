"""A smaller training set for tuning: fewer excerpts, fewer songs or a lower sample rate."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from stemsplit.data.store.activity import sounding
from stemsplit.data.store.stored import StoredTrack
from stemsplit.errors import InputError


@dataclass(frozen=True)
class Downsample:
    """Three shares in (0, 1], each by itself; 1 leaves all of it.

    `chunks`: of the excerpts that an epoch takes of each training song. All songs stay, and an
    epoch gets shorter in proportion.

    `songs`: of the training songs, one or more. They are stratified by how much of each song the
    targets sound in: of as many neighbours in that order as a chosen song stands for, one is drawn.
    Corpora that are combined are sampled each by itself.

    `rate`: of the sample rate, and with it of the window and the hop, so that frames last as long
    as before and reach less high. Validation songs take the lower rate too: their scores are of
    what lies below half of it.
    """

    chunks: float = 1.0
    songs: float = 1.0
    rate: float = 1.0

    def __post_init__(self) -> None:
        for way, share in asdict(self).items():
            if not 0 < share <= 1:
                raise InputError(
                    f"data.downsample.{way} {share} must be a share: above 0, and 1 for all"
                )

    def chunks_of(self, chunks_per_track: int) -> int:
        return max(1, round(self.chunks * chunks_per_track))

    def songs_of(self, tracks: Sequence[StoredTrack], targets: Sequence[str]) -> list[StoredTrack]:
        """The chosen songs, in the order in which they came: the same for every seed of a training.

        However many songs of a corpus are chosen, its share of the excerpts stays.
        """
        if self.songs == 1:
            return list(tracks)
        random = np.random.default_rng(0)
        sizes = Counter(track.corpus for track in tracks)
        chosen: dict[int, int] = {}  # of every corpus how many, by the place of each
        for corpus in sorted(sizes):
            places = [place for place, track in enumerate(tracks) if track.corpus == corpus]
            places.sort(key=lambda place: sounding_share(tracks[place], targets))
            strata = np.array_split(places, max(1, round(self.songs * len(places))))
            chosen |= {int(random.choice(stratum)): len(strata) for stratum in strata}
        first = sum(tracks[place].corpus == 0 for place in chosen) / (sizes[0] or 1) or 1.0
        return [
            replace(track, weight=track.weight * first * sizes[track.corpus] / chosen[place])
            for place, track in enumerate(tracks)
            if place in chosen
        ]


def scaled(count: int, share: int | float) -> int:
    """A share of a sample rate, of a window or of a hop, which must be whole."""
    part = count * share
    if part != round(part):
        raise InputError(
            f"data.downsample.rate {share} leaves {part:g} of {count} samples; the sample rate, "
            "the window and the hop must stay whole: 0.5 or 0.25, say"
        )
    return round(part)


def sounding_share(track: StoredTrack, targets: Sequence[str]) -> float:
    """Of how much of a song's time the targets sound, in the mean over them."""
    levels = track.levels
    return float(
        np.mean([sounding(levels[track.stems.index(target)]).mean() for target in targets])
    )
