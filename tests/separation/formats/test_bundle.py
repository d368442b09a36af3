"""Bundles: they load like checkpoints, damage is noticed, and nothing in them is run."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import stemsplit
from stemsplit.errors import InputError
from stemsplit.models.shapes import Stems, Waveform
from stemsplit.separation import checkpoint
from stemsplit.separation.checkpoint import build, save
from stemsplit.separation.exporting.verification import verify
from stemsplit.separation.formats import bundle
from stemsplit.separation.formats.probe import probe_mixture
from stemsplit.separation.origins import origins
from stemsplit.separation.separator import Separator

RATE = 8000
FRONT_END = {"sample_rate": RATE, "window": 256, "hop": 64, "mel_bands": 16, "mfccs": 4}
CHUNKS = {"chunk_seconds": 0.5, "overlap_seconds": 0.1}
MLP = {"class": "stemsplit.models.mlp.Mlp", "hidden": 4}
NETWORKS: dict[str, Any] = {
    "mlp": MLP,
    "blstm": {"class": "stemsplit.models.blstm.Blstm", "hidden": 4, "layers": 2, "views": ["mel"]},
    "band split": {
        "class": "stemsplit.models.band_split.BandSplit",
        **{"features": 8, "depth": 1, "heads": 2, "mask_hidden": 8},
    },
    "bag": [{**MLP, "stems": 1}, {**MLP, "hidden": 2, "stems": 1}],
}


class Tied(nn.Module):
    """A waveform model with one weight under two names."""

    views = ()

    def __init__(self, bands: Any, sample_rate: int, channels: int, stems: int) -> None:
        super().__init__()
        self.first = self.second = nn.Parameter(torch.full((stems,), 0.5))

    def forward(self, mixture: Waveform) -> Stems:
        return (self.first * self.second)[:, None, None] * mixture[:, None]


TIED = {"class": f"{__name__}.Tied"}


def separator_of(network: Any = MLP, **settings: Any) -> Separator:
    torch.manual_seed(0)
    arguments = {"targets": ["vocals", "drums"], "residual": "rest", "channels": 2, **settings}
    return build(FRONT_END, network, allow=[TIED["class"]], **arguments).eval()


def noise(channels: int = 2) -> Tensor:
    return torch.rand(channels, RATE, generator=torch.Generator().manual_seed(0)) - 0.5


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A small bundle."""
    path = tmp_path / "a.safetensors"
    bundle.write(path, separator_of(), {"licence": "MIT"})
    return path


def rewrite(path: Path, change: Callable[[dict[str, Any], dict[str, Tensor]], None]) -> None:
    """Change the document and the tensors of a bundle, and set the digest of the new content."""
    with safetensors.safe_open(path, "pt") as file:
        document, tensors = json.loads(file.metadata()["stemsplit"]), file.get_tensors()
    del document["sha256"]
    change(document, tensors)
    document["sha256"] = bundle.digest(document, tensors)
    path.write_bytes(safetensors.torch.save(tensors, {"stemsplit": json.dumps(document)}))


def assert_refused(path: Path, message: str, **arguments: Any) -> None:
    with pytest.raises(InputError, match=message) as refused:
        stemsplit.load(path, **arguments)
    assert str(path) in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("residual", ["rest", None])
def test_loaded_bundle_separates_like_the_original(
    network: str, residual: str | None, tmp_path: Path
) -> None:
    separator = separator_of(NETWORKS[network], residual=residual, wiener_iterations=2, **CHUNKS)
    # The content decides, not the suffix.
    for name in ("a.safetensors", "a.ckpt", "a"):
        bundle.write(tmp_path / name, separator, {})
        loaded = stemsplit.load(tmp_path / name)
        assert not loaded.training
        assert json.dumps(loaded.description) == json.dumps(separator.description)
        expected = separator.separate(noise(), RATE)
        torch.testing.assert_close(loaded.separate(noise(), RATE), expected, rtol=0, atol=0)


def test_equal_separators_give_equal_files(path: Path, tmp_path: Path) -> None:
    checksum = bundle.write(tmp_path / "b", separator_of(), {"licence": "MIT"})
    assert (tmp_path / "b").read_bytes() == path.read_bytes()
    assert bundle.read(path).document["sha256"] == checksum
    assert bundle.write(tmp_path / "b", separator_of(), {"licence": "CC0"}) != checksum


def test_bundle_is_read_without_unpickling(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*arguments: Any, **settings: Any) -> None:
        raise AssertionError("unpickled")

    monkeypatch.setattr(torch, "load", forbidden)
    monkeypatch.setattr("pickle.Unpickler", forbidden)
    assert stemsplit.load(path).stems == ("vocals", "drums", "rest")


def test_bundles_can_be_combined(tmp_path: Path) -> None:
    bundle.write(tmp_path / "a", separator_of(targets=["vocals"]), {})
    save(separator_of(targets=["drums"]), tmp_path / "b.ckpt")
    combined = stemsplit.load([tmp_path / "a", tmp_path / "b.ckpt"])
    assert combined.targets == ("vocals", "drums")


def test_published_models_in_a_bundle_are_known(tmp_path: Path) -> None:
    bundle.write(tmp_path / "a", separator_of(targets=["vocals"]), {}, published=["umxl"])
    assert origins(tmp_path / "a") == ["umxl"]
    bundle.write(tmp_path / "a", separator_of(targets=["vocals"]), {})
    assert origins(tmp_path / "a") == []


def test_other_users_can_read_the_file(path: Path, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("")
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode


def test_any_changed_or_missing_byte_is_noticed(path: Path, tmp_path: Path) -> None:
    content = path.read_bytes()
    random = np.random.default_rng(0)
    changed = tmp_path / "changed"
    positions = [*range(16), *random.integers(16, len(content), 100)]
    for position in positions:
        mutated = bytearray(content)
        mutated[position] ^= int(random.integers(1, 256))
        changed.write_bytes(mutated)
        assert_refused(changed, ".")
    for length in (0, 4, 8, 9, 100, *random.integers(9, len(content), 20)):
        changed.write_bytes(content[:length])
        assert_refused(changed, ".")
    changed.write_bytes(content + b"x")
    assert_refused(changed, "damaged safetensors file")


@pytest.mark.parametrize("length", [bundle.LARGEST_HEADER + 1, 2**40, 2**47])
def test_header_length_is_checked_before_the_header_is_read(
    length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large"
    path.write_bytes(length.to_bytes(8, "little") + b"{")
    with path.open("r+b") as file:
        file.truncate(2 * bundle.LARGEST_HEADER)  # a hole, which takes no space on the disk
    monkeypatch.setattr(bundle, "safe_open", None)
    assert_refused(path, f"its header would have {length} bytes")


def test_foreign_safetensors_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "foreign"
    for metadata in (None, {"format": "pt"}):
        path.write_bytes(safetensors.torch.save({"weight": torch.ones(3)}, metadata))
        assert_refused(path, "not a bundle of stemsplit: it has no description")
    for text in ("{", "[]", "3", "{}", '{"version": "x", "separator": {}}', "[" * 100_000):
        path.write_bytes(safetensors.torch.save({"w": torch.ones(3)}, {"stemsplit": text}))
        assert_refused(path, "its description (is malformed|has no version)")


def retype(tensors: dict[str, torch.Tensor], name: str, dtype: torch.dtype) -> None:
    tensors[name] = tensors[name].to(dtype)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda document, _: document.update(version=2), "layout 2, but .* update stemsplit"),
        (lambda document, _: document.update(version=True), "has no version"),
        (lambda document, _: document.update(version=-1), "has no version"),
        (lambda document, _: document.pop("separator"), "`separator` .* not a mapping"),
        (lambda document, _: document.update(separator=3), "`separator` .* not a mapping"),
        (lambda document, _: document.update(published=[3]), "`published` .* not a list of names"),
        (lambda document, _: document.update(published="umx"), "`published` .* not a list"),
        (lambda document, _: document["separator"].update(targets="ab"), "separator.targets"),
        (
            lambda document, _: document["separator"].update(wiener_iterations=1.5),
            r"separator\.wiener",
        ),
        (
            lambda document, _: document["separator"].update(wiener_iterations=True),
            r"separator\.wiener",
        ),
        (
            lambda document, _: document["separator"].update(chunk_seconds=True),
            r"separator\.chunk_s",
        ),
        (lambda document, _: document["separator"].update(chunk_seconds=1e9), "choose a length"),
        (lambda document, _: document["separator"].update(chunk_seconds=float("nan")), "finite"),
        (lambda document, _: document["separator"].update(network=3), r"separator\.network"),
        (
            lambda document, _: document["separator"]["front_end"].update(hop=64.0),
            r"front_end\.hop",
        ),
        (
            lambda document, _: document["separator"]["front_end"].update(sample_rate=10**8),
            "at most",
        ),
        (lambda document, _: document["separator"].update(channels=1), "size mismatch"),
        (lambda document, _: document["separator"].update(x=1), "unexpected keyword"),
        (lambda document, _: document["separator"]["front_end"].update(hop=3), "hop 3"),
        (lambda _, tensors: tensors.pop("probe.stems"), "lacks the probe"),
        (lambda _, tensors: retype(tensors, "probe.stems", torch.bool), "lacks the probe"),
        (lambda _, tensors: retype(tensors, "probe.mixture", torch.float64), "lacks the probe"),
        (lambda _, tensors: tensors.pop("network.norm.mean"), "Missing key"),
        (lambda _, tensors: tensors.update(other=torch.ones(1)), "Unexpected key"),
    ],
)
def test_unsuitable_content_is_refused(path: Path, change: Any, message: str) -> None:
    rewrite(path, change)
    assert_refused(path, message)


@pytest.mark.parametrize(
    ("group", "setting", "value"),
    [
        ("network", "hidden", 10**9),
        ("front_end", "window", 2**40),
        ("front_end", "mel_bands", 10**9),
    ],
)
def test_sizes_are_checked_before_memory_is_taken(
    path: Path, group: str, setting: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite(path, lambda document, _: document["separator"][group].update({setting: value}))
    monkeypatch.setattr(checkpoint, "build", None)
    assert_refused(path, "size mismatch|at most")


def test_class_outside_stemsplit_needs_permission(tmp_path: Path) -> None:
    path = tmp_path / "tied"
    separator = separator_of(TIED, wiener_iterations=0)
    bundle.write(path, separator, {})
    assert_refused(path, "if you trust this class, allow it by name")
    assert [check.passed for check in verify(path).checks] == [True, False]
    loaded = stemsplit.load(path, allow=[TIED["class"]])
    expected = separator.separate(noise(), RATE)
    torch.testing.assert_close(loaded.separate(noise(), RATE), expected, rtol=0, atol=0)
    assert verify(path, [TIED["class"]]).passed


def test_long_note_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="shorten the note"):
        bundle.write(tmp_path / "a", separator_of(), {"note": "x" * bundle.LARGEST_DOCUMENT})
    assert not list(tmp_path.iterdir())
    # Quotes and control characters take the most space in the header.
    bundle.write(
        tmp_path / "a", separator_of(), {"note": '"\x01' * (bundle.LARGEST_DOCUMENT // 10)}
    )
    assert stemsplit.load(tmp_path / "a").channels == 2


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("network", NETWORKS)
def test_unchanged_bundle_is_verified(network: str, channels: int, tmp_path: Path) -> None:
    bundle.write(tmp_path / "a", separator_of(NETWORKS[network], channels=channels), {})
    verification = verify(tmp_path / "a")
    assert verification.passed
    assert [check.name for check in verification.checks] == ["whole", "loads", "same output"]
    assert "largest difference is 0," in verification.checks[-1].detail


def scale_output(factor: float) -> Callable[[dict[str, Any], dict[str, Tensor]], None]:
    def change(document: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        tensors["probe.stems"] *= factor

    return change


@pytest.mark.parametrize(("factor", "passes"), [(1 + 5e-5, True), (1 + 2e-4, False)])
def test_verification_allows_differences_up_to_the_tolerance(
    path: Path, factor: float, passes: bool
) -> None:
    rewrite(path, scale_output(factor))
    verification = verify(path)
    assert [check.passed for check in verification.checks] == [True, True, passes]
    difference = re.search(
        r"difference is (\S+), at a peak of (\S+) ", verification.checks[2].detail
    )
    assert difference is not None
    assert float(difference[1]) == pytest.approx((factor - 1) * float(difference[2]), rel=0.1)


def test_verification_names_the_failed_check(path: Path) -> None:
    content = path.read_bytes()
    rewrite(
        path, lambda _, tensors: tensors.update({"probe.mixture": torch.full((2, 9), torch.nan)})
    )
    assert [check.passed for check in verify(path).checks] == [True, True, False]
    rewrite(path, lambda _, tensors: tensors.update({"probe.mixture": torch.ones(2, 9)}))
    assert "shape" in verify(path).checks[-1].detail
    rewrite(path, lambda document, _: document["separator"].update(targets=["a"]))
    assert [(check.name, check.passed) for check in verify(path).checks][1:] == [("loads", False)]
    path.write_bytes(content[:-1])
    verification = verify(path)
    assert [(check.name, check.passed) for check in verification.checks] == [("whole", False)]
    assert verification.document is None


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_probe_is_short_moderate_and_different_in_each_channel(channels: int) -> None:
    mixture = probe_mixture(channels, 44100)
    assert mixture.shape == (channels, 22050)
    assert 0.1 < mixture.abs().max() < 0.5
    assert len({channel.numpy().tobytes() for channel in mixture}) == channels
    torch.testing.assert_close(probe_mixture(channels, 44100), mixture, rtol=0, atol=0)
