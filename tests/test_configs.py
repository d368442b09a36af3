"""Every file of conf/ and of experiments/ is a configuration that composes and can be made."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException, MissingConfigException
from omegaconf import DictConfig, OmegaConf

from stemsplit import configuration
from stemsplit.command_line.corpora import make_corpus, make_data
from stemsplit.configuration import CONF, make
from stemsplit.data.augment.augment import Augment
from stemsplit.errors import InputError
from stemsplit.sweeps.trials import ReportTrial, begin
from stemsplit.training.module import SeparationModule

configuration.register_resolvers()

CHOICES = [
    (folder.name, file.stem)
    for folder in sorted(Path(CONF).iterdir())
    if folder.is_dir() and folder.name != "sweep"
    for file in sorted(folder.glob("*.yaml"))
]
# What an architecture has of these is made this small.
SMALL = {"hidden": 8, "features": 8, "heads": 2, "mask_hidden": 8, "depth": 1}
SWEEPS = sorted(path.stem for path in (Path(CONF) / "sweep").glob("*.yaml"))
EXPERIMENTS = sorted(path.stem for path in (Path(CONF).parent / "experiments").glob("*.yaml"))


def composed(run: Path, *overrides: str, name: str = "train") -> DictConfig:
    """A configuration as an entry point gets it, its run in the folder `run`."""
    with initialize_config_dir(config_dir=CONF):
        config = compose(name, overrides=list(overrides))
    known = {"run_dir": str(run), "name": "model", "corpus": "corpus"}
    for key in set(known) & set(config):
        OmegaConf.update(config, key, known[key])
    return config


def small(config: DictConfig) -> DictConfig:
    network = config.model.separator.network
    network.update({key: SMALL[key] for key in SMALL if key in network})
    return config


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_instantiates(group: str, choice: str, tmp_path: Path) -> None:
    root = [f"data.root={tmp_path}"] if group == "data" else []
    config = small(composed(tmp_path, f"{group}={choice}", *root))
    if group == "data":
        corpus = make_corpus(config.data)
        assert corpus.root == tmp_path
        return
    made = make(config[group])
    if group == "model":
        assert isinstance(made, SeparationModule)


@pytest.mark.parametrize("sweep", SWEEPS)
def test_every_sweep_composes_into_trials_that_report(sweep: str, tmp_path: Path) -> None:
    begin(tmp_path).ask()
    config = composed(tmp_path / "0", f"+sweep={sweep}", "sweep.trial=0")
    assert isinstance(make(config.callbacks)["trial"], ReportTrial)
    assert config.data.downsample.chunks < 1
    assert config.logger.wandb.group == f"{sweep}-model"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_composes(name: str, tmp_path: Path) -> None:
    config = small(composed(tmp_path, f"experiments={name}"))
    assert isinstance(make(config.model), SeparationModule)


def test_a_model_chooses_its_loss_and_its_optimizer_and_the_command_line_wins(
    tmp_path: Path,
) -> None:
    config = composed(tmp_path, "model=band_split")
    assert config.loss.function._target_ == "stemsplit.training.losses.multi_resolution_stft"
    assert config.optimizer._target_ == "torch.optim.AdamW"
    # A preset chooses as the model it is a preset of, unless it says otherwise.
    preset = composed(tmp_path, "model=band_split_small")
    assert preset.loss.function._target_ == "stemsplit.training.losses.complex_l1"
    assert preset.optimizer == config.optimizer
    assert composed(tmp_path, "model=band_split_large").loss == config.loss
    given = composed(tmp_path, "model=band_split", "loss=l1", "optimizer=adam", "optimizer.lr=1")
    assert given.loss.function._target_ == "stemsplit.training.losses.l1"
    assert (given.optimizer._target_, given.optimizer.lr) == ("torch.optim.Adam", 1)
    assert given.model.separator.wiener_iterations == 0


def test_there_is_no_code_in_conf() -> None:
    assert not list(Path(CONF).rglob("*.py"))  # Hydra would take the folder for a package


MATCHED = [choice for group, choice in CHOICES if choice.endswith("_matched")]


@pytest.mark.parametrize("model", MATCHED)
def test_matched_models_have_the_size_of_the_proposed_one(model: str, tmp_path: Path) -> None:
    sizes = [
        sum(
            weight.numel()
            for weight in make(composed(tmp_path, f"model={name}").model).parameters()
        )
        for name in (model, "mel_blstm")
    ]
    assert sizes[0] == pytest.approx(sizes[1], rel=5e-3)


def test_unknown_experiment_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingConfigException, match="experiments/nowhere"):
        composed(tmp_path, "experiments=nowhere")


def test_unknown_override_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigCompositionException, match="modl"):
        composed(tmp_path, "modl=open_unmix")


def test_facts_are_shared(tmp_path: Path) -> None:
    config = composed(
        tmp_path, "sample_rate=16000", "channels=1", "window=1024", "hop=256", "chunk_seconds=2.5"
    )
    separator, corpus = make(config.model).separator, make_corpus(config.data)
    assert separator.sample_rate == corpus.sample_rate == 16000
    assert separator.channels == corpus.channels == 1
    assert separator.front_end.window == 1024
    assert make_data(config.data, corpus).chunk == 40000


def test_a_lower_rate_takes_the_front_end_along(tmp_path: Path) -> None:
    config = composed(tmp_path, "data.downsample.rate=0.5")
    front_end, corpus = make(config.model).separator.front_end, make_corpus(config.data)
    assert front_end.sample_rate == corpus.sample_rate == 22050
    assert (front_end.window, front_end.hop) == (2048, 512)
    with pytest.raises(InputError, match=r"rate 0\.3 leaves 1228\.8 of 4096"):
        make(composed(tmp_path, "data.downsample.rate=0.3").model)


def augment_of(config: DictConfig) -> Augment:
    augment = make_data(config.data, make_corpus(config.data)).augment
    assert isinstance(augment, Augment)
    return augment


@pytest.mark.parametrize("remix", [False, True])
def test_augmentation_knows_of_what_the_stems_are(remix: bool, tmp_path: Path) -> None:
    given = [f"data.remix={remix}", "sample_rate=16000", "data.augment.snr_decibels=[-5,5]"]
    augment = augment_of(composed(tmp_path, *given))
    assert (augment.remix, augment.sample_rate) == (remix, 16000)
    assert augment.snr_decibels == [-5, 5]


def test_augmentation_is_the_published_one_until_asked_for(tmp_path: Path) -> None:
    augment = augment_of(composed(tmp_path))
    assert (augment.gain, augment.swap_channels) == ([0.25, 1.25], True)
    off = (augment.polarity, augment.mono, augment.tempo, augment.pitch, augment.equaliser)
    assert (*off, augment.snr_decibels) == (0, 0, 0, 0, 0, None)
    assert augment.read_length(1000) == 1000


def test_a_corpus_sets_the_budget_and_the_command_line_wins(tmp_path: Path) -> None:
    published = composed(tmp_path, "data=musdb18")
    assert (published.trainer.max_epochs, published.data.chunks_per_track) == (1000, 64)
    assert composed(tmp_path, "data=demo").data.chunks_per_track == 16
    given = composed(tmp_path, "data=demo", "epochs=3", "data.chunks_per_track=2")
    assert (given.trainer.max_epochs, given.data.chunks_per_track) == (3, 2)


@pytest.mark.parametrize(
    ("targets", "residual"),
    [
        ("[vocals]", "accompaniment"),
        ("[vocals,drums]", "residual"),
        ("[vocals,drums,bass,other]", None),
    ],
)
def test_residual_follows_the_targets(targets: str, residual: str | None, tmp_path: Path) -> None:
    assert composed(tmp_path, f"targets={targets}").model.separator.residual == residual


def test_stems_that_are_not_known_yet_leave_a_residual(tmp_path: Path) -> None:
    config = composed(tmp_path, "data=folder", f"data.root={tmp_path}", "targets=[vocals,drums]")
    assert config.data.stems is None
    assert config.model.separator.residual == "residual"


def test_a_scheduler_can_be_left_out(tmp_path: Path) -> None:
    config = small(composed(tmp_path, "~scheduler"))
    assert make(config.model).scheduler is None


def test_evaluate_takes_a_corpus_or_none(tmp_path: Path) -> None:
    assert composed(tmp_path, "checkpoint=x", name="evaluate").data.lister is None
    given = composed(
        tmp_path, "checkpoint=x", "data=musdb18", f"data.root={tmp_path}", name="evaluate"
    )
    assert make_corpus(given.data).root == tmp_path


@pytest.mark.parametrize(
    ("target", "arguments"),
    [
        ("os.system", ["touch {made}"]),
        ("stemsplit.demo.step", ["timeit", "-n1", "-r1", "open('{made}', 'w')"]),
        ("stemsplit.demo.subprocess.run", [["touch", "{made}"]]),
        ("stemsplit.files.Path.touch", ["{made}"]),
        ("stemsplit.data.corpora.musdb.shutil.move", ["{made}", "{made}"]),  # what it imports
        ("stemsplit.data.corpora.demo_songs.write_demo_corpus", ["{made}"]),  # returns no songs
    ],
)
def test_a_configuration_makes_nothing_foreign(
    target: str, arguments: list[str], tmp_path: Path
) -> None:
    made = tmp_path / "made"
    filled = [OmegaConf.create({"a": arguments}).a]
    text = OmegaConf.to_yaml(OmegaConf.create({"_target_": target, "_args_": filled[0]}))
    with pytest.raises(InputError, match="whitelist"):
        make(OmegaConf.create(text.replace("{made}", str(made))))
    assert not made.exists()
