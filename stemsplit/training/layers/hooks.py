"""Hooks that capture the inputs, outputs and gradients of a network's layers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

Figure = Float[Tensor, ""]


def network_of(module: nn.Module) -> nn.Module:
    """The network that a `SeparationModule` trains."""
    return cast(nn.Module, cast(Any, module).separator.network)


def layers(network: nn.Module) -> dict[str, nn.Module]:
    """The modules that have parameters of their own, by name; what surrounds them is "network"."""
    return {
        name or "network": module
        for name, module in network.named_modules()
        if any(True for _ in module.parameters(recurse=False))
    }


def compiled(network: nn.Module) -> bool:
    """Whether a part is compiled in place, which runs without the hooks of its layers."""
    # torch has no public word for what `Module.compile` leaves behind.
    return any(module._compiled_call_impl is not None for module in network.modules())


def root_mean_square(*tensors: Tensor) -> Figure:
    """Root mean square of all elements, on their device; complex numbers by magnitude."""
    parts = [part.abs() if part.is_complex() else part for part in tensors]
    norms = [  # of half-precision numbers too, in float32
        torch.linalg.vector_norm(part, dtype=torch.promote_types(part.dtype, torch.float32))
        for part in parts
    ]
    return torch.linalg.vector_norm(torch.stack(norms)) / sum(part.numel() for part in parts) ** 0.5


def main_tensor(value: Any) -> Tensor | None:
    """The float tensor that a layer receives or returns: itself, or the first of a tuple."""
    if isinstance(value, tuple) and value:
        value = value[0]
    if isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex()):
        return value
    return None


class Probe:
    """Measures inputs, outputs and gradients of a network's layers while attached.

    ``figures[place][layer]`` are root mean squares on the device: at the places ``activation/in``
    and ``activation/out`` of the layer's input and output, at ``gradient/in`` and ``gradient/out``
    of the loss's gradient with respect to these two. A layer that is called several times counts
    with the largest; one whose output is changed in place may lack ``gradient/out``. `order` lists
    the layers as their outputs came.
    """

    def __init__(self, network: nn.Module) -> None:
        self.figures: dict[str, dict[str, Figure]] = {}
        self.order: list[str] = []
        self._handles: list[RemovableHandle] = []
        for name, layer in layers(network).items():
            self._handles += [
                layer.register_forward_pre_hook(partial(self._enter, name)),
                layer.register_forward_hook(partial(self._leave, name)),
            ]

    def detach(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _enter(self, name: str, layer: nn.Module, inputs: tuple[Any, ...]) -> Any:
        tensor = main_tensor(inputs)
        if tensor is None or not torch.is_grad_enabled():
            return None
        self._note("activation/in", name, tensor)
        if not tensor.requires_grad:
            return None
        # Others may read the same tensor (a skip connection); of an alias the gradient is the
        # layer's alone. (torch's own backward hooks forbid networks to work in place.)
        alias = tensor.view_as(tensor)
        alias.register_hook(partial(self._note, "gradient/in", name))
        return (alias, *inputs[1:])

    def _leave(self, name: str, layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        tensor = main_tensor(output)
        if tensor is None or not torch.is_grad_enabled():
            return
        if name not in self.order:
            self.order.append(name)
        self._note("activation/out", name, tensor)
        if tensor.requires_grad:
            tensor.register_hook(partial(self._note, "gradient/out", name))

    def _note(self, place: str, name: str, tensor: Tensor) -> None:
        found = root_mean_square(tensor.detach())
        figures = self.figures.setdefault(place, {})
        # (torch's maximum keeps what is not a number.)
        figures[name] = torch.maximum(figures[name], found) if name in figures else found


@contextmanager
def watching(network: nn.Module, see: Callable[[str, nn.Module, Any, Any], None]) -> Iterator[None]:
    """Call `see(name, module, inputs, output)` after every module that runs inside.

    What is compiled runs as it is written: it would else be compiled anew.
    """

    def seen(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        see(name or "network", module, inputs, output)

    handles = [
        module.register_forward_hook(partial(seen, name))
        for name, module in network.named_modules()
    ]
    try:
        with torch.compiler.set_stance("force_eager"):
            yield
    finally:
        for handle in handles:
            handle.remove()
