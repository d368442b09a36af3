"""Separating a song as a stream of blocks, in memory, in threads, and with other settings."""

import itertools
import re
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from stemsplit.errors import Cancelled, InputError
from stemsplit.models.shapes import Mask, Views
from stemsplit.separation.checkpoint import build
from stemsplit.separation.chunks import inference
from stemsplit.separation.chunks.inference import Inference
from stemsplit.separation.chunks.songwise import check_sample_rate
from stemsplit.separation.ensemble import Ensemble
from stemsplit.separation.front_end import FrontEnd
from stemsplit.separation.separator import Separator

RATE = 8000
FRONT_END = {"sample_rate": RATE, "window": 256, "hop": 64, "mel_bands": 16, "mfccs": 4}
BLSTM = {"class": "stemsplit.models.blstm.Blstm", "views": ["magnitude"], "hidden": 8, "layers": 1}


def separator(
    *targets: str,
    residual: str | None = "rest",
    channels: int = 2,
    seed: int = 0,
    rate: int = RATE,
) -> Separator:
    torch.manual_seed(seed)
    front_end = {**FRONT_END, "sample_rate": rate}
    return build(front_end, BLSTM, targets, residual, channels, 1, 0.5, 0.1).eval()


class ConstantMask(nn.Module):
    """One value for all frequencies and frames."""

    views = ("magnitude",)

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, views: Views) -> Mask:
        return torch.full_like(views["magnitude"], self.value)[:, None]


def constant_mask(value: float) -> Separator:
    front_end = FrontEnd(**FRONT_END)
    return Separator(front_end, ConstantMask(value), ["vocals"], "rest", 2, 1, 0.5, 0.1).eval()


def noise(channel: int, time: int) -> np.ndarray:
    return np.random.default_rng(time).uniform(-0.5, 0.5, (channel, time)).astype(np.float32)


def in_blocks(samples: np.ndarray, *sizes: int) -> Iterator[np.ndarray]:
    start = 0
    for size in itertools.cycle(sizes):
        if start >= samples.shape[1]:
            return
        yield samples[:, start : start + size]
        start += size


def whole(model: Any, song: np.ndarray, rate: int, **settings: Any) -> np.ndarray:
    return np.stack(list(model.separate(song, rate, **settings).values()))


@pytest.mark.parametrize("rate", [RATE, 11025, 44100])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("sizes", [(1000,), (333, 70001)])
def test_stream_equals_the_separation_in_memory(
    rate: int, channels: int, sizes: tuple[int, ...]
) -> None:
    model = separator("vocals", "drums")
    song = noise(channels, 3 * rate + 17)
    stems = np.concatenate(list(model.stream(in_blocks(song, *sizes), rate, channels)), axis=2)
    np.testing.assert_allclose(stems, whole(model, song, rate), atol=1e-5)
    np.testing.assert_allclose(stems.sum(axis=0), song, atol=1e-6)


def test_first_stems_are_ready_before_the_song_ends() -> None:
    model = separator("vocals")
    taken = []

    def blocks() -> Iterator[np.ndarray]:
        for number in range(1000):
            taken.append(number)
            yield noise(2, RATE)

    stream = model.stream(blocks(), RATE, 2)
    next(stream)
    assert len(taken) < 30


@pytest.mark.parametrize("batch", [1, 3, None])
def test_batches_do_not_change_the_stems(batch: int | None) -> None:
    model = separator("vocals")
    song = noise(2, 10 * RATE)
    np.testing.assert_allclose(
        whole(model, song, RATE, batch=batch), whole(model, song, RATE, batch=1), atol=1e-5
    )


def test_settings_do_not_change_the_separator() -> None:
    model = separator("vocals")
    song = noise(2, 3 * RATE)
    before = model.description
    other = whole(
        model, song, RATE, wiener_iterations=0, chunk_seconds=1.0, overlap_seconds=0.25, shifts=2
    )
    assert model.description == before
    assert np.abs(other - whole(model, song, RATE)).max() > 1e-4
    np.testing.assert_allclose(other.sum(axis=0), song, atol=1e-6)


def test_long_chunk_equals_one_pass() -> None:
    model = separator("vocals")
    song = noise(2, 3 * RATE)
    stems = whole(model, song, RATE, chunk_seconds=60.0)
    with torch.no_grad():
        once = model(torch.from_numpy(song)[None])[0].numpy()
    np.testing.assert_allclose(stems, once, atol=1e-5)


def test_shifts_average_other_chunks() -> None:
    model = separator("vocals")
    song = noise(2, 5 * RATE)
    delay = RATE // 4
    late = np.pad(song, ((0, 0), (delay, 0)))
    both = whole(model, song, RATE), whole(model, late, RATE)[..., delay:]
    shifted = whole(model, song, RATE, shifts=2)
    # Only the targets are averaged; the residual follows from them.
    np.testing.assert_allclose(shifted[0], (both[0] + both[1])[0] / 2, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"wiener_iterations": -1}, "wiener_iterations -1 must be a whole number"),
        ({"chunk_seconds": 0.1, "overlap_seconds": 0.1}, "cannot overlap by 0.1 s"),
        ({"chunk_seconds": float("inf")}, "chunks of inf s: choose a length above 0 s, up to 3600"),
        ({"chunk_seconds": float("nan")}, "chunks of nan s: choose a length"),
        ({"chunk_seconds": -1}, "chunks of -1 s: choose a length"),
        ({"chunk_seconds": "1"}, "chunks of 1 s: choose a length"),
        ({"chunk_seconds": 0.03}, "0.03 s are shorter than the window of 0.032 s"),
        ({"overlap_seconds": 0.0}, "an overlap of 0.0 s: choose a length above 0 s"),
        ({"shifts": 1.5}, "shifts 1.5 must be a whole number"),
        ({"overlap_seconds": 0.4}, "cannot overlap by 0.4 s"),
        ({"overlap_seconds": 1e-9}, "shorter than one sample"),
        ({"shifts": 101}, "shifts 101 must be 100 or less"),
        ({"chunk_seconds": 10**400}, "choose a length above 0 s, up to 3600 s"),
        ({"shifts": 0}, "shifts 0 must be a whole number, 1 or more"),
        ({"batch": 0}, "batch 0 must be a whole number, 1 or more"),
        ({"batch": True}, "batch True must be a whole number"),
        ({"precision": "half"}, "precision 'half': unknown; choose one of auto, float32, bfloat16"),
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        separator("vocals").separate(noise(2, RATE), RATE, **settings)


def test_integers_of_numpy_are_whole_numbers() -> None:
    Inference(wiener_iterations=np.int64(0), shifts=np.int32(1), batch=np.int64(2)).check()


@pytest.mark.parametrize(
    ("precision", "fast", "halved"),
    [
        ("auto", True, True),
        ("auto", False, False),
        ("float32", True, False),
        ("bfloat16", True, True),
    ],
)
def test_precision_is_that_of_the_network(
    precision: str, fast: bool, halved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "cpu_is_fast_in_bfloat16", lambda: fast)
    mlp = {"class": "stemsplit.models.mlp.Mlp", "hidden": 8}
    model = build(FRONT_END, mlp, ["vocals"], "rest", 2, 1, 0.5, 0.1).eval()
    song = noise(2, 2 * RATE)
    expected = whole(model, song, RATE)
    seen: list[bool] = []
    model.network.register_forward_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    stems = whole(model, song, RATE, precision=precision)
    assert set(seen) == {halved}
    np.testing.assert_allclose(stems, expected, rtol=0, atol=1e-2 if halved else 0)
    np.testing.assert_allclose(stems.sum(axis=0), song, rtol=0, atol=1e-6)
    assert (stems != expected).any() == halved


def test_bfloat16_is_refused_without_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "cpu_is_fast_in_bfloat16", lambda: False)
    with pytest.raises(InputError, match=r"no instructions for it .*; choose float32 or auto"):
        separator("vocals").check(Inference(precision="bfloat16"))


def test_progress_rises_to_one_and_can_cancel() -> None:
    model = separator("vocals")
    song = noise(2, 40 * RATE)
    fractions: list[float] = []
    model.separate(song, RATE, fractions.append)
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert len(fractions) > 3
    for stop in (False, np.bool_(False)):
        with pytest.raises(Cancelled):
            model.separate(song, RATE, lambda fraction, stop=stop: stop)


def test_two_threads_share_a_separator() -> None:
    model = separator("vocals")
    songs = [noise(2, 10 * RATE), noise(2, 11 * RATE)]
    expected = [whole(model, song, RATE) for song in songs]
    results: dict[int, np.ndarray] = {}

    def run(index: int) -> None:
        results[index] = whole(model, songs[index], RATE)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in range(2):
        np.testing.assert_allclose(results[index], expected[index], atol=1e-6)


def test_stems_have_the_type_of_the_song() -> None:
    model = separator("vocals")
    song = noise(2, RATE)
    assert isinstance(model.separate(song, RATE)["vocals"], np.ndarray)
    assert isinstance(model.separate(torch.from_numpy(song), RATE)["vocals"], torch.Tensor)


def test_training_mode_is_restored() -> None:
    model = separator("vocals").train()
    model.separate(noise(2, RATE), RATE)
    assert model.training


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int16])
def test_tensors_of_any_type_are_separated(dtype: torch.dtype) -> None:
    model, song = separator("vocals"), torch.from_numpy(noise(2, RATE)).to(dtype)
    stems, expected = model.separate(song, RATE), model.separate(song.float(), RATE)
    assert torch.equal(stems["vocals"], expected["vocals"])


def test_tensors_without_samples_are_refused() -> None:
    model, song = separator("vocals"), torch.zeros(2, RATE)
    for unsuitable in (song.to_sparse(), song.to("meta")):
        with pytest.raises(InputError, match="sparse or quantised tensor"):
            model.separate(unsuitable, RATE)


def test_ensemble_of_the_same_stems_keeps_their_names() -> None:
    ensemble = Ensemble([separator("vocals", residual="band", seed=seed) for seed in (1, 2)])
    assert ensemble.stems == ("vocals", "band")


def test_ensemble_averages_shared_stems() -> None:
    first, second = separator("vocals", seed=1), separator("vocals", seed=2, rate=11025)
    song = noise(2, 3 * RATE)
    ensemble = Ensemble([first, second], [3, 1])
    assert ensemble.stems == ("vocals", "rest")
    stems = ensemble.separate(song, RATE)
    parts = [model.separate(song, RATE)["vocals"] for model in (first, second)]
    np.testing.assert_allclose(stems["vocals"], 0.75 * parts[0] + 0.25 * parts[1], atol=1e-6)
    np.testing.assert_allclose(stems["vocals"] + stems["rest"], song, atol=1e-6)


def test_ensemble_of_different_stems_sums_to_the_song() -> None:
    four = separator("vocals", "drums", "bass", "other", residual=None)
    ensemble = Ensemble([four, separator("vocals", residual="accompaniment", seed=3)])
    assert ensemble.stems == ("vocals", "drums", "bass", "other")
    song = noise(1, 3 * RATE)
    np.testing.assert_allclose(whole(ensemble, song, RATE).sum(axis=0), song, atol=1e-6)


@pytest.mark.parametrize(
    ("weights", "message"), [([1.0], "weights: 1, models: 2"), ([1.0, 0.0], "weight 0.0")]
)
def test_wrong_weights_are_refused(weights: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Ensemble([separator("vocals"), separator("vocals")], weights)


@pytest.mark.parametrize("rate", [RATE, 11025])
def test_constant_and_sine_have_no_seams(rate: int) -> None:
    model = constant_mask(0.5)
    time = np.arange(5 * rate) / rate
    for song in (np.full((2, len(time)), 0.4), np.stack([np.sin(2 * np.pi * 100 * time)] * 2) / 2):
        stems = model.separate(song.astype(np.float32), rate, wiener_iterations=0)
        middle = slice(rate // 10, -rate // 10)  # a filter cannot know what surrounds the song
        np.testing.assert_allclose(stems["vocals"][:, middle], song[:, middle] / 2, atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "rate", "message"),
    [
        ((100,), RATE, r"shape \(100,\), but it must be \(channel, time\)"),
        ((RATE, 2), RATE, r"the axes must be \(channel, time\)"),
    ],
)
def test_wrong_arrays_are_refused(shape: tuple[int, ...], rate: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        separator("vocals").separate(np.zeros(shape, np.float32), rate)


@pytest.mark.parametrize(
    "rate", [0, -1, 1e-3, 1e7, float("inf"), float("nan"), "44100", None, 10**400]
)
def test_wrong_sample_rate_is_refused(rate: Any) -> None:
    message = re.escape(f"sample rate {rate!r}: choose a number from 1 to 768000 Hz")
    with pytest.raises(InputError, match=message):
        check_sample_rate(rate)


def test_song_with_wrong_sample_rate_is_refused() -> None:
    with pytest.raises(InputError, match="sample rate 0: choose"):
        separator("vocals").separate(noise(2, 100), 0)


@pytest.mark.parametrize("dtype", [np.complex64, np.str_, object])
@pytest.mark.parametrize("is_tensor", [True, False])
def test_songs_hold_real_numbers(dtype: Any, is_tensor: bool) -> None:
    song: Any = np.zeros((2, 100)).astype(dtype)
    if is_tensor:
        if dtype is not np.complex64:
            pytest.skip("tensors hold numbers")
        song = torch.from_numpy(song)
    with pytest.raises(InputError, match="but needs real numbers"):
        separator("vocals").separate(song, RATE)


@pytest.mark.parametrize("kind", ["reversed", "big-endian", "read-only", "transposed", "float64"])
def test_arrays_of_any_layout_are_separated(kind: str, recwarn: pytest.WarningsRecorder) -> None:
    song = noise(2, RATE)
    same = {
        "reversed": song[:, ::-1].copy()[:, ::-1],
        "big-endian": song.astype(">f4"),
        "read-only": np.frombuffer(song.tobytes(), np.float32).reshape(song.shape),
        "transposed": np.asfortranarray(song),
        "float64": song.astype(np.float64),
    }[kind]
    model = separator("vocals")
    np.testing.assert_array_equal(whole(model, same, RATE), whole(model, song, RATE))
    assert not recwarn.list
