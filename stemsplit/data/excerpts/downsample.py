"""Reduce the training set for tuning: fewer excerpts, fewer songs or a lower sample rate."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from stemsplit.data.store.activity import sounding
from stemsplit.data.store.stored import StoredTrack
from stemsplit.errors import InputError


@dataclass(frozen=True)
class Downsample:
    """Three independent shares in (0, 1]; a share of 1 reduces nothing.

    `chunks` is the share of the excerpts that an epoch takes from each training song. All songs
    stay in the training set, and epochs become shorter.

    `songs` is the share of the training songs; at least one song stays. The songs are sampled in
    strata: they are sorted by the share of time in which the targets are active, split into
    strata of neighbours, and one song is drawn from each stratum. The main corpus and each
    supplementary corpus are sampled separately.

    `rate` is the share of the sample rate, the window and the hop, so frames keep their duration
    in seconds but cover lower frequencies only. Validation songs have the lower sample rate too, so
    their scores ignore all frequencies above half of the lower rate.

    Raises `InputError` for a share outside (0, 1].
    """

    chunks: float = 1.0
    songs: float = 1.0
    rate: float = 1.0

    def __post_init__(self) -> None:
        for setting, share in asdict(self).items():
            if not 0 < share <= 1:
                raise InputError(
                    f"data.downsample.{setting} is {share}, but must be above 0 and at most 1"
                )

    def chunks_of(self, chunks_per_track: int) -> int:
        """The reduced number of excerpts per track and epoch, at least 1."""
        return max(1, round(self.chunks * chunks_per_track))

    def songs_of(self, tracks: Sequence[StoredTrack], targets: Sequence[str]) -> list[StoredTrack]:
        """The chosen songs in their original order; the choice does not depend on any seed.

        The weights of the songs are scaled so that each corpus keeps its share of the excerpts.
        """
        if self.songs == 1:
            return list(tracks)
        random = np.random.default_rng(0)
        sizes = Counter(track.corpus for track in tracks)
        chosen: dict[int, int] = {}  # index of a chosen song → songs chosen from its corpus
        for corpus in sorted(sizes):
            places = [place for place, track in enumerate(tracks) if track.corpus == corpus]
            places.sort(key=lambda place: sounding_share(tracks[place], targets))
            strata = np.array_split(places, max(1, round(self.songs * len(places))))
            chosen |= {int(random.choice(stratum)): len(strata) for stratum in strata}
        main_share = sum(tracks[place].corpus == 0 for place in chosen) / (sizes[0] or 1) or 1.0
        return [
            replace(track, weight=track.weight * main_share * sizes[track.corpus] / chosen[place])
            for place, track in enumerate(tracks)
            if place in chosen
        ]


def scaled(count: int, share: int | float) -> int:
    """Multiply a sample rate, window or hop by a share.

    Raises `InputError` if the result is not an integer.
    """
    part = count * share
    if part != round(part):
        raise InputError(
            f"data.downsample.rate {share} turns {count} into {part:g}; the sample rate, the "
            "window and the hop must be whole numbers: try 0.5 or 0.25"
        )
    return round(part)


def sounding_share(track: StoredTrack, targets: Sequence[str]) -> float:
    """Share of the song's blocks in which a target is active, averaged over the targets."""
    levels = track.levels
    return float(
        np.mean([sounding(levels[track.stems.index(target)]).mean() for target in targets])
    )
