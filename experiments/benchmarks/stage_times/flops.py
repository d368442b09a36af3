"""Count the floating-point operations of the layers of a network."""

from collections import Counter
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from stage_times.recorder import BACKWARD
from stage_times.stages import layers
from stemsplit.separation.separator import Separator


def flops_of(separator: Separator, time: int, depth: int) -> Counter[str]:
    """Count the operations of the products in each stage, for one excerpt.

    In training mode, this includes the backward pass. Half of the operations are multiplications,
    and half are additions.
    """
    network: Any = separator.network
    mixture = torch.randn(1, separator.channels, time)
    views = separator.front_end.views(separator.front_end(mixture), network.views)
    # The counter does not see inside fused kernels.
    with (
        torch.backends.mkldnn.flags(enabled=False),
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):
        output = network(views if network.views else mixture)
        forward = by_layer(counter, network, depth)
        if not separator.training:
            return forward
        output.abs().sum().backward()
    both = by_layer(counter, network, depth)
    return forward + Counter({f"{BACKWARD}{name}": both[name] - forward[name] for name in both})


def by_layer(counter: FlopCounterMode, network: Any, depth: int) -> Counter[str]:
    """The counted operations of every layer, without those of the layers inside it."""
    counts = counter.get_flop_counts()
    paths = {
        name: ".".join([type(network).__name__, *name.split()[1:]])
        for name in layers(network, depth)
    }
    called = {name: path for name, path in paths.items() if path in counts}
    flops: Counter[str] = Counter()
    for name, path in called.items():
        count = sum(counts[path].values())
        flops[name] += count
        if outer := [other for other in called if name.startswith((f"{other}.", f"{other} "))]:
            flops[max(outer, key=len)] -= count
    return flops
