"""Trace the network of a separator as an ONNX model."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.onnx import symbolic_helper

from stemsplit.errors import InputError, needs_extra
from stemsplit.models.shapes import Views
from stemsplit.separation.bag import Bag
from stemsplit.separation.chunks.batches import is_out_of_memory
from stemsplit.separation.separator import Separator

with needs_extra("onnx"):
    import onnx

OPSET = 17  # runtimes since 2022 support it
RMS_NORM = "aten::rms_norm"


class MaskNetwork(nn.Module):
    """The network of a separator, as the exporter needs it.

    The views are separate arguments. The output is the mask; if it is complex, the outputs are its
    real and its imaginary part.
    """

    def __init__(self, separator: Separator) -> None:
        super().__init__()
        network: Any = separator.network
        self.names = network.views
        self.networks = network.networks if isinstance(network, Bag) else nn.ModuleList([network])
        self.complex = any(hasattr(member, "mask_parts") for member in self.networks)

    def forward(self, *views: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        named = dict(zip(self.names, views, strict=True))
        if not self.complex:
            return torch.cat([member(named) for member in self.networks], dim=1)
        parts = torch.cat([self.parts(member, named) for member in self.networks], dim=1)
        return parts[..., 0], parts[..., 1]

    @torch.no_grad()
    def masks(self, views: Sequence[Tensor]) -> list[Tensor]:
        """The outputs for these views, as a list."""
        output = self(*views)
        return list(output) if isinstance(output, tuple) else [output]

    @staticmethod
    def parts(network: Any, views: Views) -> Tensor:
        """Return the real and imaginary parts of a mask along the last axis."""
        if hasattr(network, "mask_parts"):
            return network.mask_parts(views)
        mask = network(views)
        return torch.stack([mask, 0 * mask], dim=-1)  # zeros_like would fix the batch size


@torch.no_grad()
def traced(network: MaskNetwork, views: Sequence[Tensor]) -> Any:
    """Convert a network to an ONNX model for any batch size and any number of frames."""
    outputs = output_names(network)
    axes = {name: {0: "batch", 3: "frame"} for name in network.names}
    try:
        with TemporaryDirectory() as folder, warnings.catch_warnings(), exported_rms_norm():
            # The exporter based on torch.export fixes the number of frames of an LSTM, so the older
            # exporter is used. It warns that it is deprecated, and that values of the example may
            # become constants of the model. The warnings can be ignored, because `write` tests the
            # model with other numbers of frames and batch sizes.
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", torch.jit.TracerWarning)
            warnings.filterwarnings("ignore", "Exporting a model to ONNX with a batch_size")
            torch.onnx.export(
                network,
                tuple(views),
                f"{folder}/network.onnx",
                input_names=list(network.names),
                output_names=outputs,
                opset_version=OPSET,
                dynamic_axes=axes | {name: {0: "batch"} for name in outputs},
                dynamo=False,
            )
            return onnx.load(f"{folder}/network.onnx")
    except RuntimeError as error:  # this is also the base class of OnnxExporterError
        if is_out_of_memory(error):
            raise
        reason = str(error).splitlines()[0]
        raise InputError(f"ONNX cannot express this network ({reason})") from error


@contextmanager
def exported_rms_norm() -> Iterator[None]:
    """Teach the exporter torch's root-mean-square norm inside the ``with`` statement."""
    torch.onnx.register_custom_op_symbolic(RMS_NORM, rms_norm, OPSET)
    try:
        yield
    finally:
        torch.onnx.unregister_custom_op_symbolic(RMS_NORM, OPSET)


@symbolic_helper.parse_args("v", "v", "v", "f")
def rms_norm(graph: Any, values: Any, shape: Any, weight: Any, epsilon: float | None) -> Any:
    """Add nodes that divide by the root mean square over the last axis and multiply by `weight`."""
    added = torch.finfo(torch.float32).eps if epsilon is None else epsilon
    power = graph.op("ReduceMean", graph.op("Mul", values, values), axes_i=[-1])
    power = graph.op("Add", power, graph.op("Constant", value_t=torch.tensor(added)))
    normed = graph.op("Div", values, graph.op("Sqrt", power))
    return normed if weight.node().mustBeNone() else graph.op("Mul", normed, weight)


def output_names(network: MaskNetwork) -> list[str]:
    return ["mask_real", "mask_imaginary"] if network.complex else ["mask"]
