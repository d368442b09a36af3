"""A training starts with the weights of a separator, also for fewer, more or other stems."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor

from stemsplit.configuration import CONF, make, register_resolvers
from stemsplit.errors import InputError
from stemsplit.separation.bag import describe, weights
from stemsplit.separation.checkpoint import build
from stemsplit.separation.separator import Separator
from stemsplit.training.initial_weights import new_views, take_over
from stemsplit.training.weights_fit import check_fit

FOUR = ["drums", "bass", "other", "vocals"]
SMALL = {"hidden": 16, "layers": 1, "features": 8, "heads": 2, "mask_hidden": 16, "depth": 5,
         "pairs": 1}  # fmt: skip
MODELS = ["mlp", "lstm", "mel_blstm", "band_split_small", "scnet_small", "tfc_tdf", "hdemucs_small"]
FRONT_END = {"sample_rate": 8000, "window": 1024, "hop": 256, "mel_bands": 32, "mfccs": 4}
BLSTM = {"class": "stemsplit.models.blstm.Blstm", "hidden": 16, "layers": 1}


def separator_of(model: str, targets: list[str], seed: int, *words: str) -> Separator:
    register_resolvers()
    sizes = ["sample_rate=8000", "window=1024", "hop=256", "bandwidth_hertz=4000"]
    sizes += [
        "model.separator.front_end.mel_bands=32",
        "model.separator.front_end.mfccs=4",
        "run_dir=r",
        "name=m",
        "corpus=c",
    ]
    with initialize_config_dir(config_dir=CONF):
        chosen = [f"model={model}", f"targets=[{','.join(targets)}]"]
        config = compose("train", [*chosen, *sizes, *words])
    network = config.model.separator.network
    network.update({key: SMALL[key] for key in SMALL if key in network})
    torch.manual_seed(seed)
    return make(config.model).separator.eval()


def blstm(*targets: str, seed: int = 0, **arguments: Any) -> Separator:
    torch.manual_seed(seed)
    options = {"channels": 1, **{k: arguments.pop(k) for k in ("channels",) if k in arguments}}
    network = {**BLSTM, **arguments.pop("network", {})}
    front_end = {**FRONT_END, **arguments.pop("front_end", {})}
    return build(front_end, network, targets, "rest", **options, **arguments).eval()


def bag_of(*targets: str) -> Separator:
    """A separator with one network per target, as published for open-unmix."""
    return combined(*(blstm(target, seed=seed) for seed, target in enumerate(targets, 10)))


def combined(*members: Separator) -> Separator:
    named = [(Path(str(number)), member) for number, member in enumerate(members)]
    bag = build(**describe(named))
    bag.load_state_dict(weights(members))
    return bag.eval()


@torch.no_grad()
def stems_of(separator: Separator) -> dict[str, Tensor]:
    """What the network estimates for each target: a mask, a spectrum or a waveform."""
    mixture = torch.randn(1, separator.channels, 4000, generator=torch.Generator().manual_seed(0))
    views = separator.front_end.views(separator.front_end(mixture), separator.network.views)
    return dict(zip(separator.targets, separator._output(mixture, views)[0], strict=True))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("targets", [["vocals"], ["vocals", "bass"], FOUR[::-1]], ids=len)
def test_stems_of_the_weights_are_estimated_from_the_start(model: str, targets: list[str]) -> None:
    source = separator_of(model, FOUR, 1)
    separator = separator_of(model, targets, 2)
    check_fit(source, separator, "W", 1.0)
    take_over(source, separator, "W")
    expected, stems = stems_of(source), stems_of(separator)
    for target in targets:
        torch.testing.assert_close(stems[target], expected[target])


@pytest.mark.parametrize("model", ["mlp", "band_split_small"])
def test_new_stem_keeps_its_own_outputs(model: str) -> None:
    source, separator = (
        separator_of(model, ["vocals", "bass"], 1),
        separator_of(model, ["piano", "vocals"], 2),
    )
    line = take_over(source, separator, "W")
    assert "piano is new" in line
    assert "stems of the weights without use: bass" in line
    torch.testing.assert_close(stems_of(separator)["vocals"], stems_of(source)["vocals"])


def test_network_of_each_target_is_found_in_a_bag() -> None:
    source = bag_of(*FOUR)
    one = blstm("vocals")
    assert take_over(source, one, "W").startswith("weights=W: 30 of 30 tensors copied completely")
    network: Any = source.network
    torch.testing.assert_close(one.network.state_dict(), network.networks[3].state_dict())
    several = blstm("vocals", "drums", network_per_target=True)
    check_fit(source, several, "W", 1.0)
    take_over(source, several, "W")
    networks: Any = several.network
    for member, place in zip(networks.networks, (3, 0), strict=True):
        torch.testing.assert_close(member.state_dict(), network.networks[place].state_dict())


def test_several_networks_do_not_fit_one_network() -> None:
    with pytest.raises(InputError, match=r"several networks for vocals, bass.*network_per_target"):
        check_fit(bag_of(*FOUR), blstm("vocals", "bass"), "W", 1.0)


def test_single_stem_of_another_name_takes_all_weights() -> None:
    source, separator = blstm("vocals"), blstm("voice", seed=1)
    assert take_over(source, separator, "W").endswith("copied completely; voice starts as vocals")
    torch.testing.assert_close(stems_of(separator)["voice"], stems_of(source)["vocals"])


def test_view_that_the_weights_lack_is_new() -> None:
    source = blstm("vocals")
    separator = blstm("vocals", seed=1, network={"views": ["magnitude", "mel"]})
    check_fit(source, separator, "W", 1.0)
    assert new_views(source, separator) == {"mel"}
    line = take_over(source, separator, "W")
    assert "not copied, or only for some stems: branches.mel." in line
    assert "tensors of the weights without use" in take_over(separator, source, "W")


def test_network_of_the_target_is_compared_and_not_the_first_network() -> None:
    lstm = {"class": "stemsplit.models.lstm.Lstm", "hidden": 8}
    drums = build(FRONT_END, lstm, ["drums"], "rest", channels=1)
    source = combined(blstm("vocals"), drums)
    with pytest.raises(InputError, match="network Lstm, but this run trains Blstm"):
        check_fit(source, blstm("drums"), "W", 1.0)
    separator = build(FRONT_END, lstm, ["drums"], "rest", channels=1)
    check_fit(source, separator, "W", 1.0)
    take_over(source, separator, "W")
    torch.testing.assert_close(stems_of(separator), stems_of(drums))

    wide = {"network": {"hidden": 32}}
    source = combined(blstm("drums"), blstm("vocals", **wide))
    check_fit(source, blstm("vocals", **wide), "W", 1.0)
    with pytest.raises(InputError, match=r"add model.separator.network.hidden=32$"):
        check_fit(source, blstm("vocals"), "W", 1.0)
    several = blstm("drums", "vocals", network_per_target=True)
    with pytest.raises(InputError, match="differ in their class or their sizes; choose one target"):
        check_fit(source, several, "W", 1.0)


def test_view_that_only_another_network_of_the_weights_reads_is_new() -> None:
    both = {"network": {"views": ["magnitude", "mel"]}}
    source = combined(blstm("drums"), blstm("vocals", **both))
    assert new_views(source, blstm("drums", **both)) == {"mel"}
    assert new_views(source, blstm("vocals", **both)) == set()


def test_weights_of_which_no_tensor_fits_are_refused() -> None:
    mlp = {"class": "stemsplit.models.mlp.Mlp", "hidden": 8}
    source = build(FRONT_END, mlp, ["v"], "r", 1)
    separator = blstm("v")
    before = stems_of(separator)
    with pytest.raises(InputError, match="no tensor of these weights fits the network for v"):
        take_over(source, separator, "W")
    torch.testing.assert_close(stems_of(separator), before)


@pytest.mark.parametrize(
    ("different", "rate", "words"),
    [
        ({"front_end": {"sample_rate": 16000}}, 1.0, "add sample_rate=8000$"),
        ({"front_end": {"sample_rate": 4000}}, 0.5, "add data.downsample.rate=1$"),
        ({"front_end": {"window": 512, "hop": 128}}, 1.0, "add window=1024 hop=256$"),
        ({"front_end": {"window_shape": "rectangular"}}, 1.0,
         r"add \+\+model.separator.front_end.window_shape=hann$"),
        ({"channels": 2}, 1.0, "add channels=1$"),
        ({"network": {"hidden": 32}}, 1.0, "add model.separator.network.hidden=16$"),
    ],
)  # fmt: skip
def test_other_settings_raise_input_error_with_the_words_to_add(
    different: dict[str, Any], rate: float, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        check_fit(blstm("vocals"), blstm("vocals", **different), "W", rate)


def test_mel_bands_matter_only_to_networks_that_read_them() -> None:
    other = {"front_end": {"mel_bands": 16}}
    check_fit(blstm("vocals"), blstm("vocals", **other), "W", 1.0)
    mel = {"network": {"views": ["mel"]}}
    with pytest.raises(InputError, match=r"add model.separator.front_end.mel_bands=32$"):
        check_fit(blstm("vocals", **mel), blstm("vocals", **mel, **other), "W", 1.0)


def test_other_architecture_and_other_shapes_raise_input_error() -> None:
    mlp = build(FRONT_END, {"class": "stemsplit.models.mlp.Mlp", "hidden": 8}, ["v"], "r", 1)
    with pytest.raises(InputError, match=r"network Blstm, but this run trains Mlp; choose.*model="):
        check_fit(blstm("v"), mlp, "W", 1.0)
    narrow = blstm("v", network={"bandwidth_hertz": 2000.0})
    with pytest.raises(InputError, match=r"norm.mean has the shape .* bandwidth_hertz"):
        take_over(blstm("v"), narrow, "W")
