"""Weights of open-unmix: the estimates equal those of the `openunmix` package."""

from pathlib import Path
from typing import Any

import pytest
import torch
from openunmix.model import OpenUnmix
from openunmix.model import Separator as OpenUnmixSeparator
from torch import Tensor

import stemsplit
from stemsplit import combine
from stemsplit.errors import InputError

# With short windows some mel filters are empty; open-unmix does not use them.
pytestmark = pytest.mark.filterwarnings("ignore:Empty filters")

FOUR = ["vocals", "drums", "bass", "other"]


def network(channels: int, hidden: int = 16, layers: int = 3, **sizes: Any) -> OpenUnmix:
    """open-unmix with random weights and statistics."""
    torch.manual_seed(channels + hidden + layers)
    sizes = {"nb_bins": 129, "max_bin": 80, **sizes}
    model = OpenUnmix(nb_channels=channels, hidden_size=hidden, nb_layers=layers, **sizes)
    for name, value in model.state_dict().items():
        if name.startswith(("bn", "input", "output")) and value.is_floating_point():
            value.uniform_(0.5, 1.5)
    return model.eval()


def publish(model: OpenUnmix, path: Path, old: bool = False, sample_rate: int = 44100) -> Path:
    """Write a file as the training of open-unmix does; `old` is the layout of its first release."""
    state = model.state_dict()
    if old:
        state["sample_rate"] = torch.tensor(sample_rate)
        window = torch.hann_window(2 * (model.nb_output_bins - 1))
        state["stft.window"] = state["transform.0.window"] = window
    torch.save(state, path, _use_new_zipfile_serialization=not old)
    return path


def magnitude(model: OpenUnmix, channels: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 3 * torch.rand(2, channels, model.nb_output_bins, 11, generator=generator)


@pytest.mark.parametrize("old", [False, True], ids=["new layout", "old layout"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    "sizes",
    [
        {"hidden": 16, "layers": 3},
        {"hidden": 16, "layers": 1},
        {"hidden": 34, "layers": 2},
        {"max_bin": None},
        {"max_bin": 1},
        {"hidden": 64, "nb_bins": 2049, "max_bin": 1487},
    ],
    ids=str,
)
def test_magnitudes_equal_open_unmix(
    tmp_path: Path, old: bool, channels: int, sizes: dict[str, Any]
) -> None:
    theirs = network(channels, **sizes)
    ours = stemsplit.load(publish(theirs, tmp_path / "vocals-b62c91ce.pth", old))
    assert ours.stems == ("vocals", "accompaniment")
    assert ours.channels == channels
    window = 2 * (theirs.nb_output_bins - 1)
    front_end = ours.front_end
    assert (front_end.sample_rate, front_end.window, front_end.hop) == (44100, window, window // 4)
    x = magnitude(theirs, channels)
    estimate = ours.network({"magnitude": x})[:, 0] * x
    torch.testing.assert_close(estimate, theirs(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rate", [16000, 22050, 44100, 48000])
@pytest.mark.parametrize("bins", [65, 129, 513, 2049])
def test_bands_read_equal_open_unmix_at_any_rate(tmp_path: Path, rate: int, bins: int) -> None:
    for bands_read in (1, bins // 3, bins - 1, bins):
        theirs = network(1, hidden=4, layers=1, nb_bins=bins, max_bin=bands_read)
        ours = stemsplit.load(publish(theirs, tmp_path / "drums.pth", True, rate))
        assert ours.sample_rate == rate
        assert ours.network.branches["magnitude"].norm.bands == bands_read


@pytest.mark.parametrize("old", [False, True], ids=["new layout", "old layout"])
def test_bag_of_four_equals_the_four_networks(tmp_path: Path, old: bool) -> None:
    # Different widths, as in a bag of separate trainings.
    theirs = {target: network(2, hidden=8 + 2 * n) for n, target in enumerate(FOUR)}
    files = [
        publish(model, tmp_path / f"{name}-0123abcd.pth", old) for name, model in theirs.items()
    ]
    combine.main([*map(str, files), "--output", str(tmp_path / "bag.ckpt")])
    x = magnitude(theirs["vocals"], 2)
    expected = torch.stack([model(x) for model in theirs.values()], dim=1)
    for bag in (stemsplit.load(files), stemsplit.load(tmp_path / "bag.ckpt")):
        assert bag.stems == tuple(FOUR)
        estimate = bag.network({"magnitude": x}) * x[:, None]
        torch.testing.assert_close(estimate, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("iterations", [0, 1])
def test_bag_of_four_separates_like_open_unmix(tmp_path: Path, iterations: int) -> None:
    theirs = {target: network(2, hidden=8 + 2 * n) for n, target in enumerate(FOUR)}
    bag = stemsplit.load([publish(model, tmp_path / f"{t}.pth") for t, model in theirs.items()])
    bag.wiener_iterations = iterations
    song = torch.rand(2, 10000, generator=torch.Generator().manual_seed(0)) - 0.5
    reference = OpenUnmixSeparator(theirs, iterations, n_fft=256, n_hop=64, wiener_win_len=None)
    with torch.inference_mode():
        expected = reference(song[None])[0]
    # stemsplit spreads the difference from the song equally over all stems.
    expected = expected + (song - expected.sum(dim=0)) / len(FOUR)
    stems = torch.stack(list(bag.separate(song, 44100).values()))
    torch.testing.assert_close(stems, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("vocals.pth", "vocals"),
        ("bass-8d85a5bd.pth", "bass"),
        ("lead_vocals-final.2.pth", "lead_vocals"),
    ],
)
def test_file_name_starts_with_the_target(tmp_path: Path, name: str, target: str) -> None:
    separator = stemsplit.load(publish(network(2), tmp_path / name))
    assert separator.targets == (target,)
    song = torch.rand(2, 3000) - 0.5
    stems = separator.separate(song, 44100)
    torch.testing.assert_close(sum(stems.values()), song, rtol=0, atol=1e-6)


def test_unidirectional_network_is_refused(tmp_path: Path) -> None:
    path = publish(network(2, unidirectional=True), tmp_path / "vocals.pth")
    with pytest.raises(InputError, match=rf"{path}: .*unidirectional"):
        stemsplit.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attention.weight": torch.zeros(3)}, "'attention.weight' is not a weight of open-unmix"),
        ({"lstm.bias_hh_l0": torch.zeros(3)}, "lstm.bias_hh_l0"),
        ({"fc2.weight": None}, "decoder.0.weight"),
        ({"output_mean": None}, "output_mean"),
        ({"fc1.weight": torch.zeros(16, 7)}, "encoder.weight"),
        ({"fc1.weight": torch.zeros(15, 160)}, "hidden 15"),
        ({"sample_rate": torch.tensor([1, 2])}, "not a checkpoint"),
    ],
    ids=lambda value: str(list(value)) if isinstance(value, dict) else "",
)
def test_wrong_weights_are_refused_in_one_line(
    tmp_path: Path, change: dict[str, Tensor | None], message: str
) -> None:
    path = tmp_path / "vocals.pth"
    state = {**network(2).state_dict(), **change}
    torch.save({name: value for name, value in state.items() if value is not None}, path)
    with pytest.raises(InputError) as refused:
        stemsplit.load(path)
    line = str(refused.value)
    assert line.startswith(f"{path}: ")
    assert message in line
    assert "\n" not in line
    assert len(line) < 400 + len(str(path))


@pytest.mark.parametrize("old", [False, True], ids=["new layout", "old layout"])
def test_damaged_file_is_refused(tmp_path: Path, old: bool) -> None:
    path = publish(network(2), tmp_path / "vocals.pth", old)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(InputError, match=f"{path}: not a checkpoint, or a damaged one"):
        stemsplit.load(path)
