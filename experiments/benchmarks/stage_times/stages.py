"""Mark functions of the package and layers of a network as stages: named ranges of a profile."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import wraps
from typing import Any
from unittest.mock import patch

from torch import nn
from torch.profiler import record_function

from stemsplit.audio import dither, encoding, song_stream
from stemsplit.data.augment.augment import Augment
from stemsplit.data.datamodule import StemDataModule
from stemsplit.data.excerpts import chunks as excerpts
from stemsplit.data.excerpts.sampling import ResumableLoader
from stemsplit.models.shapes import Estimate
from stemsplit.separation import separator as separators
from stemsplit.separation.chunks import songwise
from stemsplit.separation.front_end import FrontEnd
from stemsplit.separation.separator import Separator
from stemsplit.separation.songs import full_scale, song
from stemsplit.training.module import SeparationModule

PREFIX = "stage: "


def staged(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Make `function` a stage. If it returns an iterator, each step of the iterator is a stage."""

    @wraps(function)
    def run(*arguments: Any, **named: Any) -> Any:
        with record_function(PREFIX + name):
            result = function(*arguments, **named)
        return steps(name, result) if isinstance(result, Iterator) else result

    return run


def steps(name: str, iterator: Iterator[Any]) -> Iterator[Any]:
    while True:
        with record_function(PREFIX + name):
            try:
                item = next(iterator)
            except StopIteration:
                return
        yield item
        del item


class TimedEstimate(Estimate):
    """An estimate whose spectra, waveforms and magnitudes are stages."""

    def __init__(self, spectra: Any, waveforms: Any, magnitudes: Any = None) -> None:
        super().__init__(
            staged("masks", spectra),
            staged("masks", waveforms),
            magnitudes and staged("masks", magnitudes),
        )


def stages_of(separator: Separator, depth: int) -> ExitStack:
    """Functions of the package and layers of the network are stages until the stack is closed."""
    stack = ExitStack()
    for owner, attribute, name in (
        (ResumableLoader, "__iter__", "reading"),
        (excerpts.Chunk, "waveforms", "reading"),
        (StemDataModule, "on_after_batch_transfer", "mixing"),
        (Augment, "__call__", "augmentation"),
        (FrontEnd, "forward", "STFT"),
        (FrontEnd, "views", "views"),
        (FrontEnd, "inverse", "inverse STFT"),
        (SeparationModule, "_loss", "loss"),
        (SeparationModule, "backward", "backward: other"),
        (SeparationModule, "configure_gradient_clipping", "clipping"),
        (Separator, "_filter", "Wiener filter"),
        (Separator, "complete", "residual"),
        (song_stream.SongStream, "__iter__", "reading"),
        (songwise, "resampled", "resampling"),
        (songwise, "pieces_of", "chunks"),
        (songwise, "finite", "chunks"),
        (songwise, "paired", "chunks"),
        (songwise, "cross_faded", "chunks"),
        (songwise, "separated", "chunks"),
        (dither.Quantiser, "quantise", "dither"),
        (song, "mixed_down", "reading"),
        (song, "with_loudest_noted", "reading"),
        (song, "selected", "selecting stems"),
        (full_scale, "limited", "limiting"),
        (encoding.Writer, "write", "writing"),
    ):
        stack.enter_context(patch.object(owner, attribute, staged(name, getattr(owner, attribute))))
    stack.enter_context(patch.object(separators, "Estimate", TimedEstimate))
    for name, layer in layers(separator.network, depth).items():
        running: list[record_function] = []

        def enter(layer: Any, inputs: Any, name: str = name, running: Any = running) -> None:
            running.append(record_function(PREFIX + name))
            running[-1].__enter__()

        def leave(layer: Any, inputs: Any, outputs: Any, running: Any = running) -> None:
            running.pop().__exit__(None, None, None)

        stack.callback(layer.register_forward_pre_hook(enter).remove)
        stack.callback(layer.register_forward_hook(leave).remove)
    return stack


def layers(network: Any, depth: int) -> dict[str, nn.Module]:
    """The network and its modules with at most `depth` parts in their names; no containers."""
    return {
        f"network {name}".strip(): module
        for name, module in network.named_modules()
        if name.count(".") < depth and not isinstance(module, nn.ModuleDict | nn.ModuleList)
    }
