"""Write the network of a separator, without the Fourier transform, as an ONNX model.

The inputs are the views that the network reads, `(batch, channel, band, frame)`. The output
``mask`` has the axes `(batch, stem, channel, freq, frame)`. ONNX has no complex type, so a complex
mask has two outputs: ``mask_real`` and ``mask_imaginary``. The model's metadata has the entry
``stemsplit``, a JSON document with the settings of the Fourier transform and of the views.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stemsplit.errors import InputError, needs_extra
from stemsplit.files import replacing
from stemsplit.models.network import output_of
from stemsplit.separation.chunks.batches import is_out_of_memory
from stemsplit.separation.chunks.inference import LONGEST_CHUNK_SECONDS
from stemsplit.separation.exporting.onnx_tracing import MaskNetwork, traced
from stemsplit.separation.separator import Separator

with needs_extra("onnx"):
    import onnx
    import onnxruntime

ENTRY = "stemsplit"  # the key of the document in the metadata
TOLERANCE = 1e-4  # largest difference, relative to the peak of the mask
WINDOWS = {"hann": "Hann, periodic", "rectangular": "rectangular"}
# Why networks with these outputs cannot be ONNX models.
WITHOUT_MODEL = {
    "waveforms": "computes its own Fourier transform of the waveform",
    "spectra": "contains a Fourier transform over frames",
}
EXAMPLE_FRAMES = 24  # the exporter traces the network with this number of frames
TESTED_FRAMES = (1, EXAMPLE_FRAMES, 100)  # if the model is for any number of frames
TESTED_BATCH = 2  # items; differs from the exporter's example, which has one item
FRAME_AXIS = 3  # of a view


def write(path: Path, separator: Separator, frames: int | None, facts: dict[str, Any]) -> float:
    """Write the network as an ONNX model for `frames` frames, or for any number if it is None.

    `facts` are added to the metadata. Returns the largest difference between the outputs of
    onnxruntime and of torch, relative to the peak of the mask. Raises `InputError` if ONNX cannot
    express the network, if this difference exceeds `TOLERANCE`, if the frames last longer than
    `LONGEST_CHUNK_SECONDS`, or if the memory is too small for them.
    """
    if (reason := WITHOUT_MODEL.get(output_of(separator.network))) is not None:
        raise InputError(
            f"this network {reason}, which an ONNX model cannot contain; write a bundle with "
            "--output instead"
        )
    tested = TESTED_FRAMES if frames is None else (frames,)
    check_length(separator, max(tested))
    try:
        content, difference = verified_model(separator, frames, tested, facts)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise InputError(
            f"the memory is too small for {max(tested)} frames; choose fewer with --frames"
        ) from None
    if not difference <= TOLERANCE:
        raise InputError(
            f"{path}: not written: its mask differs from the network's by {difference:.2g} of the "
            f"peak, more than {TOLERANCE:g}"
        )
    with replacing(path) as partial:
        partial.write_bytes(content)
    return difference


def check_length(separator: Separator, frames: int) -> None:
    """Raise `InputError` if the frames last longer than the longest chunk of a separation."""
    hop_seconds = separator.front_end.hop / separator.sample_rate
    if frames * hop_seconds > LONGEST_CHUNK_SECONDS:
        raise InputError(
            f"{frames} frames last {frames * hop_seconds:.0f} s; choose up to "
            f"{int(LONGEST_CHUNK_SECONDS / hop_seconds)} frames, {LONGEST_CHUNK_SECONDS} s"
        )


def verified_model(
    separator: Separator, frames: int | None, tested: Sequence[int], facts: dict[str, Any]
) -> tuple[bytes, float]:
    """Return the model of a separator, and its difference from the network (see `write`).

    The masks are compared for each number of frames in `tested`.
    """
    network = MaskNetwork(separator).eval()
    example = example_views(separator, 1, frames or EXAMPLE_FRAMES)
    if any(part.is_complex() for part in network.masks(example)):
        raise InputError(
            "ONNX has no complex numbers; a network with a complex mask needs a method mask_parts "
            "that returns real and imaginary parts, like stemsplit.models.band_split.BandSplit"
        )
    model = traced(network, example)
    if frames is not None:
        fix_frames(model, frames)
    label(model, separator, frames, facts)
    content = model.SerializeToString()
    differences = [
        difference_of(content, network, example_views(separator, TESTED_BATCH, count))
        for count in tested
    ]
    return content, float(np.max(differences))  # NaN if one of them is NaN


def example_views(separator: Separator, batch: int, frames: int) -> list[Tensor]:
    """Return the views of noise, cut to `frames` frames."""
    front_end = separator.front_end
    time = front_end.window + frames * front_end.hop
    noise = torch.rand(batch, separator.channels, time, generator=torch.Generator().manual_seed(0))
    views = front_end.views(front_end(noise - 0.5), separator.network.views)
    return [view[..., :frames] for view in views.values()]


def fix_frames(model: Any, frames: int) -> None:
    """Let a model accept only this number of frames.

    The model itself is traced for any number of frames. In some networks, the frames of all items
    form the batch of an inner layer. If tracing fixed the number of frames, the exporter would also
    fix the number of items.
    """
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[FRAME_AXIS].dim_value = frames


def label(model: Any, separator: Separator, frames: int | None, facts: dict[str, Any]) -> None:
    """Add the metadata, and name the axes of the outputs."""
    freqs = separator.front_end.window // 2 + 1
    sizes: list[str | int | None] = [
        "batch",
        len(separator.targets),
        separator.channels,
        freqs,
        frames or "frame",
    ]
    for output in model.graph.output:
        output.CopyFrom(
            onnx.helper.make_tensor_value_info(output.name, onnx.TensorProto.FLOAT, sizes)
        )
    document = {
        "version": 1,
        "front_end": separator.front_end_settings,
        "stft": {
            "window": WINDOWS[separator.front_end_settings["window_shape"]],
            "padding": "half a window of reflected samples at both ends",
            "scale": "none",
        },
        "views": list(separator.network.views),
        "mask": [output.name for output in model.graph.output],
        "mask_axes": ["batch", "stem", "channel", "freq", "frame"],
        "targets": list(separator.targets),
        "residual": separator.residual,
        "channels": separator.channels,
        "sample_rate": separator.sample_rate,
        **facts,
    }
    onnx.helper.set_model_props(model, {ENTRY: json.dumps(document)})
    onnx.checker.check_model(model)


def difference_of(model: bytes, network: MaskNetwork, views: Sequence[Tensor]) -> float:
    """Return the largest difference of onnxruntime's and torch's masks, relative to the peak."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised; warnings are about graph optimisations
    inputs = {name: view.numpy() for name, view in zip(network.names, views, strict=True)}
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        masks = session.run(None, inputs)
    except Exception as error:  # the errors of onnxruntime have no common class
        reason = str(error).splitlines()[0]
        shape = list(views[0].shape)
        raise InputError(
            f"onnxruntime cannot run the model for a view of shape {shape} ({reason})"
        ) from error
    computed = torch.stack([torch.from_numpy(mask) for mask in masks])
    expected = torch.stack(network.masks(views))
    if computed.shape != expected.shape:
        return float("inf")
    peak = expected.abs().max().clamp(min=torch.finfo(torch.float32).tiny)  # a mask may be zero
    return float((computed - expected).abs().max() / peak)
