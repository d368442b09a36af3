"""A corpus with one fault of every kind: each is found and named, and nothing else is."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import musdb
import numpy as np
import pytest
import soundfile
from commands import start
from hydra import compose, initialize_config_dir

from stemsplit.configuration import CONF, register_resolvers
from stemsplit.data.corpora.demo_songs import SONGS, STEMS, synthesise_song, write_song
from stemsplit.data.doctor.errata import ERRATA, excused
from stemsplit.data.doctor.examination import Examination
from stemsplit.data.tracks import Track
from stemsplit.doctor import examine_corpus, print_report
from stemsplit.errors import InputError

SAMPLE_RATE = 44100
CLEAN = {"train/clean": 0, "train/validation": 1, "test/clean too": 2}
Song = dict[str, np.ndarray]


def write(folder: Path, stems: Song, mixture: np.ndarray | None = None, rate: int = 44100) -> None:
    """A song in MUSDB18-HQ's layout, in 16 bits."""
    folder.mkdir(parents=True)
    whole = sum(stems.values()) if mixture is None else mixture
    for name, samples in {**stems, "mixture": whole}.items():
        soundfile.write(folder / f"{name}.wav", samples.T, rate, "PCM_16")


@pytest.fixture(scope="module")
def songs() -> list[Song]:
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda name: synthesise_song(name, seconds=5.0), SONGS[:14]))


@pytest.fixture(scope="module")
def clean(songs: list[Song], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clean")
    for name, number in CLEAN.items():
        write(root / name, songs[number])
    return root


@pytest.fixture(scope="module")
def planted(songs: list[Song], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("planted")
    random = np.random.default_rng(0)
    for name, number in CLEAN.items():
        write(root / name, songs[number])
    # The first training song again: later, softer, with noise, and under another name.
    softer = {name: 0.4 * stem[:, 5000:] for name, stem in songs[0].items()}
    softer["other"] = softer["other"] + 0.002 * random.standard_normal(softer["other"].shape)
    write(root / "test" / "twin", softer)
    write(root / "train" / "lacks bass", songs[3])
    (root / "train" / "lacks bass" / "bass.wav").unlink()
    write(root / "train" / "cut", songs[4])
    cut = root / "train" / "cut" / "drums.wav"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    write(root / "train" / "no audio", songs[5])
    (root / "train" / "no audio" / "other.wav").write_text("a note of what was to come here")
    write(root / "train" / "not finite", songs[6])
    broken = songs[6]["vocals"].copy()
    broken[0, 1000] = np.nan
    soundfile.write(root / "train" / "not finite" / "vocals.wav", broken.T, SAMPLE_RATE, "FLOAT")
    faint = {**songs[7], "vocals": 0 * songs[7]["vocals"], "bass": 1e-3 * songs[7]["bass"]}
    write(root / "train" / "quiet", faint)
    drums = songs[8]["drums"].copy()
    drums[:, -SAMPLE_RATE:] = 0
    write(root / "train" / "ends early", {**songs[8], "drums": drums})
    soundfile.write(
        root / "train" / "ends early" / "drums.wav", drums[:, :-SAMPLE_RATE].T, SAMPLE_RATE
    )
    clipped = {name: 0.02 * stem for name, stem in songs[9].items()}
    clipped["vocals"] = (20 * songs[9]["vocals"]).clip(-1, 1)
    clipped["other"] = -0.1 * clipped["vocals"]
    write(root / "train" / "clips", clipped)
    write(root / "train" / "other mixture", songs[10], -sum(songs[10].values()))
    coded = sum(songs[11].values())
    coded = coded + 0.03 * coded.std() * random.standard_normal(coded.shape)
    write(root / "train" / "was coded", songs[11], coded)
    write(root / "train" / "other rate", {n: s[:, ::2] for n, s in songs[12].items()}, None, 22050)
    write(root / "train" / "one mono", {n: s[[0, 0]] for n, s in songs[13].items()})
    mono = root / "train" / "one mono" / "bass.wav"
    soundfile.write(mono, songs[13]["bass"][0], SAMPLE_RATE, "PCM_16", format="FLAC")
    (root / "train" / "no mixture").mkdir()
    soundfile.write(root / "train" / "no mixture" / "vocals.wav", broken.T, SAMPLE_RATE)
    return root


FAULTS = [
    ("validation songs", "", "Nobody"),
    ("not listed", "train/no mixture", "mixture.wav is missing"),
    ("missing stem", "train/lacks bass", "bass"),
    ("damaged", "train/cut", "drums.wav: it is truncated"),
    ("damaged", "train/no audio", "other.wav: cannot be opened"),
    ("damaged", "train/not finite", "vocals.wav: 1 sample with NaN or infinity"),
    ("mixture", "train/other mixture", "is only -6.0 dB"),
    ("duplicate", "train/clean", "has the same audio as test/twin"),
]
NOTES = [
    ("official counts", "", "86/14/50 .* has 12/1/2: another corpus"),
    ("silent", "train/quiet", "vocals is silent"),
    ("near-silent", "train/quiet", "bass has a level of -[78]\\d dB"),
    ("length", "train/ends early", "drums is 1.00 s shorter"),
    ("length", "train/cut", "drums is .* shorter"),
    ("clipping", "train/clips", "vocals clips"),
    ("mixture", "train/was coded", "is only 30.[0-9] dB, as after lossy coding"),
    ("rate or channels", "", "train/other rate: 22050 Hz"),
    ("rate or channels", "train/one mono", "bass has 44100 Hz and 1 channel"),
    ("codec", "train/one mono", "the codec is flac"),
]


@pytest.fixture(scope="module")
def report(planted: Path) -> dict:
    """What a person gets who asks for JSON, from the command line."""
    process = start(
        planted.parent,
        "doctor",
        *("--json", "data=musdb18hq", f"data.root={planted}"),
        "data.validation_tracks=[validation,Nobody]",
    )
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 1, errors
    return json.loads(output)


@pytest.mark.parametrize(
    ("severity", "check", "song", "text"),
    [("faults", *row) for row in FAULTS] + [("notes", *row) for row in NOTES],
)
def test_planted_fault_is_found(
    severity: str, check: str, song: str, text: str, report: dict
) -> None:
    found = [item for item in report[severity] if (item["check"], item["song"]) == (check, song)]
    assert len(found) == 1
    assert re.search(text, found[0]["text"])


def test_there_are_no_other_findings(report: dict) -> None:
    for severity, planted in (("faults", FAULTS), ("notes", NOTES)):
        found = {(item["check"], item["song"]) for item in report[severity]}
        assert found == {(check, song) for check, song, _ in planted}


def test_report_describes_the_corpus(report: dict) -> None:
    assert report["layout"] == "MUSDB18-HQ"
    assert {name: split["songs"] for name, split in report["splits"].items()} == {
        "train": 12,
        "valid": 1,
        "test": 2,
    }
    assert report["splits"]["train"]["rates"] == {"44100": 11, "22050": 1}
    assert report["splits"]["valid"]["median_match_db"] > 60


def doctor(root: Path | str, *overrides: str) -> dict:
    register_resolvers()
    with initialize_config_dir(config_dir=CONF):
        config = compose("doctor", [f"data.root={root}", *overrides])
    config.corpus = "corpus"
    return examine_corpus(config)


def test_clean_corpus_has_no_faults(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = doctor(clean, "data=musdb18hq", "data.validation_tracks=[validation]")
    assert report["faults"] == []
    assert [note["check"] for note in report["notes"]] == ["official counts"]
    print_report(report)
    assert "faults: 0, notes: 1: ready for training" in capsys.readouterr().out


def official(root: Path, data: str) -> None:
    """Songs of noise under the official counts and, as far as anything hangs on them, names."""
    validation = musdb.DB(root=str(root), subsets=[]).setup["validation_tracks"]
    test = ["Al James - Schoolboy Facination", "BKS - Bulldozer", "PR - Oh No"]
    train = sorted({*ERRATA} - {*test})
    train += [f"train {number}" for number in range(86 - len(train))]
    test += [f"test {number}" for number in range(50 - len(test))]
    names = [*(("train", name) for name in (*train, *validation)), *(("test", n) for n in test)]
    for number, (subset, name) in enumerate(names):
        noise = np.random.default_rng(number).uniform(-0.2, 0.2, (4, 2, 500)).astype(np.float32)
        stems = dict(zip(STEMS, noise.repeat(32, axis=2), strict=True))  # which AAC codes well
        mixture = sum(stems.values())
        if name == "PR - Oh No":
            mixture[0] = stems["drums"][1]
        if data == "musdb18":
            write_song(root / subset / f"{name}.stem.mp4", stems, mixture)
        else:
            write(root / subset / name, stems, mixture)


@pytest.mark.parametrize("data", ["musdb18hq", pytest.param("musdb18", marks=pytest.mark.slow)])
def test_official_songs_are_fit_to_train_on(data: str, tmp_path: Path) -> None:
    official(tmp_path, data)
    report = doctor(tmp_path, f"data={data}")
    assert report["faults"] == []
    assert {name: split["songs"] for name, split in report["splits"].items()} == {
        "train": 86,
        "valid": 14,
        "test": 50,
    }
    errata = {n["song"]: n["text"] for n in report["notes"] if n["check"] == "erratum"}
    assert {song.partition("/")[2] for song in errata} == set(ERRATA)
    assert "electric guitar is mixed into drums at 2:20" in errata["train/Leaf - Wicked"]
    [left] = [note for note in report["notes"] if note["check"] == "mixture"]
    assert left["song"] == "test/PR - Oh No"
    assert re.search(r"\(channel 1: -?\d+\.\d dB, channel 2: \d\d\.\d dB\)", left["text"])
    assert left["text"].endswith("the official files have this too")
    # (So short, songs share some bits of their fingerprints by chance.)
    checks = {note["check"] for note in report["notes"]} - {"duplicate"}
    assert checks == {"erratum", "mixture"}


def test_only_known_errata_are_excused() -> None:
    def examined(name: str, *channels: float) -> Examination:
        song = Examination(Track(name, "test", None, {}), match_db_of_channels=list(channels))
        song.add_finding("fault", "mixture", "differs")
        return song

    assert [finding.severity for finding in excused(examined("PR - Oh No", 0.4, 20.2))] == ["note"]
    for other in (
        examined("PR - Oh No", 0.4, 0.5),
        examined("PR - Oh No", 0.4),
        examined("Leaf - Wicked", 0.4, 20.2),
    ):
        assert [finding.severity for finding in excused(other)] == ["fault"]


def test_missing_corpus_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no corpus to examine"):
        doctor(tmp_path)
    with pytest.raises(InputError, match=r"data\.root is not set"):
        doctor("null", "data=musdb18")


def test_supplementary_corpora_are_examined(clean: Path, songs: list[Song], tmp_path: Path) -> None:
    softer = {name: 0.5 * stem for name, stem in songs[2].items()}  # a test song of the first
    write(tmp_path / "also/train/leak", softer)
    lister = "{_target_: stemsplit.data.corpora.folders.folder, _partial_: true}"
    given = [
        *("data=musdb18hq", "data.validation_tracks=[validation]"),
        f"data.also=[{{lister: {lister}, root: {tmp_path}/also}}]",
    ]
    [fault] = doctor(clean, *given)["faults"]
    assert fault["check"] == "duplicate"
    assert "has the same audio as train/leak" in fault["text"]
    [fault] = doctor(clean, *given[:2], given[2].replace("/also}", "/nowhere}"))["faults"]
    assert fault["check"] == "data.also"
    assert "nowhere is not a folder" in fault["text"]


def test_missing_target_is_a_fault(songs: list[Song], tmp_path: Path) -> None:
    for subset, number in (("train", 0), ("valid", 1)):
        folder = tmp_path / subset / f"song {number}"
        folder.mkdir(parents=True)
        for stem in ("bass", "drums"):
            soundfile.write(folder / f"{stem}.wav", songs[number][stem].T, SAMPLE_RATE)
    [fault] = doctor(tmp_path, "data=folder")["faults"]
    assert fault["check"] == "targets"
    assert "['vocals'] are not among the corpus's stems ['bass', 'drums']" in fault["text"]
    report = doctor(tmp_path, "data=folder", "targets=[bass]")
    assert report["faults"] == []
    assert report["layout"] is None


def test_stems_without_a_mixture_are_compared_with_the_longest(
    songs: list[Song], tmp_path: Path
) -> None:
    folder = tmp_path / "train" / "song"
    folder.mkdir(parents=True)
    soundfile.write(folder / "drums.wav", songs[0]["drums"].T, SAMPLE_RATE)
    soundfile.write(folder / "vocals.wav", songs[0]["vocals"][:, SAMPLE_RATE:].T, SAMPLE_RATE)
    notes = [note for note in doctor(tmp_path, "data=folder")["notes"] if note["check"] == "length"]
    assert [note["text"] for note in notes] == ["vocals is 1.00 s shorter than the longest stem"]
