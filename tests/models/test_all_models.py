"""Properties of every architecture that has a YAML file in conf/model."""

import itertools
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor

import stemsplit
from stemsplit.configuration import CONF, make, register_resolvers
from stemsplit.data.datamodule import make_batch
from stemsplit.models.shapes import Batch
from stemsplit.training.module import SeparationModule

RATE = 8000
TIME = 4000
STEMS = ["drums", "bass", "other", "vocals"]
# Settings that keep each network small; a network takes those that its YAML file has.
SMALL = {
    "hidden": 16,
    "layers": 1,
    "features": 8,
    "heads": 2,
    "mask_hidden": 16,
    "depth": 5,
    "pairs": 1,
}
OVERRIDES = [
    f"sample_rate={RATE}",
    "window=1024",
    "hop=256",
    "bandwidth_hertz=4000",
    "model.separator.front_end.mel_bands=32",
    "model.separator.front_end.mfccs=13",
    "model.separator.chunk_seconds=0.4",
    "model.separator.overlap_seconds=0.1",
    "run_dir=run",
    "name=model",
    "corpus=demo",
]
# With the small settings, the `_matched` variants would equal their originals.
MODELS = sorted(
    path.stem
    for path in (Path(CONF) / "model").glob("*.yaml")
    if not path.stem.endswith("_matched")
)
CASES = list(itertools.product(MODELS, [1, 2], [["vocals"], STEMS]))


@pytest.fixture(
    scope="module",
    params=CASES,
    ids=lambda case: f"{case[0]}-{case[1]} channels-{len(case[2])} targets",
)
def module(request: pytest.FixtureRequest) -> SeparationModule:
    model, channels, targets = request.param
    register_resolvers()
    with initialize_config_dir(config_dir=CONF):
        config = compose(
            "train",
            [
                f"model={model}",
                f"channels={channels}",
                f"targets=[{','.join(targets)}]",
                *OVERRIDES,
            ],
        )
    network = config.model.separator.network
    network.update({key: SMALL[key] for key in SMALL if key in network})
    torch.manual_seed(0)
    return make(config.model)


def batch_of(module: SeparationModule, stems: Tensor) -> Batch:
    """Select the separator's targets from all `STEMS` and make a batch like the data module's."""
    separator = module.separator
    targets = stems[:, [STEMS.index(target) for target in separator.targets]]
    keys = [(0, position) for position in range(len(stems))]
    views = separator.network.views
    return make_batch(separator.front_end, views, stems.sum(dim=1), targets, keys)


def noise(module: SeparationModule) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 0.1 * torch.randn(2, 4, module.separator.channels, TIME, generator=generator)


def test_output_is_finite_and_has_the_shape_of_the_input(module: SeparationModule) -> None:
    """A mask has the shape of the spectrum; without views, stems have that of the waveform."""
    batch = batch_of(module, noise(module))
    network = module.separator.network
    reference = batch.spectrum if network.views else batch.mixture
    output = network(batch.views if network.views else batch.mixture)
    targets = len(module.separator.targets)
    batch_size, *shape = reference.shape
    assert output.shape == (batch_size, targets, *shape)
    assert output.isfinite().all()
    assert not network.views or output.is_complex() or (output >= 0).all()


def test_every_parameter_has_a_gradient(module: SeparationModule) -> None:
    batch = batch_of(module, noise(module))
    module.zero_grad()
    module.train()
    module.loss(module.separator.estimate(batch), batch).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("training", [True, False])
def test_silence_gives_finite_stems_loss_and_gradients(
    module: SeparationModule, training: bool
) -> None:
    module.train(training)
    batch = batch_of(module, torch.zeros_like(noise(module)))
    estimate = module.separator.estimate(batch)
    loss = module.loss(estimate, batch)
    assert loss.isfinite()
    assert estimate.waveforms.isfinite().all()
    module.zero_grad()
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in module.parameters())


def test_trained_and_reloaded_separator_gives_the_same_stems(
    module: SeparationModule, tmp_path: Path
) -> None:
    batch = batch_of(module, noise(module))
    before = [parameter.detach().clone() for parameter in module.parameters()]
    optimizer = module.optimizer(module.train().parameters())
    optimizer.zero_grad()
    module.loss(module.separator.estimate(batch), batch).backward()
    optimizer.step()
    assert not any(map(torch.equal, before, module.parameters()))

    path = tmp_path / "best.ckpt"
    description = module.separator.description
    torch.save({"separator": description, "state_dict": module.state_dict()}, path)
    # Several chunks, of which the last is shorter.
    mixture = 0.3 * torch.randn(module.separator.channels, 7001)
    stems = module.separator.separate(mixture, RATE)
    reloaded = stemsplit.load(path).separate(mixture, RATE)
    torch.testing.assert_close(reloaded, stems, rtol=0, atol=0)
    assert set(module.separator.targets) <= set(stems)
    total = torch.stack(list(stems.values())).sum(dim=0)
    assert (total - mixture).abs().max() <= 1e-6 * mixture.abs().max()
