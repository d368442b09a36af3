"""Write the network of a separator as an ONNX model. The Fourier transform stays outside.

The inputs are the views that the network reads, `(batch, channel, band, frame)`. The output
``mask`` has the axes `(batch, stem, channel, freq, frame)`. A complex mask, for which ONNX has no
type, has two outputs: ``mask_real`` and ``mask_imaginary``. The model's metadata has the entry
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
from stemsplit.separation.exporting.onnx_tracing import MaskNetwork, traced
from stemsplit.separation.separator import Separator

with needs_extra("onnx"):
    import onnx
    import onnxruntime

ENTRY = "stemsplit"  # the key of the document in the metadata
TOLERANCE = 1e-4  # of the peak of the mask
EXAMPLE_FRAMES = 24  # the exporter traces the network with this number of frames
TESTED_FRAMES = (1, EXAMPLE_FRAMES, 100)  # of a model for any number of frames
TESTED_BATCH = 2  # the exporter traces one item


def write(path: Path, separator: Separator, frames: int | None, facts: dict[str, Any]) -> float:
    """Write the network as an ONNX model for `frames` frames, or for any number if it is None.

    `facts` are added to the metadata. Returns the largest difference between the outputs of
    onnxruntime and of torch, relative to the peak of the mask. Raises `InputError` if ONNX cannot
    express the network, or if this difference exceeds `TOLERANCE`.
    """
    if not separator.network.views:
        raise InputError(
            "this network computes its own Fourier transform of the waveform, which an ONNX model "
            "cannot hold; write a bundle with --output instead"
        )
    network = MaskNetwork(separator).eval()
    example = example_views(separator, 1, frames or EXAMPLE_FRAMES)
    if any(part.is_complex() for part in network.masks(example)):
        raise InputError(
            "ONNX has no complex numbers; a network with a complex mask needs a method mask_parts "
            "that returns real and imaginary parts, like stemsplit.models.band_split.BandSplit"
        )
    model = traced(network, example, any_frames=frames is None)
    label(model, separator, frames, facts)
    content = model.SerializeToString()
    tested = TESTED_FRAMES if frames is None else (frames,)
    differences = [
        difference_of(content, network, example_views(separator, TESTED_BATCH, count))
        for count in tested
    ]
    difference = float(np.max(differences))  # NaN if one of them is NaN
    if not difference <= TOLERANCE:
        raise InputError(
            f"{path}: not written: its mask differs from the network's by {difference:.2g} of the "
            f"peak, more than {TOLERANCE:g}"
        )
    with replacing(path) as partial:
        partial.write_bytes(content)
    return difference


def example_views(separator: Separator, batch: int, frames: int) -> list[Tensor]:
    """The views of `frames` frames of noise."""
    front_end = separator.front_end
    time = front_end.window + frames * front_end.hop
    noise = torch.rand(batch, separator.channels, time, generator=torch.Generator().manual_seed(0))
    views = front_end.views(front_end(noise - 0.5), separator.network.views)
    return [view[..., :frames] for view in views.values()]


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
            "window": "Hann, periodic",
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
    """Largest difference between onnxruntime's and torch's mask, relative to the mask's peak."""
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
