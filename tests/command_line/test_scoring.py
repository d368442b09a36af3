"""The settings of an evaluation: each changes what is scored, or is refused by name."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import soundfile
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from stemsplit import configuration
from stemsplit.command_line.scoring import CORPUS, EVALUATION, setting_names
from stemsplit.configuration import CONF, register_resolvers
from stemsplit.data.store.stored import StoredTrack
from stemsplit.errors import InputError
from stemsplit.evaluate import evaluate_systems
from stemsplit.evaluation.protocol import Protocol
from stemsplit.evaluation.systems import Oracle, System
from stemsplit.reporting.run_records import flattened
from stemsplit.separation.checkpoint import build, save

RATE = 4000
FOLDER = "{_target_: stemsplit.data.corpora.folders.folder, _partial_: true}"


def write_corpus(root: Path, test_song: str = "d") -> Path:
    """Mono songs of three stems, half a second each: two to train on, one of the other splits."""
    random = np.random.default_rng(0)
    for song in ("train/a", "train/b", "valid/c", f"test/{test_song}"):
        (root / song).mkdir(parents=True)
        for stem in ("vocals", "bass", "drums"):
            samples = 0.1 * random.standard_normal(RATE // 2)
            soundfile.write(root / song / f"{stem}.wav", samples, RATE)
    return root


def write_run(place: Path, name: str, corpus: Path, *settings: str) -> Path:
    """A run's folder, as a training of an untrained network would leave it."""
    register_resolvers()
    words = [f"sample_rate={RATE}", "channels=1", "window=256", "hop=64", "data=folder"]
    words += ["model=mlp", f"data.root={corpus}", f"data.cache={place / 'cache'}", *settings]
    with initialize_config_dir(config_dir=CONF):
        config = compose("train", words)
    run = place / name
    (place / "cache").mkdir(exist_ok=True)
    config.run_dir, config.name, config.corpus = str(run), "mlp", "folder"
    configuration.save(config, run)
    rate = round(RATE * config.data.downsample.rate)
    transform = {"window": 64 * rate // 1000, "hop": 16 * rate // 1000}
    front_end = {"sample_rate": rate, "mel_bands": 16, "mfccs": 4, **transform}
    network = {"class": "stemsplit.models.mlp.Mlp", "hidden": 8}
    save(build(front_end, network, ["vocals"], "accompaniment", 1), run / "best.ckpt")
    return run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two corpora, two runs, and an empty folder of estimates."""
    place = tmp_path_factory.mktemp("place")
    write_corpus(place / "corpus")
    write_corpus(place / "moved", test_song="e")
    write_run(place, "run", place / "corpus")
    write_run(place, "half", place / "corpus", "data.downsample.rate=0.5")
    (place / "tool").mkdir()
    return place


class Scoring(NamedTuple):
    """The arguments of `evaluate`, before anything is scored."""

    systems: Sequence[System]
    tracks: Sequence[StoredTrack]
    protocol: Protocol
    folder: Path
    workers: int | None
    device: str
    spectral: bool = False

    @property
    def names(self) -> list[str]:
        return [system.name for system in self.systems]

    @property
    def transforms(self) -> set[tuple[int, int, int]]:
        fronts = [system.front_end for system in self.systems if isinstance(system, Oracle)]
        return {(front.sample_rate, front.window, front.hop) for front in fronts}


class AboutToScoreError(Exception):
    pass


@pytest.fixture(scope="module")
def scoring(place: Path) -> Iterator[Callable[..., Scoring]]:
    def stop(*arguments: Any, **others: Any) -> None:
        raise AboutToScoreError(Scoring(*arguments, **others))

    def scoring(*words: str) -> Scoring:
        words = tuple(word.replace("PLACE", str(place)) for word in words)
        names = {word.partition("=")[0] for word in words}
        standard = [f"checkpoint={place / 'run'}"] if "checkpoint" not in names else []
        standard += ["corpus=null"] if "corpus" not in names and "data" not in names else []
        with initialize_config_dir(config_dir=CONF):
            config = compose("evaluate", [*standard, *words])
        with pytest.raises(AboutToScoreError) as caught:
            evaluate_systems(config, words)
        return caught.value.args[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("STEMSPLIT_CACHE", raising=False)
        patch.setattr("stemsplit.evaluate.evaluate", stop)
        yield scoring


@pytest.fixture(scope="module")
def by_default(scoring: Callable[..., Scoring]) -> Scoring:
    """The evaluation with no setting but the checkpoint."""
    return scoring()


def test_run_is_scored_on_its_own_corpus(place: Path, by_default: Scoring) -> None:
    found = by_default
    assert str(found.protocol).startswith("folder test, vocals and accompaniment")
    assert (found.protocol.sample_rate, found.protocol.channels) == (RATE, 1)
    assert found.transforms == {(RATE, 256, 64)}
    assert [track.name for track in found.tracks] == ["d"]
    assert found.tracks[0].folder.is_relative_to(place / "cache")
    assert found.folder == place / "run/evaluations/folder-test/museval"


# A setting, other settings that it needs, the fact that it decides, and the value of that fact.
EFFECTS: list[tuple[str, list[str], Callable[[Scoring], Any], Any]] = [
    ("corpus=mine", [], lambda it: it.protocol.corpus, "mine"),
    ("stems=[vocals,bass]", [], lambda it: it.tracks[0].stems, ("vocals", "bass")),
    ("sample_rate=2000", [], lambda it: it.protocol.sample_rate, 2000),
    ("channels=2", [], lambda it: it.protocol.channels, 2),
    ("window=512", [], lambda it: it.transforms, {(RATE, 512, 64)}),
    ("hop=32", [], lambda it: it.transforms, {(RATE, 256, 32)}),
    (
        f"data.lister={FOLDER}",
        ["corpus=new", "data.root=PLACE/moved", "data.cache=PLACE/cache", "stems=null"],
        lambda it: (it.protocol.corpus, it.protocol.sample_rate),
        ("new", 44100),
    ),
    ("data.root=PLACE/moved", [], lambda it: it.tracks[0].name, "e"),
    ("data.cache=PLACE/other", [], lambda it: it.tracks[0].folder.parts[-3], "other"),
    ("data.stems=[vocals,bass]", [], lambda it: it.tracks[0].stems, ("vocals", "bass")),
    ("data.sample_rate=2000", [], lambda it: it.protocol.sample_rate, 2000),
    ("data.channels=2", [], lambda it: it.protocol.channels, 2),
    ("data.downsample.rate=0.5", [], lambda it: it.protocol.sample_rate, 2000),
    (
        "data.validation_tracks=[a]",
        ["subset=valid"],
        lambda it: [track.name for track in it.tracks],
        ["a"],
    ),
    ("checkpoint=PLACE/run/best.ckpt", [], lambda it: it.names[-1], "mlp"),
    ("estimates=PLACE/tool", [], lambda it: it.names[-1], "tool"),
    ("targets=[bass]", [], lambda it: it.protocol.stems, ("bass", "residual")),
    ("subset=valid", [], lambda it: it.tracks[0].name, "c"),
    ("workers=3", [], lambda it: it.workers, 3),
    ("output=PLACE/out", [], lambda it: it.folder.parts[-2], "out"),
    ("device=meta", [], lambda it: it.device, "meta"),
    (
        "data=folder",
        ["data.root=PLACE/moved", "data.cache=PLACE/cache", "corpus=folder"],
        lambda it: it.protocol.sample_rate,
        44100,
    ),
    ("evaluation={oracles: false}", [], lambda it: it.names, ["mixture", "mlp"]),
    ("evaluation.backend=museval", [], lambda it: it.protocol.backend, "museval"),
    ("evaluation.oracles=false", [], lambda it: it.names, ["mixture", "mlp"]),
    ("evaluation.spectral=true", [], lambda it: it.spectral, True),
    ("evaluation.stages=true", [], lambda it: "mlp, mask only" in it.names, True),
]


@pytest.mark.parametrize("effect", EFFECTS, ids=lambda effect: effect[0])
def test_setting_has_an_effect(
    effect: tuple[str, list[str], Callable[[Scoring], Any], Any],
    scoring: Callable[..., Scoring],
    by_default: Scoring,
) -> None:
    setting, others, decided, value = effect
    assert decided(scoring(*others, setting)) == value
    if not setting.startswith(("checkpoint", "device")):  # the default has the same value
        assert decided(by_default) != value


def test_setting_without_effect_is_refused_by_name() -> None:
    register_resolvers()
    with initialize_config_dir(config_dir=CONF):
        config = compose("evaluate")
    settings = list(flattened(OmegaConf.to_container(config, resolve=False)))
    accepted = {effect[0].partition("=")[0] for effect in EFFECTS}
    accepted.add("allow_training_songs")  # test_evaluate.py tests its effect
    assert accepted == {*CORPUS, *EVALUATION}
    refused = [name for name in settings if name not in accepted]
    assert {"epochs", "seed", "data.batch_size", "data.downsample.songs"} <= set(refused)
    for name in refused:
        with pytest.raises(InputError, match=f"{name}=1: {name} has no effect on the scores"):
            setting_names([f"{name}=1"])
    for word in ("+data.foo=1", "++foo=1", "+model=mlp", "+evaluation.foo=1", "data.downsample={}"):
        with pytest.raises(InputError, match="has no effect on the scores"):
            setting_names([word])
    with pytest.raises(InputError, match="a setting of an evaluation cannot be removed"):
        setting_names(["~evaluation"])
    assert setting_names(["hydra.verbose=true", "+checkpoint.a=b"]) == [
        "hydra.verbose",
        "checkpoint.a",
    ]


def test_moved_corpus_is_scored_with_data_root(
    tmp_path: Path, scoring: Callable[..., Scoring]
) -> None:
    run = write_run(tmp_path, "run", write_corpus(tmp_path / "corpus"))
    (tmp_path / "corpus").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"corpus: does not exist; set data\.root to"):
        scoring(f"checkpoint={run}")
    found = scoring(f"checkpoint={run}", f"data.root={tmp_path / 'elsewhere'}")
    assert [track.name for track in found.tracks] == ["d"]
    with pytest.raises(InputError, match=r"data.root=/does/not/exist: does not exist"):
        scoring(f"checkpoint={run}", "data.root=/does/not/exist")


def test_cache_is_the_machines(
    place: Path, tmp_path: Path, scoring: Callable[..., Scoring], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert scoring().tracks[0].folder.is_relative_to(place / "cache")
    foreign = write_run(tmp_path, "run", place / "corpus", "data.cache=/nowhere/cache")
    [track] = scoring(f"checkpoint={foreign}").tracks
    assert track.folder.is_relative_to(tmp_path / "home/.cache/stemsplit")
    monkeypatch.setenv("STEMSPLIT_CACHE", str(tmp_path / "from the environment"))
    [track] = scoring().tracks
    assert track.folder.is_relative_to(tmp_path / "from the environment")


def test_corpus_in_the_cache_is_found_in_another_cache(
    place: Path, tmp_path: Path, scoring: Callable[..., Scoring], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for the demo songs of a run that was trained on another machine."""
    there = ["data.cache=/nowhere/cache", "data.root=/nowhere/cache/demo"]
    run = write_run(tmp_path, "run", place / "corpus", *there)
    write_corpus(tmp_path / "cache here/demo")
    monkeypatch.setenv("STEMSPLIT_CACHE", str(tmp_path / "cache here"))
    assert [track.name for track in scoring(f"checkpoint={run}").tracks] == ["d"]


def test_runs_with_different_rates_need_a_common_rate(
    scoring: Callable[..., Scoring],
) -> None:
    both = "checkpoint={a: PLACE/run, b: PLACE/half}"
    with pytest.raises(InputError, match=r"data\.downsample\.rate \(1\.0, 0\.5\): choose one with"):
        scoring(both)
    found = scoring(both, "data.downsample.rate=1")
    assert found.protocol.sample_rate == RATE
    assert found.names[-2:] == ["a", "b"]


def test_ideal_masks_use_the_separators_transform(scoring: Callable[..., Scoring]) -> None:
    """Window and hop last 64 ms and 16 ms at every rate, also for a run with `downsample.rate`."""
    half = "checkpoint=PLACE/half"
    assert scoring(half).transforms == {(2000, 128, 32)}
    assert scoring(half, "data.downsample.rate=1").transforms == {(RATE, 256, 64)}
    assert scoring(half, "sample_rate=8000").transforms == {(8000, 512, 128)}
    assert scoring(half, "sample_rate=3000").transforms == {(3000, 192, 48)}
    assert scoring(half, "sample_rate=4100").transforms == {(4100, 264, 66)}
    assert scoring(half, "window=512").transforms == {(2000, 256, 32)}
