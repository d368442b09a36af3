"""Bags of separators: their stems, the checks of their members, and their checkpoints."""

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
from stemsplit.separation import checkpoint
from stemsplit.separation.bag import Bag, residual_of
from stemsplit.separation.checkpoint import build, save
from stemsplit.separation.separator import Separator

RATE = 8000
FRONT_END = {"sample_rate": RATE, "window": 256, "hop": 64, "mel_bands": 16, "mfccs": 4}
BLSTM = {"class": "stemsplit.models.blstm.Blstm", "hidden": 8, "layers": 1}
MLP = {"class": "stemsplit.models.mlp.Mlp", "hidden": 8}
FOUR = ["vocals", "drums", "bass", "other"]


class Share(nn.Module):
    """A waveform model whose stems are fixed shares of the mixture."""

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
    """Write a checkpoint of a small separator; its weights depend on its first target."""
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
    """Checkpoints for three targets, of two architectures that read different views."""
    two_views = {**BLSTM, "views": ["magnitude", "mel"]}
    return [
        member(tmp_path / "a.ckpt", "vocals", network=two_views),
        member(tmp_path / "b.ckpt", "drums", "bass", network=MLP),
    ]


def noise(time: int, channel: int = 2) -> Tensor:
    return torch.rand(channel, time, generator=torch.Generator().manual_seed(time)) - 0.5


def masks(separator: Separator, mixture: Tensor) -> Tensor:
    spectrum = separator.front_end(mixture[None])
    return separator.network(separator.front_end.views(spectrum, separator.network.views))


def have_equal_stems(separator: Separator, reference: Separator) -> bool:
    song = noise(3 * RATE // 4)
    stems, expected = separator.separate(song, RATE), reference.separate(song, RATE)
    return list(stems) == list(expected) and all(torch.equal(stems[n], expected[n]) for n in stems)


def test_bag_has_the_masks_of_its_members_in_order(files: list[Path]) -> None:
    bag = stemsplit.load(files)
    assert bag.stems == ("vocals", "drums", "bass", "residual")
    assert bag.network.views == ("magnitude", "mel")
    assert not bag.training
    mixture = noise(2000)
    of_members = [masks(stemsplit.load(path), mixture) for path in files]
    torch.testing.assert_close(masks(bag, mixture), torch.cat(of_members, dim=1), rtol=0, atol=0)
    assert stemsplit.load(files[::-1]).stems == ("drums", "bass", "vocals", "residual")


def test_front_end_and_networks_run_once_per_chunk(files: list[Path]) -> None:
    bag = stemsplit.load(files)
    calls: list[str] = []
    for module in (bag.front_end, *bag.network.networks):
        module.register_forward_hook(lambda m, *_: calls.append(type(m).__name__))
    bag.separate(noise(RATE // 2), RATE)
    assert calls == ["FrontEnd", "Blstm", "Mlp"]


@pytest.mark.parametrize("number", [1, 2, 4])
@pytest.mark.parametrize("channels", [1, 2])
def test_stems_of_a_bag_sum_to_the_song(tmp_path: Path, number: int, channels: int) -> None:
    files = [member(tmp_path / name, name, channels=channels) for name in FOUR[:number]]
    song = noise(RATE + 11, channels)
    stems = stemsplit.load(files).separate(song, RATE)
    residual = {1: ["accompaniment"], 2: ["residual"], 4: []}[number]
    assert list(stems) == FOUR[:number] + residual
    total = torch.stack(list(stems.values())).sum(dim=0)
    assert (total - song).abs().max() <= 1e-6 * song.abs().max()


def test_bag_of_one_equals_its_member(tmp_path: Path) -> None:
    path = member(tmp_path / "a.ckpt", "vocals", residual="noise")
    assert stemsplit.load([path]).stems == ("vocals", "noise")
    assert have_equal_stems(stemsplit.load([path]), stemsplit.load(path))


def test_bag_in_a_bag_is_flattened(files: list[Path], tmp_path: Path) -> None:
    other = member(tmp_path / "c.ckpt", "other")
    combine.main([*map(str, files), "--output", str(tmp_path / "inner.ckpt")])
    nested = stemsplit.load([other, tmp_path / "inner.ckpt"])
    assert nested.stems == ("other", "vocals", "drums", "bass")
    assert have_equal_stems(nested, stemsplit.load([other, *files]))
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
    ("settings", "message"),
    [
        ({"front_end": {**FRONT_END, "hop": 32}}, "hop is 32, not 64"),
        ({"front_end": {**FRONT_END, "sample_rate": 16000}}, "sample_rate is 16000, not 8000"),
        ({"front_end": {**FRONT_END, "mel_bands": 20}}, "mel_bands is 20, not 16"),
        (
            {"front_end": {**FRONT_END, "window": 512, "hop": 128}},
            "window is 512, not 256; hop is 128, not 64",
        ),
        ({"channels": 1}, "channels is 1, not 2"),
        ({"network": {**SHARE, "share": 0.5}}, "output is waveforms, not masks"),
    ],
)
def test_members_with_different_settings_are_refused(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    first = member(tmp_path / "a.ckpt", "vocals")
    second = member(tmp_path / "b.ckpt", "drums", **settings)
    with pytest.raises(InputError) as refused:
        checkpoint.load([first, second], allow=[SHARE["class"]])
    assert str(refused.value) == f"{second} cannot be combined with {first}: {message}"


def test_target_of_two_members_is_refused(files: list[Path], tmp_path: Path) -> None:
    third = member(tmp_path / "c.ckpt", "other", "drums")
    with pytest.raises(InputError, match=f"{files[1]} and {third} both estimate 'drums'"):
        checkpoint.load([*files, third])
    with pytest.raises(InputError, match="both estimate 'vocals'"):
        checkpoint.load([files[0], files[0]])
    with pytest.raises(InputError, match="no checkpoint"):
        checkpoint.load([])


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
def test_residual_follows_from_the_targets(targets: list[str], residual: str | None) -> None:
    assert residual_of(targets) == residual


def test_statistics_reach_every_member(files: list[Path]) -> None:
    bag = stemsplit.load(files)
    bands = {view: bag.front_end.bands(view) for view in bag.network.views}
    bag.network.set_statistics(
        {v: (torch.full((n,), 2.0), torch.ones(n)) for v, n in bands.items()}
    )
    for network in bag.network.networks:
        assert any((p == -2).all() for name, p in network.named_parameters() if "mean" in name)


def test_wrong_number_of_targets_is_refused() -> None:
    networks = [{**BLSTM, "stems": 1}, {**MLP, "stems": 2}]
    with pytest.raises(InputError, match="3 stems, not 2 targets"):
        build(FRONT_END, networks, ["vocals", "drums"], "residual", 2)
    with pytest.raises(InputError, match=r"os\.system"):
        build(
            FRONT_END, [{**BLSTM, "stems": 1}, {"class": "os.system", "stems": 1}], FOUR[:2], "r", 2
        )


def test_bag_is_written_as_one_checkpoint(files: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "new" / "bag.ckpt"
    combine.main([*map(str, files), "--output", str(path)])
    assert [file.name for file in path.parent.iterdir()] == ["bag.ckpt"]
    content = torch.load(path, weights_only=True)
    assert [network["stems"] for network in content["separator"]["network"]] == [1, 2]
    bag = stemsplit.load(path)
    assert isinstance(bag.network, Bag)
    assert have_equal_stems(bag, stemsplit.load(files))


def test_separate_accepts_a_bag_or_its_members(files: list[Path], tmp_path: Path) -> None:
    song = tmp_path / "song.wav"
    soundfile.write(song, 0.5 * noise(RATE).T.numpy(), RATE)
    combine.main([*map(str, files), "--output", str(tmp_path / "bag.ckpt")])
    checkpoints_of = {"bag": [tmp_path / "bag.ckpt"], "members": files}
    for folder, checkpoints in checkpoints_of.items():
        options = [word for path in checkpoints for word in ("--checkpoint", str(path))]
        separate.main([str(song), *options, "--output", str(tmp_path / folder)])
    for stem in ("vocals", "drums", "bass", "residual"):
        bag, members = (
            soundfile.read(tmp_path / folder / "song" / f"{stem}.wav")[0]
            for folder in checkpoints_of
        )
        np.testing.assert_array_equal(bag, members)
        assert bag.shape == (RATE, 2)


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


def test_failing_combine_prints_one_line_and_keeps_all_files(
    files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "bag.ckpt"
    kept.write_text("kept")
    cases = product(([files[0], files[0]], [files[0], tmp_path / "absent"]), (kept, tmp_path))
    for checkpoints, output in cases:
        with pytest.raises(SystemExit) as ended:
            combine.main([*map(str, checkpoints), "--output", str(output)])
        assert ended.value.code == 1
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert str(output if output == tmp_path else checkpoints[-1]) in line
    assert kept.read_text() == "kept"
    assert len(list(tmp_path.iterdir())) == 3
