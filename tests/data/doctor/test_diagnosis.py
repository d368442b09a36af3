"""Findings from the list of songs, headers and fingerprints of a corpus."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemsplit import audio
from stemsplit.data.corpora.demo_songs import SONGS, synthesise_song
from stemsplit.data.corpora.musdb import musdb18, musdb18hq
from stemsplit.data.doctor.diagnosis import listing_findings
from stemsplit.data.doctor.examination import Examination, duplicates, examine_all
from stemsplit.data.doctor.findings import Finding
from stemsplit.data.doctor.fingerprint import PARTLY, SAME, agreements, fingerprint
from stemsplit.data.doctor.official import STEMS, layout, other_corpus, wrong_counts
from stemsplit.data.headers import Header, headers_of
from stemsplit.data.tracks import AudioSource, Subset, Track

SAMPLE_RATE = 44100
VALIDATION = ["Pell Orrin - Wire Garden"]
ALL = ["drums", "bass", "other", "vocals"]


def texts(findings: list[Finding], severity: str) -> list[str]:
    return [str(finding) for finding in findings if finding.severity == severity]


def test_valid_corpora_have_no_findings(stem_corpus: Path, wav_corpus: Path) -> None:
    for root, lister, name in (
        (stem_corpus, musdb18, "MUSDB18"),
        (wav_corpus, musdb18hq, "MUSDB18-HQ"),
    ):
        tracks = lister(root)
        assert layout(root, tracks) == name
        assert listing_findings(root, tracks, ALL, 2, VALIDATION) == []


def test_headers_state_codec_rate_channels_and_length(
    stem_corpus: Path, wav_corpus: Path, songs: dict
) -> None:
    for tracks, codec, lossless in (
        (musdb18(stem_corpus), "aac", False),
        (musdb18hq(wav_corpus), "pcm_s16le", True),
    ):
        headers = headers_of(tracks)
        assert len(headers) == 5 * len(songs)
        for track in tracks:
            header = headers[track.stems["vocals"]]
            assert isinstance(header, Header)
            assert header[:3] == (codec, SAMPLE_RATE, 2)
            assert header.lossless == lossless
            time = songs[f"{track.subset}/{track.name}"]["vocals"].shape[1]
            assert header.seconds == pytest.approx(time / SAMPLE_RATE, abs=0.05)


def test_errors_of_training_are_faults(wav_corpus: Path) -> None:
    tracks = musdb18hq(wav_corpus)
    faults = texts(listing_findings(wav_corpus, tracks, [*ALL, "flute"], 2), "fault")
    assert sum("missing stem" in text and "'flute'" in text for text in faults) == len(tracks)
    assert sum("no validation songs" in text for text in faults) == 1


def test_missing_streams_channels_and_codec_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "train" / "song.stem.mp4"
    path.parent.mkdir()
    soundfile.write(path, np.zeros((1000, 3)), 8000, format="WAV")
    findings = listing_findings(tmp_path, musdb18(tmp_path), ALL, 2)
    faults, notes = texts(findings, "fault"), texts(findings, "note")
    assert any("has 1 audio streams, but 5 are needed" in text for text in faults)
    assert any("mixture has 3 channels, which cannot be converted to 2" in text for text in faults)
    assert any("the codec is pcm_s16le, but MUSDB18 has aac" in text for text in notes)


def corpus(train: int, names: list[str], test: int) -> list[Track]:
    """Songs in the layout of MUSDB18 without files."""
    subsets: list[tuple[Subset, list[str]]] = [
        ("train", [f"song {number}" for number in range(train)]),
        ("valid", names),
        ("test", [f"test {number}" for number in range(test)]),
    ]
    return [
        Track(name, subset, AudioSource(Path(f"/corpus/{subset}/{name}.stem.mp4")), {})
        for subset, names in subsets
        for name in names
    ]


def test_wrong_counts_of_musdb18_are_reported() -> None:
    import musdb

    root = Path("/corpus")
    official = musdb.DB(root=".", subsets=[]).setup["validation_tracks"]
    full = {AudioSource(Path("any")): Header("aac", 44100, 2, 200.0)}
    preview = {AudioSource(Path("any")): Header("aac", 44100, 2, 7.0)}

    assert not list(wrong_counts(root, corpus(86, official, 50), full))
    (finding,) = wrong_counts(root, corpus(86, official[1:], 49), full)
    assert finding.severity == "fault"
    missing = f"has 86/13/49; missing official validation songs: {official[0]}"
    assert missing in str(finding)
    assert not list(wrong_counts(root, corpus(80, official, 50), preview))
    (finding,) = wrong_counts(root, corpus(80, official, 49), preview)
    assert finding.severity == "note"
    assert "the previews of MUSDB18, has 80/14/50" in str(finding)

    # The choice of validation songs does not matter if all songs are present.
    chosen = [replace(track, subset="train") for track in corpus(86, official, 50)[:99]]
    assert not list(wrong_counts(root, [*chosen, *corpus(86, official, 50)[99:]], full))

    others = corpus(86, ["a", "b"], 50)
    assert not list(wrong_counts(root, others, full))
    (finding,) = other_corpus(root, others)
    assert (finding.severity, "another corpus" in finding.text) == ("note", True)


def test_channels_of_one_file_and_missing_stem_are_examined(tmp_path: Path) -> None:
    left, right = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 16000))
    right *= 0
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.stack([left, right], axis=1), 16000)
    track = Track(
        "clip",
        "train",
        None,
        {
            "accompaniment": AudioSource(path, channel=0),
            "vocals": AudioSource(path, channel=1),
            "choir": None,
        },
    )
    headers = headers_of([track])
    assert {header.channels for header in headers.values()} == {1}
    listed = listing_findings(tmp_path, [track], list(track.stems), 1, headers=headers)
    silent = "train/clip: missing stem: choir has no file; it counts as silence"
    assert silent in texts(listed, "note")
    (song,) = examine_all([track], headers)
    assert [str(finding) for finding in song.findings] == [
        "train/clip: silent: vocals is silent throughout"
    ]
    assert song.seconds == 1.0


def test_mismatch_is_a_note_unless_all_stems_are_known(
    tmp_path: Path,
) -> None:
    random = np.random.default_rng(0)
    for name in ("mixture", "vocals"):
        soundfile.write(tmp_path / f"{name}.wav", random.uniform(-0.1, 0.1, (8000, 2)), 8000)
    stems = {"vocals": AudioSource(tmp_path / "vocals.wav")}
    track = Track("song", "train", AudioSource(tmp_path / "mixture.wav"), stems)
    for parts, severity in ((None, "note"), (["vocals"], "fault")):
        (song,) = examine_all([track], headers_of([track]), parts)
        assert [finding.severity for finding in song.findings] == [severity]
        assert song.match_db == pytest.approx(-3, abs=0.3)
    # With a missing stem, the mixture is not compared.
    (song,) = examine_all([track], headers_of([track]), STEMS)
    assert song.findings == []


@pytest.fixture(scope="module")
def mixtures() -> list[np.ndarray]:
    """The first 8 s of four demo songs."""
    return [sum(synthesise_song(name, seconds=8.0).values()) for name in SONGS[:4]]


def test_fingerprint_is_robust_to_coding_gain_and_shift(
    mixtures: list[np.ndarray], tmp_path: Path
) -> None:
    prints = [fingerprint(mixture, SAMPLE_RATE) for mixture in mixtures]
    assert max(agreements(prints[0], prints[1:])) < PARTLY / 2
    for mixture, known in zip(mixtures, prints, strict=True):
        path = tmp_path / "coded.mp3"
        soundfile.write(path, 0.3 * mixture[:, 12345:-40000].T, SAMPLE_RATE, format="MP3")
        coded = fingerprint(*audio.read(path)[:2])
        halved = fingerprint(audio.resample(mixture, SAMPLE_RATE, 22050), 22050)
        assert min(agreements(known, [coded, halved, known])) > SAME


def test_silence_agrees_with_nothing(mixtures: list[np.ndarray]) -> None:
    song = fingerprint(mixtures[0], SAMPLE_RATE)
    silence = fingerprint(np.zeros_like(mixtures[0]), SAMPLE_RATE)
    assert not silence.any()
    assert agreements(song, [silence]) == agreements(silence, [song, silence])[:1] == [0.0]


@pytest.mark.parametrize(("subset", "severity"), [("train", "note"), ("test", "fault")])
def test_same_audio_is_a_fault_in_different_splits_only(
    subset: Subset, severity: str, mixtures: list[np.ndarray]
) -> None:
    songs = [
        Examination(Track(name, where, None, {}), bits=fingerprint(mixture, SAMPLE_RATE))
        for name, where, mixture in (
            ("one", "train", mixtures[0]),
            ("two", "train", mixtures[1]),
            ("three", subset, mixtures[0]),
        )
    ]
    (finding,) = duplicates(songs)
    assert finding.severity == severity
    assert re.fullmatch(
        rf"train/one: duplicate: has the same audio as {subset}/three .*", str(finding)
    )


def test_shared_accompaniment_is_a_note() -> None:
    song, another_song = (synthesise_song(name, seconds=8.0) for name in SONGS[4:6])
    first = sum(song.values())
    vocals = 1.5 * another_song["vocals"][:, : first.shape[1]]
    second = first - song["vocals"]
    second[:, : vocals.shape[1]] += vocals
    prints = [fingerprint(mixture, SAMPLE_RATE) for mixture in (first, second)]
    (agreement,) = agreements(prints[0], prints[1:])
    assert PARTLY < agreement < SAME
    songs = [
        Examination(Track(name, subset, None, {}), bits=bits)
        for (name, subset), bits in zip([("one", "train"), ("two", "test")], prints, strict=True)
    ]
    (finding,) = duplicates(songs)
    assert (finding.severity, "shares part" in finding.text) == ("note", True)
