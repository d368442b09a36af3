"""Properties of separators and their checkpoints, and the errors that they raise."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import stemsplit
from stemsplit.errors import InputError
from stemsplit.models.shapes import Mask, Views
from stemsplit.separation.checkpoint import build, save
from stemsplit.separation.front_end import FrontEnd
from stemsplit.separation.separator import Separator

RATE, CHUNK = 8000, 4000
BLSTM = "stemsplit.models.blstm.Blstm"
FRONT_END = {"sample_rate": RATE, "window": 256, "hop": 64, "mel_bands": 16, "mfccs": 4}


class Constant(nn.Module):
    """Constant masks: one value per stem."""

    views = ("magnitude",)

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.tensor(values))

    def forward(self, views: Views) -> Mask:
        magnitude = views["magnitude"]
        return self.values[:, None, None, None] * torch.ones_like(magnitude)[:, None]


def constant(
    *values: float, residual: str | None = "rest", channels: int = 2, iterations: int = 1
) -> Separator:
    targets = [f"stem{number}" for number in range(len(values))]
    return Separator(
        FrontEnd(**FRONT_END),
        Constant(*values),
        targets,
        residual,
        channels,
        iterations,
        chunk_seconds=CHUNK / RATE,
        overlap_seconds=0.05,
    )


def noise(channel: int, time: int) -> Tensor:
    return torch.rand(channel, time, generator=torch.Generator().manual_seed(time)) - 0.5


@pytest.mark.parametrize("time", [1, 100, CHUNK, CHUNK + 1, 3 * CHUNK])
# 4000 and 17415 Hz relate to 8000 Hz as 22050 and 96000 Hz to 44100 Hz.
@pytest.mark.parametrize("rate", [RATE, 4000, 17415])
@pytest.mark.parametrize(("channels", "song_channels"), [(1, 1), (1, 2), (2, 1), (2, 2)])
@pytest.mark.parametrize(("values", "residual"), [((0.3,), "rest"), ((0.2, 0.9), None)])
def test_stems_have_the_shape_of_the_song_and_sum_to_it(
    time: int,
    rate: int,
    channels: int,
    song_channels: int,
    values: tuple[float, ...],
    residual: str | None,
) -> None:
    separator = constant(*values, residual=residual, channels=channels)
    song = noise(song_channels, time)
    before = song.clone()
    stems = separator.separate(song, rate)
    assert tuple(stems) == separator.stems
    assert all(stem.shape == song.shape for stem in stems.values())
    torch.testing.assert_close(song, before, rtol=0, atol=0)
    assert all(stem.isfinite().all() for stem in stems.values())
    total = torch.stack(list(stems.values())).sum(dim=0)
    assert (total - song).abs().max() <= 1e-6 * song.abs().max()


# The Wiener filter assumes a little noise in every mixture.
@pytest.mark.parametrize(("iterations", "tolerance"), [(0, 1e-5), (1, 1e-4)])
@pytest.mark.parametrize("time", [100, CHUNK + 1, 3 * CHUNK + 17])
def test_chunks_are_joined_without_error(time: int, iterations: int, tolerance: float) -> None:
    song = noise(2, time)
    stems = constant(1.0, iterations=iterations).separate(song, RATE)
    torch.testing.assert_close(stems["stem0"], song, rtol=0, atol=tolerance)


def test_residual_is_the_mixture_minus_the_target() -> None:
    song = noise(2, 3 * CHUNK)
    stems = constant(0.25, iterations=0).separate(song, RATE)
    torch.testing.assert_close(stems["stem0"], 0.25 * song, rtol=0, atol=1e-6)
    torch.testing.assert_close(stems["rest"], 0.75 * song, rtol=0, atol=1e-6)


def test_rest_is_spread_equally_without_a_residual() -> None:
    song = noise(2, 1000)
    stems = constant(0.5, 0.3, residual=None, iterations=0).separate(song, RATE)
    torch.testing.assert_close(stems["stem0"], 0.6 * song, rtol=0, atol=1e-6)
    torch.testing.assert_close(stems["stem1"], 0.4 * song, rtol=0, atol=1e-6)


def test_mono_separator_processes_channels_independently() -> None:
    separator = constant(0.3, channels=1)
    song = noise(2, CHUNK + 100)
    stereo = separator.separate(song, RATE)["stem0"]
    channels = [separator.separate(song[[channel]], RATE)["stem0"] for channel in range(2)]
    torch.testing.assert_close(stereo, torch.cat(channels))


@pytest.mark.parametrize("rate", [RATE, 17415])
@pytest.mark.parametrize("time", [1, 100, CHUNK, 5 * CHUNK])
def test_progress_increases_to_one(time: int, rate: int) -> None:
    fractions: list[float] = []
    constant(0.3).separate(noise(2, time), rate, fractions.append)
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


@pytest.mark.parametrize("training", [True, False])
def test_separate_restores_the_training_mode(training: bool) -> None:
    separator = constant(0.3).train(training)
    separator.separate(noise(2, 1000), RATE)
    assert separator.training == separator.network.training == training

    def interrupt(fraction: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        separator.separate(noise(2, 1000), RATE, interrupt)
    assert separator.training == separator.network.training == training


def test_network_may_have_no_parameters() -> None:
    separator = constant(0.3)
    values = separator.network.values.detach()
    del separator.network.values
    separator.network.register_buffer("values", values)
    assert separator.separate(noise(2, 1000), RATE)["stem0"].shape == (2, 1000)


@pytest.mark.parametrize(
    ("song", "message"),
    [
        (torch.full((2, 1000), torch.nan), "not finite"),
        (torch.full((2, 1000), torch.inf), "not finite"),
        (torch.zeros(2, 0), "no samples"),
        (torch.zeros(6, 1000), "2 channels.* 6"),
    ],
)
def test_invalid_song_is_refused(song: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        constant(0.3).separate(song, RATE)


def spectral(view: str) -> Separator:
    """A separator with a small network that reads a view, and with a Wiener filter."""
    torch.manual_seed(0)
    network = {"class": BLSTM, "hidden": 8, "layers": 1, "views": [view]}
    return build(FRONT_END, network, ["vocals"], "rest", 2, 1, CHUNK / RATE, 0.05).eval()


@pytest.mark.parametrize("view", ["magnitude", "mel", "mfcc", "complex"])
@pytest.mark.parametrize("value", [1e5, 1e12, -1e19, 1e30, 3e38])
def test_stems_of_one_loud_sample_are_finite(view: str, value: float) -> None:
    separator = spectral(view)
    song = noise(2, 4 * CHUNK)
    ordinary = separator.separate(song, RATE)
    spoiled = song.clone()
    spoiled[0, 2 * CHUNK + 1000] = value
    stems = separator.separate(spoiled, RATE)
    assert all(stem.isfinite().all() for stem in stems.values())
    total = torch.stack(list(stems.values())).sum(dim=0)
    assert (total - spoiled).abs().max() <= 1e-6 * spoiled.abs().max()
    for name, stem in stems.items():  # chunks without the sample do not change
        assert torch.equal(stem[:, :CHUNK], ordinary[name][:, :CHUNK])


@pytest.mark.parametrize("exponent", [1, 30, 90])
def test_stems_scale_with_a_loud_song(exponent: int) -> None:
    separator, song = constant(0.3), 2.0**17 * noise(2, 3 * CHUNK)
    quiet = separator.separate(song, RATE)
    loud = separator.separate(song * 2.0**exponent, RATE)
    for name, stem in quiet.items():
        torch.testing.assert_close(loud[name], stem * 2.0**exponent, rtol=0, atol=0)


def test_song_beyond_float32_is_refused() -> None:
    with pytest.raises(InputError, match="not finite"):
        constant(0.3).separate(torch.full((2, 100), 1e300, dtype=torch.float64), RATE)


def test_nan_in_stems_is_refused_with_its_position() -> None:
    separator = constant(0.3, iterations=0)
    separator.network.values.data.fill_(torch.nan)
    with pytest.raises(InputError, match=r"chunk at 0\.00 s contain .* mixture there is 0\.5"):
        separator.separate(noise(2, CHUNK), RATE)


def test_stems_beyond_float32_are_refused() -> None:
    song = torch.zeros(2, CHUNK)
    song[:, 100] = 3e38
    with pytest.raises(InputError, match=r"mixture there is 3e\+38"):
        constant(2.0, iterations=0).separate(song, RATE)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../vocals", "a/b", "/tmp/x", "a\\b", "a\0b", "-rf", "a\x1bb", "a\nb"]
)
def test_stem_that_cannot_name_a_file_is_refused(name: str) -> None:
    for targets, residual in ([name], "rest"), (["vocals"], name):
        with pytest.raises(InputError, match="must be a valid file name"):
            Separator(FrontEnd(**FRONT_END), Constant(0.3), targets, residual, 2)


@pytest.mark.parametrize(
    ("residual", "chunk_seconds", "overlap_seconds"),
    [
        ("vocals", 1.0, 0.1),  # the residual is a target
        ("rest", 1.0, 0.0),
        ("rest", 1.0, 0.6),
        ("rest", 1.0, 0.1 / RATE),  # an overlap shorter than one sample
    ],
)
def test_contradictory_settings_are_refused(
    residual: str, chunk_seconds: float, overlap_seconds: float
) -> None:
    with pytest.raises(InputError):
        Separator(
            FrontEnd(**FRONT_END),
            Constant(0.3),
            ["vocals"],
            residual,
            2,
            chunk_seconds=chunk_seconds,
            overlap_seconds=overlap_seconds,
        )


def test_rounded_overlap_is_at_most_half_a_chunk() -> None:
    # 8001.4 samples, and an overlap of half of them.
    chunk_seconds = 8001.4 / RATE
    separator = Separator(
        FrontEnd(**FRONT_END),
        Constant(0.3),
        ["vocals"],
        "rest",
        2,
        chunk_seconds=chunk_seconds,
        overlap_seconds=chunk_seconds / 2,
    )
    assert 2 * separator.overlap <= separator.chunk


def with_network(architecture: str, allow: tuple[str, ...] = (), **arguments: Any) -> Separator:
    network = {"class": architecture, **arguments}
    return build(FRONT_END, network, ["vocals"], "rest", 2, allow=allow)


@pytest.mark.parametrize(
    "architecture",
    [
        "torch.nn.Identity",
        "os.system",
        "stemsplit.separation.separator.Separator",
        "stemsplit.modelsnot.Blstm",
        "stemsplit.models.blstm.bands_below",
        "stemsplit.models.blstm.Absent",
        "stemsplit.models.absent.Blstm",
        "Identity",
    ],
)
def test_only_architectures_are_built(architecture: str) -> None:
    with pytest.raises(InputError, match=architecture):
        with_network(architecture)


def test_foreign_class_must_be_allowed_by_its_full_name() -> None:
    with pytest.raises(InputError, match=r"torch\.nn\.Identity"):
        with_network("torch.nn.Identity", allow=("torch.nn", "torch.nn.*", "Identity"))
    separator = with_network("torch.nn.Identity", allow=("torch.nn.Identity",))
    assert isinstance(separator.network, nn.Identity)


def blstm() -> Separator:
    return with_network("stemsplit.models.blstm.Blstm", hidden=16, layers=1)


def checkpoint(separator: Separator) -> dict[str, Any]:
    weights = {f"separator.{name}": value for name, value in separator.state_dict().items()}
    return {"separator": separator.description, "state_dict": weights}


def test_changed_settings_are_saved(tmp_path: Path) -> None:
    separator = blstm()
    separator.wiener_iterations, separator.chunk, separator.overlap = 3, 3001, 77
    save(separator, tmp_path / "changed.ckpt")
    loaded = stemsplit.load(tmp_path / "changed.ckpt")
    assert (loaded.wiener_iterations, loaded.chunk, loaded.overlap) == (3, 3001, 77)
    song = noise(2, 7000)
    assert torch.equal(
        loaded.separate(song, RATE)["vocals"], separator.separate(song, RATE)["vocals"]
    )


def test_separator_without_network_description_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"checkpoint\.build"):
        save(constant(0.3), tmp_path / "hand.ckpt")
    assert not list(tmp_path.iterdir())


def test_separator_with_network_description_can_be_saved(tmp_path: Path) -> None:
    built = blstm()
    separator = Separator(
        built.front_end,
        built.network,
        ["vocals"],
        "rest",
        channels=2,
        network_description={"class": BLSTM, "hidden": 16, "layers": 1},
    )
    save(separator, tmp_path / "hand.ckpt")
    song = noise(2, 1000)
    loaded = stemsplit.load(tmp_path / "hand.ckpt")
    assert torch.equal(
        loaded.separate(song, RATE)["vocals"], separator.separate(song, RATE)["vocals"]
    )


@pytest.mark.parametrize("name", ["best.ckpt", "last.ckpt"])
def test_run_folder_or_checkpoint_is_loaded(tmp_path: Path, name: str) -> None:
    separator = blstm()
    torch.save(checkpoint(separator), tmp_path / name)
    for path in (tmp_path, str(tmp_path / name)):
        loaded = stemsplit.load(path)
        assert not loaded.training
        torch.testing.assert_close(loaded.state_dict(), separator.state_dict(), rtol=0, atol=0)


def test_other_state_of_a_training_is_ignored(tmp_path: Path) -> None:
    content = checkpoint(blstm())
    content["state_dict"]["loss.window"] = torch.ones(3)
    torch.save(content, tmp_path / "best.ckpt")
    assert stemsplit.load(tmp_path).stems == ("vocals", "rest")


class Trap:
    """Unpickling a `Trap` creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("by_torch", [True, False])
def test_loading_a_checkpoint_runs_no_code(tmp_path: Path, by_torch: bool, protocol: int) -> None:
    path, created = tmp_path / "best.ckpt", tmp_path / "created"
    content = {**checkpoint(blstm()), "callbacks": Trap(created)}
    if by_torch:
        torch.save(content, path, pickle_protocol=protocol)
    else:
        path.write_bytes(pickle.dumps(content, protocol))
    with pytest.raises(InputError, match=path.name) as refused:
        stemsplit.load(path)
    assert str(path) in str(refused.value)
    assert not created.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello world\n",
        b"model: blstm\nhidden: 512\n",
        b"RIFF\x24\x00\x00\x00WAVEfmt ",
        b"\x89PNG\r\n",
        b"(((",
        b"PK\x03\x04",
    ],
)
def test_file_of_another_format_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "song.ckpt"
    path.write_bytes(content)
    assert_refused_by_name(path)


def test_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    torch.save(checkpoint(blstm()), path)
    path.write_bytes(path.read_bytes()[:-1000])
    assert_refused_by_name(path)


@pytest.mark.parametrize(
    "content",
    [
        torch.zeros(3),
        [1],
        {},
        {"state_dict": {}},
        *({"separator": d, "state_dict": {}} for d in (None, {})),
    ],
    ids=["tensor", "list", "empty", "weights only", "no description", "empty description"],
)
def test_file_without_a_separator_is_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "best.ckpt"
    torch.save(content, path)
    assert_refused_by_name(path)


@pytest.mark.parametrize(
    "change",
    [
        {"key_of_a_later_version": 1},
        {"network": {"class": "torch.nn.Identity"}},
        {"network": {"class": BLSTM, "argument_of_a_later_version": 1}},
        {"network": {"class": BLSTM, "hidden": 32, "layers": 1}},
        {"targets": ["vocals", "drums"]},
    ],
    ids=["unknown key", "foreign class", "unknown argument", "other width", "other targets"],
)
def test_wrong_description_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "best.ckpt"
    content = checkpoint(blstm())
    torch.save({**content, "separator": {**content["separator"], **change}}, path)
    assert_refused_by_name(path)


def test_empty_folder_and_missing_path_are_refused(tmp_path: Path) -> None:
    assert_refused_by_name(tmp_path)
    assert_refused_by_name(tmp_path / "absent")


def assert_refused_by_name(path: Path) -> None:
    with pytest.raises(InputError) as refused:
        stemsplit.load(path)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied", "cache"), MemoryError()]
)
def test_system_errors_are_not_reported_as_a_bad_checkpoint(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(**settings: Any) -> None:
        raise error

    separator = build(FRONT_END, {"class": BLSTM, "hidden": 4}, ["a"], None, channels=1)
    save(separator, tmp_path / "best.ckpt")
    monkeypatch.setattr("stemsplit.separation.checkpoint.build", failing)
    with pytest.raises(type(error)):
        stemsplit.load(tmp_path / "best.ckpt")


@pytest.mark.parametrize("targets", [["vocals", "vocals"], ["vocals", "Vocals"]])
def test_stems_of_the_same_name_are_refused(targets: list[str]) -> None:
    with pytest.raises(InputError, match="two of them have the same name"):
        Separator(FrontEnd(**FRONT_END), Constant(0.3, 0.3), targets, "rest", 2)


@pytest.mark.parametrize("iterations", [-1, 10**7])
def test_impossible_number_of_iterations_is_refused(iterations: int) -> None:
    with pytest.raises(InputError, match="use 0 to 100"):
        Separator(FrontEnd(**FRONT_END), Constant(0.3), ["vocals"], "rest", 2, iterations)
