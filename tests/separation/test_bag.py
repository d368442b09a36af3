"""Several separators as one: what a bag finds, what can be in it, and how it is written."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn

import stemsplit
from stemsplit import combine, separate
from stemsplit.configuration import CONF, register_resolvers
from stemsplit.errors import InputError
from stemsplit.evaluate import evaluate_systems
from stemsplit.models.shapes import Stems, Waveform
from stemsplit.separation.bag import Bag, residual_of
from stemsplit.separation.checkpoint import build, save
from stemsplit.separation.separator import Separator

RATE = 8000
FRONT_END = {"sample_rate": RATE, "window": 256, "hop": 64, "mel_bands": 16, "mfccs": 4}
BLSTM = {"class": "stemsplit.models.blstm.Blstm", "hidden": 8, "layers": 1}
MLP = {"class": "stemsplit.models.mlp.Mlp", "hidden": 8}
FOUR = ["vocals", "drums", "bass", "other"]


class Share(nn.Module):
    """A waveform model: every stem is a share of the mixture."""

    views = ()

    def __init__(
        self, bands: dict[str, int], sample_rate: int, channels: int, stems: int, share: float
    ) -> None:
        super().__init__()
        self.shares = nn.Parameter(torch.full((stems,), share))

    def forward(self, mixture: Waveform) -> Stems:
        return self.shares[:, None, None] * mixture[:, None]


SHARE = {"class": f"{__name__}.Share"}


def member(path: Path, *targets: str, network: Any = BLSTM, **settings: Any) -> Path:
    """A checkpoint of a small separator, whose weights follow from its targets."""
    torch.manual_seed(sum(targets[0].encode()))
    arguments: dict[str, Any] = {
        "front_end": FRONT_END,
        "targets": list(targets),
        "residual": residual_of(targets),
        "channels": 2,
        "chunk_seconds": 0.5,
        "overlap_seconds": 0.1,
        "allow": [SHARE["class"]],
    }
    save(build(network=network, **(arguments | settings)), path)
    return path


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Checkpoints of two architectures that read different views, for three targets."""
    both = {**BLSTM, "views": ["magnitude", "mel"]}
    return [
        member(tmp_path / "a.ckpt", "vocals", network=both),
        member(tmp_path / "b.ckpt", "drums", "bass", network=MLP),
    ]


def noise(time: int, channel: int = 2) -> Tensor:
    return torch.rand(channel, time, generator=torch.Generator().manual_seed(time)) - 0.5


def masks(separator: Separator, mixture: Tensor) -> Tensor:
    spectrum = separator.front_end(mixture[None])
    return separator.network(separator.front_end.views(spectrum, separator.network.views))


def same(left: Separator, right: Separator) -> bool:
    song = noise(3 * RATE // 4)
    stems, others = left.separate(song, RATE), right.separate(song, RATE)
    return list(stems) == list(others) and all(torch.equal(stems[n], others[n]) for n in stems)


def test_a_bag_finds_what_its_members_find_in_their_order(files: list[Path]) -> None:
    bag = stemsplit.load(files)
    assert bag.stems == ("vocals", "drums", "bass", "residual")
    assert bag.network.views == ("magnitude", "mel")
    assert not bag.training
    mixture = noise(2000)
    each = [masks(stemsplit.load(path), mixture) for path in files]
    torch.testing.assert_close(masks(bag, mixture), torch.cat(each, dim=1), rtol=0, atol=0)
    assert stemsplit.load(files[::-1]).stems == ("drums", "bass", "vocals", "residual")


def test_a_chunk_goes_once_through_the_front_end_and_every_network(files: list[Path]) -> None:
    bag = stemsplit.load(files)
    calls: list[str] = []
    for module in (bag.front_end, *bag.network.networks):
        module.register_forward_hook(lambda m, *_: calls.append(type(m).__name__))
    bag.separate(noise(RATE // 2), RATE)
    assert calls == ["FrontEnd", "Blstm", "Mlp"]


@pytest.mark.parametrize("number", [1, 2, 4])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_stems_of_a_bag_sum_to_the_song(tmp_path: Path, number: int, channels: int) -> None:
    files = [member(tmp_path / name, name, channels=channels) for name in FOUR[:number]]
    song = noise(RATE + 11, channels)
    stems = stemsplit.load(files).separate(song, RATE)
    rest = {1: ["accompaniment"], 2: ["residual"], 4: []}[number]
    assert list(stems) == FOUR[:number] + rest
    total = torch.stack(list(stems.values())).sum(dim=0)
    assert (total - song).abs().max() <= 1e-6 * song.abs().max()


def test_a_bag_of_one_is_the_one(tmp_path: Path) -> None:
    path = member(tmp_path / "a.ckpt", "vocals", residual="noise")
    assert stemsplit.load([path]).stems == ("vocals", "noise")
    assert same(stemsplit.load([path]), stemsplit.load(path))


def test_a_bag_in_a_bag_is_opened(files: list[Path], tmp_path: Path) -> None:
    other = member(tmp_path / "c.ckpt", "other")
    combine.main([*map(str, files), "--output", str(tmp_path / "inner.ckpt")])
    nested = stemsplit.load([other, tmp_path / "inner.ckpt"])
    assert nested.stems == ("other", "vocals", "drums", "bass")
    assert same(nested, stemsplit.load([other, *files]))
    assert nested.description == stemsplit.load([other, *files]).description


def test_waveform_models_can_be_combined(tmp_path: Path) -> None:
    files = [
        member(tmp_path / target, target, network={**SHARE, "share": share}, wiener_iterations=0)
        for target, share in (("vocals", 0.25), ("drums", 0.5))
    ]
    song = noise(RATE)
    stems = stemsplit.load(files, allow=[SHARE["class"]]).separate(song, RATE)
    for name, share in {"vocals": 0.25, "drums": 0.5, "residual": 0.25}.items():
        torch.testing.assert_close(stems[name], share * song, rtol=0, atol=1e-6)
    with pytest.raises(InputError, match="allow"):
        stemsplit.load(files)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"front_end": {**FRONT_END, "hop": 32}}, "hop 32 is not 64"),
        ({"front_end": {**FRONT_END, "sample_rate": 16000}}, "sample_rate 16000 is not 8000"),
        ({"front_end": {**FRONT_END, "mel_bands": 20}}, "mel_bands 20 is not 16"),
        (
            {"front_end": {**FRONT_END, "window": 512, "hop": 128}},
            "window 512 is not 256, hop 128 is not 64",
        ),
        ({"channels": 1}, "channels 1 is not 2"),
        ({"network": {**SHARE, "share": 0.5}}, "making of waveforms is not masks"),
    ],
)
def test_members_that_do_not_match_are_refused_with_both_names(
    tmp_path: Path, settings: dict[str, Any], says: str
) -> None:
    first = member(tmp_path / "a.ckpt", "vocals")
    second = member(tmp_path / "b.ckpt", "drums", **settings)
    with pytest.raises(InputError) as refused:
        stemsplit.load([first, second], allow=[SHARE["class"]])
    assert str(refused.value) == f"{second} cannot be combined with {first}: {says}"


def test_a_target_is_found_by_one_member_only(files: list[Path], tmp_path: Path) -> None:
    again = member(tmp_path / "c.ckpt", "other", "drums")
    with pytest.raises(InputError, match=f"{again}: estimates 'drums', and so does {files[1]}"):
        stemsplit.load([*files, again])
    with pytest.raises(InputError, match="estimates 'vocals', and so does"):
        stemsplit.load([files[0], files[0]])
    with pytest.raises(InputError, match="no checkpoint"):
        stemsplit.load([])


@pytest.mark.parametrize(
    ("targets", "residual"),
    [
        (FOUR, None),
        (sorted(FOUR), None),
        ([*FOUR, "piano"], None),
        (["accompaniment", "vocals"], None),
        (["vocals"], "accompaniment"),
        (["drums"], "residual"),
        (["vocals", "drums"], "residual"),
    ],
)
def test_what_targets_leave(targets: list[str], residual: str | None) -> None:
    assert residual_of(targets) == residual


def test_statistics_reach_every_member(files: list[Path]) -> None:
    bag = stemsplit.load(files)
    bands = {view: bag.front_end.bands(view) for view in bag.network.views}
    bag.network.set_statistics(
        {v: (torch.full((n,), 2.0), torch.ones(n)) for v, n in bands.items()}
    )
    for network in bag.network.networks:
        assert any((p == -2).all() for name, p in network.named_parameters() if "mean" in name)


def test_networks_that_do_not_fit_the_targets_are_refused() -> None:
    networks = [{**BLSTM, "stems": 1}, {**MLP, "stems": 2}]
    with pytest.raises(InputError, match="3 stems do not fit 2 targets"):
        build(FRONT_END, networks, ["vocals", "drums"], "residual", 2)
    with pytest.raises(InputError, match=r"os\.system"):
        build(
            FRONT_END, [{**BLSTM, "stems": 1}, {"class": "os.system", "stems": 1}], FOUR[:2], "r", 2
        )


def test_a_written_bag_is_a_checkpoint_like_any_other(files: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "new" / "bag.ckpt"
    combine.main([*map(str, files), "--output", str(path)])
    assert [file.name for file in path.parent.iterdir()] == ["bag.ckpt"]
    content = torch.load(path, weights_only=True)
    assert [network["stems"] for network in content["separator"]["network"]] == [1, 2]
    bag = stemsplit.load(path)
    assert isinstance(bag.network, Bag)
    assert same(bag, stemsplit.load(files))


def test_separate_takes_a_bag_or_its_members(files: list[Path], tmp_path: Path) -> None:
    song = tmp_path / "song.wav"
    soundfile.write(song, 0.5 * noise(RATE).T.numpy(), RATE)
    combine.main([*map(str, files), "--output", str(tmp_path / "bag.ckpt")])
    given = {"one": [tmp_path / "bag.ckpt"], "many": files}
    for folder, checkpoints in given.items():
        options = [word for path in checkpoints for word in ("--checkpoint", str(path))]
        separate.main([str(song), *options, "--output", str(tmp_path / folder)])
    for stem in ("vocals", "drums", "bass", "residual"):
        one, many = (soundfile.read(tmp_path / folder / "song" / f"{stem}.wav") for folder in given)
        np.testing.assert_array_equal(one[0], many[0])
        assert one[0].shape == (RATE, 2)


@pytest.mark.slow
def test_evaluate_scores_a_bag(stem_corpus: Path, cache: Path, tmp_path: Path) -> None:
    front_end = {"window": 1024, "hop": 256}
    files = [member(tmp_path / target, target, front_end=front_end) for target in FOUR]
    combine.main([*map(str, files), "--output", str(tmp_path / "bag.ckpt")])
    register_resolvers()
    overrides = [
        f"checkpoint={tmp_path}/bag.ckpt",
        "data=musdb18",
        f"data.root={stem_corpus}",
        f"data.cache={cache}",
        "corpus=musdb18",
        "workers=1",
    ]
    with initialize_config_dir(config_dir=CONF):
        evaluate_systems(compose("evaluate", overrides))
    assert (tmp_path / "evaluations/musdb18-test/result.json").is_file()
    [scores] = tmp_path.rglob("museval/*/bag/test/*.json")
    assert all(f'"{target}"' in scores.read_text() for target in FOUR)


def test_what_cannot_be_combined_ends_in_one_line_and_changes_nothing(
    files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "bag.ckpt"
    kept.write_text("kept")
    cases = product(([files[0], files[0]], [files[0], tmp_path / "absent"]), (kept, tmp_path))
    for given, output in cases:
        with pytest.raises(SystemExit) as ended:
            combine.main([*map(str, given), "--output", str(output)])
        assert ended.value.code == 1
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert str(output if output == tmp_path else given[-1]) in line
    assert kept.read_text() == "kept"
    assert len(list(tmp_path.iterdir())) == 3
