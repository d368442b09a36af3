"""Every configuration in conf/ and experiments/ composes, and its objects can be created."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException, MissingConfigException
from omegaconf import DictConfig, OmegaConf

from stemsplit import configuration
from stemsplit.command_line.corpora import make_corpus
from stemsplit.command_line.training_data import make_data
from stemsplit.configuration import CONF, make
from stemsplit.data.augment.augment import Augment
from stemsplit.errors import InputError
from stemsplit.sweeps.study import create_study
from stemsplit.sweeps.trials import ReportTrial
from stemsplit.training.module import SeparationModule

configuration.register_resolvers()

CHOICES = [
    (folder.name, file.stem)
    for folder in sorted(Path(CONF).iterdir())
    if folder.is_dir() and folder.name != "sweep"
    for file in sorted(folder.glob("*.yaml"))
]
# Reduced sizes for networks that have these settings.
SMALL = {"hidden": 8, "features": 8, "heads": 2, "mask_hidden": 8, "depth": 1}
SWEEPS = sorted(path.stem for path in (Path(CONF) / "sweep").glob("*.yaml"))
EXPERIMENTS = sorted(path.stem for path in (Path(CONF).parent / "experiments").glob("*.yaml"))


def composed(run: Path, *overrides: str, name: str = "train") -> DictConfig:
    """Compose the configuration of a command, with `run` as the run folder."""
    with initialize_config_dir(config_dir=CONF):
        config = compose(name, overrides=list(overrides))
    values = {"run_dir": str(run), "name": "model", "corpus": "corpus"}
    for key in set(values) & set(config):
        OmegaConf.update(config, key, values[key])
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
def test_trials_of_every_sweep_report_their_score(sweep: str, tmp_path: Path) -> None:
    create_study(tmp_path).ask()
    config = composed(tmp_path / "0", f"+sweep={sweep}", "sweep.trial=0")
    assert isinstance(make(config.callbacks)["trial"], ReportTrial)
    assert config.data.downsample.chunks < 1
    assert config.logger.wandb.group == f"{sweep}-model"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_composes(name: str, tmp_path: Path) -> None:
    config = small(composed(tmp_path, f"experiments={name}"))
    assert isinstance(make(config.model), SeparationModule)


def test_model_sets_loss_and_optimizer_unless_overridden(
    tmp_path: Path,
) -> None:
    config = composed(tmp_path, "model=band_split")
    assert config.loss.function._target_ == "stemsplit.training.losses.multi_resolution_stft"
    assert config.optimizer._target_ == "torch.optim.AdamW"
    # A preset has the loss and optimiser of its base model, unless it overrides them.
    preset = composed(tmp_path, "model=band_split_small")
    assert preset.loss.function._target_ == "stemsplit.training.losses.complex_l1"
    assert preset.optimizer == config.optimizer
    assert composed(tmp_path, "model=band_split_large").loss == config.loss
    overrides = ["model=band_split", "loss=l1", "optimizer=adam", "optimizer.lr=1"]
    overridden = composed(tmp_path, *overrides)
    assert overridden.loss.function._target_ == "stemsplit.training.losses.l1"
    assert (overridden.optimizer._target_, overridden.optimizer.lr) == ("torch.optim.Adam", 1)
    assert overridden.model.separator.wiener_iterations == 0


def test_conf_has_no_python_files() -> None:
    assert not list(Path(CONF).rglob("*.py"))  # with Python files, Hydra treats it as a package


MATCHED = [choice for group, choice in CHOICES if choice.endswith("_matched")]


@pytest.mark.parametrize("model", MATCHED)
def test_matched_models_have_as_many_weights_as_mel_blstm(model: str, tmp_path: Path) -> None:
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


def test_shared_settings_reach_model_and_data(tmp_path: Path) -> None:
    config = composed(
        tmp_path, "sample_rate=16000", "channels=1", "window=1024", "hop=256", "chunk_seconds=2.5"
    )
    separator, corpus = make(config.model).separator, make_corpus(config.data)
    assert separator.sample_rate == corpus.sample_rate == 16000
    assert separator.channels == corpus.channels == 1
    assert separator.front_end.window == 1024
    assert make_data(config.data, corpus).chunk == 40000


def test_downsampling_scales_the_front_end(tmp_path: Path) -> None:
    config = composed(tmp_path, "data.downsample.rate=0.5")
    front_end, corpus = make(config.model).separator.front_end, make_corpus(config.data)
    assert front_end.sample_rate == corpus.sample_rate == 22050
    assert (front_end.window, front_end.hop) == (2048, 512)
    with pytest.raises(InputError, match=r"rate 0\.3 turns 4096 into 1228\.8"):
        make(composed(tmp_path, "data.downsample.rate=0.3").model)


def augment_of(config: DictConfig) -> Augment:
    augment = make_data(config.data, make_corpus(config.data)).augment
    assert isinstance(augment, Augment)
    return augment


@pytest.mark.parametrize("remix", [False, True])
def test_augmentation_gets_sample_rate_and_remix(remix: bool, tmp_path: Path) -> None:
    overrides = [f"data.remix={remix}", "sample_rate=16000", "data.augment.snr_decibels=[-5,5]"]
    augment = augment_of(composed(tmp_path, *overrides))
    assert (augment.remix, augment.sample_rate) == (remix, 16000)
    assert augment.snr_decibels == [-5, 5]


def test_default_augmentation_is_gain_and_channel_swap(tmp_path: Path) -> None:
    augment = augment_of(composed(tmp_path))
    assert (augment.gain, augment.swap_channels) == ([0.25, 1.25], True)
    disabled = (augment.polarity, augment.mono, augment.tempo, augment.pitch, augment.equaliser)
    assert (*disabled, augment.snr_decibels) == (0, 0, 0, 0, 0, None)
    assert augment.read_length(1000) == 1000


def test_corpus_sets_training_length_unless_overridden(tmp_path: Path) -> None:
    musdb18 = composed(tmp_path, "data=musdb18")
    assert (musdb18.trainer.max_epochs, musdb18.data.chunks_per_track) == (1000, 64)
    assert composed(tmp_path, "data=demo").data.chunks_per_track == 16
    overridden = composed(tmp_path, "data=demo", "epochs=3", "data.chunks_per_track=2")
    assert (overridden.trainer.max_epochs, overridden.data.chunks_per_track) == (3, 2)


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


def test_unknown_stems_imply_a_residual(tmp_path: Path) -> None:
    config = composed(tmp_path, "data=folder", f"data.root={tmp_path}", "targets=[vocals,drums]")
    assert config.data.stems is None
    assert config.model.separator.residual == "residual"


def test_scheduler_is_optional(tmp_path: Path) -> None:
    config = small(composed(tmp_path, "~scheduler"))
    assert make(config.model).scheduler is None


def test_evaluate_works_with_or_without_corpus(tmp_path: Path) -> None:
    assert composed(tmp_path, "checkpoint=x", name="evaluate").data.lister is None
    with_corpus = composed(
        tmp_path, "checkpoint=x", "data=musdb18", f"data.root={tmp_path}", name="evaluate"
    )
    assert make_corpus(with_corpus.data).root == tmp_path


@pytest.mark.parametrize(
    ("target", "arguments"),
    [
        ("os.system", ["touch {made}"]),
        ("stemsplit.demo.step", ["timeit", "-n1", "-r1", "open('{made}', 'w')"]),
        ("stemsplit.demo.subprocess.run", [["touch", "{made}"]]),
        ("stemsplit.files.Path.touch", ["{made}"]),
        ("stemsplit.data.corpora.musdb.shutil.move", ["{made}", "{made}"]),  # imported module
        ("stemsplit.data.corpora.demo_songs.write_demo_corpus", ["{made}"]),  # returns no songs
    ],
)
def test_configuration_cannot_call_arbitrary_functions(
    target: str, arguments: list[str], tmp_path: Path
) -> None:
    made = tmp_path / "made"
    filled = [OmegaConf.create({"a": arguments}).a]
    text = OmegaConf.to_yaml(OmegaConf.create({"_target_": target, "_args_": filled[0]}))
    with pytest.raises(InputError, match="whitelist"):
        make(OmegaConf.create(text.replace("{made}", str(made))))
    assert not made.exists()
