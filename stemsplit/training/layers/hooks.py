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
    """Modules with parameters of their own, by name. The network itself is named "network"."""
    return {
        name or "network": module
        for name, module in network.named_modules()
        if any(True for _ in module.parameters(recurse=False))
    }


def compiled(network: nn.Module) -> bool:
    """Whether any module is compiled in place. Compiled modules do not call hooks of layers."""
    # torch has no public attribute that shows whether `Module.compile` was called.
    return any(module._compiled_call_impl is not None for module in network.modules())  # noqa: SLF001


def root_mean_square(*tensors: Tensor) -> Figure:
    """Root mean square of the magnitudes of all elements, computed on their device."""
    reals = [tensor.abs() if tensor.is_complex() else tensor for tensor in tensors]
    norms = [  # float32 or more precise, also for half-precision tensors
        torch.linalg.vector_norm(real, dtype=torch.promote_types(real.dtype, torch.float32))
        for real in reals
    ]
    return torch.linalg.vector_norm(torch.stack(norms)) / sum(real.numel() for real in reals) ** 0.5


def main_tensor(value: Any) -> Tensor | None:
    """Return `value`, the input or output of a layer. If it is a tuple, return its first item.

    Returns None for anything but a tensor of real or complex floating-point numbers.
    """
    if isinstance(value, tuple) and value:
        value = value[0]
    if isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex()):
        return value
    return None


class Probe:
    """Hooks that measure the inputs, outputs and gradients of layers until `detach` is called.

    ``figures[quantity][layer]`` is a root mean square, on the device of the network. The quantities
    ``activation/in`` and ``activation/out`` are the input and output of the layer; ``gradient/in``
    and ``gradient/out`` are the gradients of the loss with respect to them. For a layer that is
    called several times, the largest value is kept. If the output of a layer is modified in place,
    its ``gradient/out`` may be missing. `order` lists the layers in the order of the forward pass.
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
        # Other modules may read the same tensor, as in a skip connection. The gradient of an alias
        # comes from this layer alone. Backward hooks of torch modules cannot be used, because they
        # forbid in-place operations.
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

    def _note(self, quantity: str, name: str, tensor: Tensor) -> None:
        value = root_mean_square(tensor.detach())
        figures = self.figures.setdefault(quantity, {})
        # torch.maximum propagates NaN.
        figures[name] = torch.maximum(figures[name], value) if name in figures else value


@contextmanager
def watching(
    network: nn.Module, visit: Callable[[str, nn.Module, Any, Any], None]
) -> Iterator[None]:
    """Inside the block, call `visit(name, module, inputs, output)` after every module.

    Compiled modules run in eager mode inside the block, because the hooks would make torch compile
    them again.
    """

    def call(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        visit(name or "network", module, inputs, output)

    handles = [
        module.register_forward_hook(partial(call, name))
        for name, module in network.named_modules()
    ]
    try:
        with torch.compiler.set_stance("force_eager"):
            yield
    finally:
        for handle in handles:
            handle.remove()
