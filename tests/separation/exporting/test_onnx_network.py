"""ONNX models give the masks of the networks that they were made from."""

import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor, nn

from stemsplit import export
from stemsplit.configuration import CONF, register_resolvers
from stemsplit.errors import InputError
from stemsplit.models.shapes import Mask, Views
from stemsplit.separation.checkpoint import build, save
from stemsplit.separation.exporting import onnx_network
from stemsplit.separation.separator import Separator

RATE = 8000
# Settings that keep each network small; a network takes those that its YAML file has.
SMALL = {"hidden": 16, "layers": 2, "features": 8, "heads": 2, "mask_hidden": 16, "depth": 2}
FRONT_END = {"sample_rate": RATE, "window": 256, "hop": 64, "mel_bands": 16, "mfccs": 4}
MLP = {"class": "stemsplit.models.mlp.Mlp", "hidden": 8}
BAND_SPLIT = {"class": "stemsplit.models.band_split.BandSplit", **SMALL}
for name in ("hidden", "layers"):
    del BAND_SPLIT[name]
# With the small settings, the `_matched` variants and the sizes of band_split would equal their
# originals.
MODELS = sorted(
    path.stem
    for path in (Path(CONF) / "model").glob("*.yaml")
    if not path.stem.endswith("_matched")
    and not path.stem.startswith(("hdemucs", "scnet", "band_split_"))
)


def separator_of(
    network: Any, *targets: str, residual: str | None = "rest", channels: int = 2
) -> Separator:
    """A small separator with random weights, and with mask values far from their start."""
    torch.manual_seed(0)
    separator = build(FRONT_END, network, targets or ["vocals", "drums"], residual, channels)
    with torch.no_grad():
        for parameter in separator.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return separator.eval()


def configured(model: str, channels: int = 2, **settings: Any) -> Separator:
    register_resolvers()
    with initialize_config_dir(config_dir=CONF):
        config = compose(
            "train", [f"model={model}", "bandwidth_hertz=3000", "run_dir=x", "name=x", "corpus=x"]
        )
    network = config.model.separator.network
    network.update({key: SMALL[key] for key in SMALL if key in network} | settings)
    return separator_of(OmegaConf.to_container(network, resolve=True), channels=channels)


def views_of(separator: Separator, batch: int, frames: int) -> Views:
    noise = torch.Generator().manual_seed(frames)
    waveform = torch.randn(batch, separator.channels, frames * 64, generator=noise)
    views = separator.front_end.views(separator.front_end(waveform), separator.network.views)
    return {name: view[..., :frames] for name, view in views.items()}


def computed(model: Path, views: dict[str, Tensor]) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]
    masks = session.run(None, {name: view.numpy() for name, view in views.items()})
    if outputs == ["mask_real", "mask_imaginary"]:
        return masks[0] + 1j * masks[1]
    assert outputs == ["mask"]
    return masks[0]


def assert_equal_masks(model: Path, separator: Separator, batch: int, frames: int) -> None:
    views = views_of(separator, batch, frames)
    with torch.no_grad():
        expected = separator.network(views).numpy()
    mask = computed(model, views)
    assert mask.shape == expected.shape
    assert abs(mask - expected).max() <= 1e-4 * abs(expected).max()


@pytest.mark.parametrize("model", MODELS)
def test_masks_of_any_length_and_batch_are_those_of_the_network(model: str, tmp_path: Path) -> None:
    separator = configured(model)
    path = tmp_path / "model.onnx"
    assert onnx_network.write(path, separator, None, {}) <= 1e-4
    for batch, frames in ((1, 1), (1, 61), (3, 24), (2, 100)):
        assert_equal_masks(path, separator, batch, frames)


@pytest.mark.parametrize("model", MODELS)
def test_masks_of_a_fixed_length_are_those_of_the_network(model: str, tmp_path: Path) -> None:
    separator = configured(model)
    path = tmp_path / "model.onnx"
    for frames in (1, 37):
        assert onnx_network.write(path, separator, frames, {}) <= 1e-4
    assert_equal_masks(path, separator, 3, frames)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("over_bands", ["attention", "lstm"])
@pytest.mark.parametrize("over_time", ["attention", "lstm"])
def test_every_band_split_has_the_masks_of_the_network(
    over_time: str, over_bands: str, channels: int, tmp_path: Path
) -> None:
    separator = configured("band_split", channels, over_time=over_time, over_bands=over_bands)
    path = tmp_path / "model.onnx"
    for frames in (None, 64):
        onnx_network.write(path, separator, frames, {})
        assert_equal_masks(path, separator, 3, frames or 61)


def test_static_model_accepts_only_its_number_of_frames(tmp_path: Path) -> None:
    separator = configured("lstm")
    path = tmp_path / "model.onnx"
    onnx_network.write(path, separator, 7, {})
    assert_equal_masks(path, separator, 2, 7)
    with pytest.raises(Exception, match="Expected: 7"):
        computed(path, views_of(separator, 1, 8))


@pytest.mark.parametrize("second", [MLP, BAND_SPLIT])
def test_bag_has_the_masks_of_all_its_networks(second: dict[str, Any], tmp_path: Path) -> None:
    networks = [{**MLP, "stems": 1}, {**second, "stems": 2}]
    separator = separator_of(networks, "vocals", "drums", "bass")
    onnx_network.write(tmp_path / "model.onnx", separator, None, {})
    assert_equal_masks(tmp_path / "model.onnx", separator, 1, 24)


def test_metadata_suffice_to_rebuild_the_view_and_the_stems(tmp_path: Path) -> None:
    """Separate with numpy and onnxruntime alone, from what the model states."""
    separator = separator_of(MLP)
    separator.wiener_iterations = 0
    path = tmp_path / "model.onnx"
    onnx_network.write(path, separator, None, {"licence": "MIT"})
    [entry] = onnx.load(path).metadata_props
    facts = json.loads(entry.value)
    assert (entry.key, facts["licence"], facts["sample_rate"]) == ("stemsplit", "MIT", RATE)
    assert (facts["targets"], facts["residual"]) == (["vocals", "drums"], "rest")
    window, hop = facts["front_end"]["window"], facts["front_end"]["hop"]
    time = 20 * hop
    song = 0.1 * torch.randn(2, time, generator=torch.Generator().manual_seed(0))

    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    padded = np.pad(song.numpy(), ((0, 0), (window // 2, window // 2)), mode="reflect")
    starts = range(0, padded.shape[1] - window + 1, hop)
    spectrum = np.fft.rfft(
        np.stack([padded[:, start : start + window] * hann for start in starts]), axis=2
    ).transpose(1, 2, 0)
    magnitude = torch.from_numpy(abs(spectrum).astype(np.float32))[None]
    mask = computed(path, {"magnitude": magnitude})[0]
    stems = separator.separate(song, RATE)
    for target, masked in zip(facts["targets"], mask * spectrum, strict=True):
        total, weight = np.zeros_like(padded), np.zeros(padded.shape[1])
        frames = np.fft.irfft(masked, axis=1).transpose(2, 0, 1)
        for start, frame in zip(starts, frames, strict=True):
            total[:, start : start + window] += frame * hann
            weight[start : start + window] += hann**2
        samples = (total / weight.clip(1e-9))[:, window // 2 : window // 2 + time]
        np.testing.assert_allclose(samples, stems[target], rtol=0, atol=1e-5)


def test_axes_of_inputs_and_outputs_are_named(tmp_path: Path) -> None:
    def axes(value: Any) -> list[str | int]:
        dims = value.type.tensor_type.shape.dim
        return [dim.dim_param or dim.dim_value for dim in dims]

    onnx_network.write(tmp_path / "any.onnx", separator_of(MLP), None, {})
    onnx_network.write(tmp_path / "seven.onnx", separator_of(BAND_SPLIT), 7, {})
    graph = onnx.load(tmp_path / "any.onnx").graph
    assert axes(graph.input[0]) == ["batch", 2, 129, "frame"]
    assert axes(graph.output[0]) == ["batch", 2, 2, 129, "frame"]
    graph = onnx.load(tmp_path / "seven.onnx").graph
    assert axes(graph.input[0]) == ["batch", 2, 258, 7]
    assert [axes(output) for output in graph.output] == 2 * [["batch", 2, 2, 129, 7]]


class Bessel(nn.Module):
    """A mask from a function that ONNX lacks."""

    views = ("magnitude",)

    def __init__(self, bands: Any, sample_rate: int, channels: int, stems: int) -> None:
        super().__init__()
        self.stems = stems

    def forward(self, views: Views) -> Mask:
        magnitude = views["magnitude"]
        mask = torch.special.bessel_j0(magnitude)
        return mask[:, None].expand(-1, self.stems, -1, -1, -1)


class Counting(Bessel):
    """A mask that depends on the number of frames of the traced example."""

    def forward(self, views: Views) -> Mask:
        magnitude = views["magnitude"]
        return magnitude[:, None].expand(-1, self.stems, -1, -1, -1) / len(magnitude[0, 0, 0])


class Fixed(Bessel):
    """A mask that can only be computed for the number of frames of the traced example."""

    def forward(self, views: Views) -> Mask:
        magnitude = views["magnitude"]
        ramp = torch.linspace(0.1, 1, int(magnitude.shape[3]))
        return (magnitude * ramp)[:, None].expand(-1, self.stems, -1, -1, -1)


class Rotating(Bessel):
    """A complex mask without a method `mask_parts`."""

    def forward(self, views: Views) -> Mask:
        return torch.polar(views["magnitude"], views["magnitude"])[:, None]


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("stemsplit.models.hdemucs.HybridDemucs", "computes its own Fourier transform"),
        ("stemsplit.models.scnet.SCNet", "contains a Fourier transform over frames"),
        (Bessel, "ONNX cannot express this network .*bessel_j0"),
        (Counting, "not written: its mask differs"),
        (Fixed, "onnxruntime cannot run the model for a view of shape"),
        (Rotating, "needs a method mask_parts"),
    ],
)
def test_network_without_an_equivalent_is_refused(
    network: Any, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    name = network if isinstance(network, str) else f"{__name__}.{network.__name__}"
    front_end = {**FRONT_END, "window": 1024, "hop": 256}
    separator = build(front_end, {"class": name}, ["vocals"], "rest", channels=2, allow=[name])
    with pytest.raises(InputError, match=message) as refused:
        onnx_network.write(tmp_path / "model.onnx", separator.eval(), None, {})
    assert len(str(refused.value).splitlines()) == 1
    assert not list(tmp_path.iterdir())
    # For unknown operators, the exporter prints the graph on stdout; it has no public switch.
    assert capfd.readouterr().err == ""


def test_too_many_frames_are_refused(tmp_path: Path) -> None:
    line = "99999999 frames last 800000 s; choose up to 450000 frames, 3600 s"
    with pytest.raises(InputError, match=line):
        onnx_network.write(tmp_path / "model.onnx", separator_of(MLP), 99999999, {})


class Hungry(Bessel):
    """A network that needs 4 TB per frame, while it is traced or in a plain run."""

    def forward(self, views: Views) -> Mask:
        magnitude = views["magnitude"]
        if torch.jit.is_tracing() or not self.only_traced:
            torch.empty(magnitude.shape[3], 10**15)
        return magnitude[:, None]

    only_traced = False


@pytest.mark.parametrize("only_traced", [False, True])
def test_too_little_memory_is_one_line(
    only_traced: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hungry, "only_traced", only_traced)
    name = f"{__name__}.Hungry"
    separator = build(FRONT_END, {"class": name}, ["vocals"], "rest", channels=2, allow=[name])
    with pytest.raises(InputError, match="the memory is too small for 5 frames; choose fewer"):
        onnx_network.write(tmp_path / "model.onnx", separator.eval(), 5, {})


def test_command_prints_one_line_without_warnings(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    save(separator_of({**MLP, "class": "stemsplit.models.blstm.Blstm"}), tmp_path / "a.ckpt")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export.main([f"{tmp_path}/a.ckpt", "--onnx", f"{tmp_path}/a.onnx", "--licence", "MIT"])
    printed = capfd.readouterr()
    assert printed.err == ""
    assert re.fullmatch(r"\S+a\.onnx: magnitude → mask; differs .*\n", printed.out)
