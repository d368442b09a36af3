"""The statistics of the views equal those of librosa's spectrograms and are computed once."""

from pathlib import Path

import librosa
import numpy as np
import pytest
import torch

from stemsplit.data import statistics as statistics_module
from stemsplit.data.statistics import Moments, cached_statistics, statistics
from stemsplit.data.store.stored import StoredTrack
from stemsplit.separation.front_end import VIEWS, FrontEnd

RATE = 8000


def front_end(**settings: float) -> FrontEnd:
    default = {"sample_rate": RATE, "window": 512, "hop": 128, "mel_bands": 32, "mfccs": 20}
    return FrontEnd(**default | settings)


def stored(folder: Path, mixture: np.ndarray) -> StoredTrack:
    """A track with a mixture only."""
    folder.mkdir()
    np.save(folder / "samples.npy", mixture[None].astype(np.float32))
    return StoredTrack(folder.name, "train", (), folder, RATE, 1.0)


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    """Two channels of low-pass noise at different levels."""
    white = np.random.default_rng(seed).standard_normal((2, round(seconds * RATE)))
    return 0.1 * (white + 0.6 * np.roll(white, 1, axis=1)) * [[1.0], [0.3]]


@pytest.fixture(scope="module")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> list[StoredTrack]:
    """Three songs of different lengths; the last song is longer than a piece."""
    root = tmp_path_factory.mktemp("songs")
    return [stored(root / f"song{n}", noise(s, n)) for n, s in enumerate((3.0, 4.3, 65.0))]


def spectrograms(tracks: list[StoredTrack]) -> np.ndarray:
    """librosa's magnitudes `(freq, frame)` of all frames of all channels and songs."""
    return np.concatenate(
        [
            np.abs(librosa.stft(channel, n_fft=512, hop_length=128, pad_mode="reflect"))
            for track in tracks
            for channel in track.mixture()
        ],
        axis=1,
    )


def test_statistics_equal_those_of_librosa(tracks: list[StoredTrack]) -> None:
    reference = spectrograms(tracks[:2])
    filters = librosa.filters.mel(sr=RATE, n_fft=512, n_mels=32)
    computed = statistics(tracks[:2], front_end(), ["magnitude", "mel"])
    for view, values in (("magnitude", reference), ("mel", filters @ reference)):
        mean, scale = computed[view]
        np.testing.assert_allclose(mean, values.mean(1), rtol=1e-4)
        np.testing.assert_allclose(scale, values.std(1), rtol=1e-4)


@pytest.mark.parametrize(("piece_seconds", "tolerance"), [(30, 1e-3), (7, 5e-3)])
def test_long_songs_are_processed_in_pieces(
    piece_seconds: int,
    tolerance: float,
    tracks: list[StoredTrack],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reflection at the ends of pieces changes a few frames, so the statistics differ slightly."""
    assert tracks[2].time > 2 * piece_seconds * RATE
    monkeypatch.setattr(statistics_module, "PIECE_SECONDS", piece_seconds)
    reference = spectrograms(tracks)
    mean, scale = statistics(tracks, front_end(), ["magnitude"])["magnitude"]
    for computed, expected in ((mean, reference.mean(1)), (scale, reference.std(1))):
        errors = np.abs(computed.numpy() / expected - 1)
        assert errors.mean() < tolerance
        assert errors.max() < 5 * tolerance


def test_normalised_views_have_mean_0_and_scale_1(tracks: list[StoredTrack]) -> None:
    transform = front_end()
    computed = statistics(tracks[:1], transform, VIEWS)
    views = transform.views(transform(torch.from_numpy(tracks[0].mixture())[None]), VIEWS)
    for view, (mean, scale) in computed.items():
        assert mean.shape == scale.shape == (transform.bands(view),)
        assert mean.dtype == scale.dtype == torch.float32
        # The imaginary parts of the lowest and the highest frequency are zero.
        varied = scale > 1.01 * scale.min() if view == "complex" else scale > 0
        assert varied.sum() >= len(scale) - 2
        normal = ((views[view] - mean[:, None]) / scale[:, None])[:, :, varied]
        assert normal.mean((0, 1, 3)).abs().max() < 1e-3
        assert (normal.std((0, 1, 3), correction=0) - 1).abs().max() < 1e-3


def test_scale_of_silent_band_is_the_floor() -> None:
    view = torch.rand(2, 2, 5, 100, generator=torch.Generator().manual_seed(0))
    view[:, :, 3] = 0
    view[:, :, 4] = 0.7
    moments = Moments(5)
    moments.add(view)
    mean, scale = moments.mean_and_scale()
    largest = scale.max()
    assert mean[3] == 0
    assert mean[4] == pytest.approx(0.7)
    assert scale[3].item() == scale[4].item() == pytest.approx(1e-4 * largest.item())


def test_scale_of_silent_songs_is_positive(tmp_path: Path) -> None:
    silent = [stored(tmp_path / "silent", np.zeros((2, RATE)))]
    for mean, scale in statistics(silent, front_end(), VIEWS).values():
        assert mean.isfinite().all()
        assert (scale > 0).all()
        assert (torch.zeros(()) / scale).isfinite().all()


def test_song_shorter_than_window_has_statistics(tmp_path: Path) -> None:
    for mean, scale in statistics(
        [stored(tmp_path / "s", noise(0.01))], front_end(), VIEWS
    ).values():
        assert mean.isfinite().all()
        assert (scale > 0).all()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The views of each call of `statistics`."""
    computed: list[list[str]] = []

    def count(tracks: list, front_end: FrontEnd, views: list[str]) -> statistics_module.Statistics:
        computed.append(list(views))
        return statistics(tracks, front_end, views)

    monkeypatch.setattr(statistics_module, "statistics", count)
    return computed


def test_statistics_are_computed_once(
    tracks: list[StoredTrack], cache: Path, counted: list[list[str]]
) -> None:
    views = ["magnitude", "mfcc"]
    first = cached_statistics(tracks[:2], front_end(), views, cache)
    again = cached_statistics(tracks[1::-1], front_end(), views[::-1], cache)
    assert counted == [views]
    direct = statistics(tracks[:2], front_end(), views)
    assert set(first) == set(again) == set(views)
    for view in views:
        for computed, cached, uncached in zip(first[view], again[view], direct[view], strict=True):
            assert torch.equal(computed, cached)
            assert torch.equal(computed, uncached)


def test_changed_songs_views_or_settings_are_computed_again(
    tracks: list[StoredTrack], cache: Path, counted: list[list[str]]
) -> None:
    first = cached_statistics(tracks[:2], front_end(), ["mel"], cache)
    cached_statistics(tracks[:1], front_end(), ["mel"], cache)
    cached_statistics(tracks[:2], front_end(), ["magnitude"], cache)
    for setting in ({"hop": 64}, {"window": 1024}, {"mel_hertz": 3000}, {"floor": 1e-6}):
        changed = cached_statistics(tracks[:2], front_end(**setting), ["mel"], cache)
        if "floor" not in setting:  # the floor affects MFCCs only
            assert not torch.equal(changed["mel"][0], first["mel"][0])
    assert len(counted) == 7
    cached_statistics(tracks[:2], front_end(), ["mel"], cache)
    assert len(counted) == 7


@pytest.mark.parametrize("length", [0, 100])
def test_damaged_file_is_computed_again(
    tracks: list[StoredTrack], cache: Path, length: int
) -> None:
    front_end = FrontEnd(8000, window=256, hop=64, mel_bands=16, mfccs=4)
    first = cached_statistics(tracks, front_end, ["magnitude"], cache)
    [path] = (cache / "statistics").iterdir()
    path.write_bytes(path.read_bytes()[:length])
    again = cached_statistics(tracks, front_end, ["magnitude"], cache)
    assert all(
        torch.equal(a, b) for a, b in zip(first["magnitude"], again["magnitude"], strict=True)
    )
    assert path.stat().st_size > 100
