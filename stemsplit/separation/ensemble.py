"""Average the stems of several separators, which may have different kinds of networks."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import tee
from typing import Any

import numpy as np
from jaxtyping import Float32

from stemsplit.errors import InputError
from stemsplit.separation.bag import residual_of
from stemsplit.separation.chunks import songwise
from stemsplit.separation.chunks.inference import Inference
from stemsplit.separation.separator import Separator


class Ensemble:
    """Average the stems of several separators, the members.

    `targets` are the targets of all members. The ensemble's estimate of a target is the mean over
    the members that have a stem of this name; the residual of a member also counts as a stem.
    `weights` are the weights of the members in the mean. By default, they are equal.

    The residual is the mixture minus the averaged targets. If all members have the same stems, it
    has the same name as in the first member; otherwise `bag.residual_of` chooses the name. If
    there is no name (for example with the targets vocals, drums, bass and other), there is no
    residual stem, and the mixture minus the targets is spread equally over the targets.

    Members may differ in sample rate, front end and network. Each member applies its own Wiener
    filter. Raises `InputError` if the numbers of weights and members differ, if a weight is not
    finite and above 0, or if a target has the name of the residual.
    """

    def __init__(
        self, members: Sequence[Separator], weights: Sequence[float] | None = None
    ) -> None:
        if weights is None:
            weights = [1.0] * len(members)
        check_weights(weights, len(members))
        self.members = tuple(members)
        self.weights = tuple(weights)
        self.targets = tuple(dict.fromkeys(name for member in members for name in member.targets))
        # If all members have the same stems, the stems of the ensemble have the same names.
        same = len({member.stems for member in members}) == 1
        self.residual = members[0].residual if same else residual_of(self.targets)
        if self.residual in self.targets:
            raise InputError(
                f"the models cannot be averaged: one has the target {self.residual!r}, which is "
                "also the name of the residual"
            )

    @property
    def stems(self) -> tuple[str, ...]:
        """The names of the output stems: the targets, then the residual."""
        return self.targets if self.residual is None else (*self.targets, self.residual)

    @property
    def channels(self) -> int:
        return max(member.channels for member in self.members)

    @property
    def sample_rate(self) -> int:
        """The highest sample rate of the members, in Hz."""
        return max(member.sample_rate for member in self.members)

    def check(self, inference: Inference) -> None:
        """Raise `InputError` if settings do not fit together, or do not fit a member."""
        for member in self.members:
            member.check(inference)

    def stream(
        self,
        blocks: Iterable[songwise.Samples],
        sample_rate: int,
        channels: int,
        inference: Inference = Inference(),  # noqa: B008
    ) -> Iterator[songwise.StemSamples]:
        """Separate a song that arrives in blocks; see `Separator.stream`."""
        song, *copies = tee(blocks, len(self.members) + 1)
        streams = [
            member.stream(copy, sample_rate, channels, inference)
            for member, copy in zip(self.members, copies, strict=True)
        ]
        # `pieces_of` and all members divide the song into blocks of `songwise.BLOCK` samples, so
        # their blocks have the same lengths.
        for piece, *parts in zip(songwise.pieces_of(song), *streams, strict=True):
            targets = np.stack([self._mean(name, parts) for name in self.targets])
            rest = piece.numpy() - targets.sum(axis=0)
            if self.residual is None:
                yield targets + rest / np.float32(len(targets))
            else:
                yield np.concatenate([targets, rest[None]])

    def _mean(
        self, name: str, parts: Sequence[Float32[np.ndarray, "_ channel time"]]
    ) -> songwise.Samples:
        having = [
            (weight, stems[member.stems.index(name)])
            for member, weight, stems in zip(self.members, self.weights, parts, strict=True)
            if name in member.stems
        ]
        total = sum(weight for weight, _ in having)
        return np.sum([np.float32(weight / total) * stem for weight, stem in having], axis=0)

    def separate(
        self,
        waveform: Any,
        sample_rate: int,
        progress: songwise.Progress | None = None,
        **settings: Any,
    ) -> dict[str, Any]:
        """Separate a song `(channel, time)` in memory; see `Separator.separate`."""
        inference = Inference(**settings)

        def stream(
            blocks: Iterable[songwise.Samples], rate: int, channels: int
        ) -> Iterator[songwise.StemSamples]:
            return self.stream(blocks, rate, channels, inference)

        return songwise.separate(stream, self.stems, waveform, sample_rate, progress)


def check_weights(weights: Sequence[float], models: int) -> None:
    """Raise `InputError` unless there is one weight above 0 for each model."""
    if len(weights) != models:
        raise InputError(
            f"give one weight for each model; weights: {len(weights)}, models: {models}"
        )
    if low := [weight for weight in weights if not 0 < weight < float("inf")]:
        raise InputError(f"weight {low[0]} must be a number above 0")
