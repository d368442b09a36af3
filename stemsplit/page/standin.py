"""Stand-in for `stemsplit.separate_file`."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from stemsplit import audio
from stemsplit.errors import Cancelled
from stemsplit.separation.ensemble import Ensemble
from stemsplit.separation.separator import Separator


class SeparatedSong(NamedTuple):
    paths: dict[str, Path]
    seconds: float
    notes: list[str]


def separate_file(
    song: Path,
    output: Path,
    model: Separator | Ensemble,
    *,
    name: str,
    progress: Callable[[float], bool | None],
) -> SeparatedSong:
    mixture, notes = audio.read_song(song)

    def advance(fraction: float) -> None:
        if progress(fraction) is False:
            raise Cancelled

    stems = model.separate(torch.from_numpy(mixture.samples), mixture.sample_rate, advance)
    output.mkdir()
    paths = {stem: output / f"{name.format(stem=stem)}.wav" for stem in stems}
    for stem, samples in stems.items():
        audio.write(paths[stem], samples.numpy(), mixture.sample_rate)
    return SeparatedSong(paths, mixture.samples.shape[1] / mixture.sample_rate, notes)
