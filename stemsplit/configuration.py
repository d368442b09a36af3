"""Where the configuration lies, what its resolvers compute, and how a run keeps its own."""

from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf

from stemsplit.errors import InputError
from stemsplit.files import replacing

PACKAGE = Path(__file__).resolve().parent
# In a wheel conf/ lies inside the package, in a checkout beside it.
CONF = str(next(path for path in (PACKAGE / "conf", PACKAGE.parent / "conf") if path.is_dir()))

# A configuration may come from a stranger's run; it makes nothing but these.
MAKES = ["stemsplit.*", "lightning.*", "torch.optim.*"]


def first(*values: Any) -> Any:
    """``${first:a,b}``: the first that is not null."""
    return next((value for value in values if value is not None), None)


def residual(targets: ListConfig, stems: ListConfig) -> str | None:
    """``${residual:targets,stems}``: the name of what is left when the targets are taken away."""
    if set(stems) <= set(targets):
        return None
    return "accompaniment" if list(targets) == ["vocals"] else "residual"


def register_resolvers() -> None:
    OmegaConf.register_resolver("first", first, replace=True)
    OmegaConf.register_resolver("residual", residual, replace=True)
    # The folder above conf/, on Hydra's search path so that experiments=NAME finds its file.
    OmegaConf.register_resolver("checkout", lambda: str(Path(CONF).parent), replace=True)


def make(config: DictConfig, **arguments: Any) -> Any:
    """What a configuration describes: an object of this package or of those that it stands on."""
    return instantiate(config, _execution_whitelist_=MAKES, **arguments)


def save(config: DictConfig, run: Path) -> None:
    """The whole configuration of a run, every interpolation resolved, as RUN/config.yaml."""
    with replacing(run / "config.yaml") as partial:
        OmegaConf.save(config, partial, resolve=True)


def saved(run: Path) -> DictConfig:
    """The configuration that a run was started with; its paths follow where the run was moved."""
    path = run / "config.yaml"
    if not path.is_file():
        raise InputError(f"{run}: not the folder of a run, it holds no config.yaml")
    text = path.read_text()
    config = OmegaConf.create(text)
    assert isinstance(config, DictConfig)
    moved = OmegaConf.create(text.replace(config.run_dir, str(run.absolute())))
    assert isinstance(moved, DictConfig)
    return moved


def overridden(config: DictConfig, overrides: list[str]) -> DictConfig:
    """A saved configuration with values of the command line in place of its own.

    A saved configuration is complete, so whole groups (``model=…``) cannot be exchanged in it.
    """
    for override in overrides:
        name = override.partition("=")[0]
        if isinstance(OmegaConf.select(config, name), DictConfig):
            raise InputError(
                f"{override}: a resumed run keeps its {name}; single values of it can be changed "
                f"({name}.KEY=VALUE)"
            )
    return OmegaConf.merge(config, OmegaConf.from_dotlist(overrides))  # type: ignore[return-value]
