"""Hydra's configuration: resolvers, what it may instantiate, and the configuration of a run."""

import importlib
import inspect
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate
from lightning.pytorch import callbacks
from omegaconf import DictConfig, OmegaConf
from torch import optim

from stemsplit.data.excerpts.downsample import scaled
from stemsplit.data.tracks import Track
from stemsplit.errors import InputError, settings_at_fault
from stemsplit.files import replacing
from stemsplit.separation.separator import Separator
from stemsplit.settings.help import CONF
from stemsplit.settings.moved import renamed
from stemsplit.training.losses import Value
from stemsplit.training.precision import default_precision

# A configuration may come from a stranger's run. It makes only what `may_make` allows: classes of
# these modules, and their functions that return such a class, songs or a loss.
PLACES = (
    "stemsplit.data.augment.",
    "stemsplit.data.corpora.",
    "stemsplit.separation.checkpoint",
    "stemsplit.separation.separator",
    "stemsplit.sweeps.trials",
    "stemsplit.training.",
)
PRODUCTS = (list[Track], Value)
LIBRARIES: dict[str, Collection[str]] = {
    "lightning": ["Trainer"],
    "lightning.pytorch.callbacks": callbacks.__all__,
    "torch.optim": [name for name in optim.__all__ if name[0].isupper()],
    "torch.optim.lr_scheduler": optim.lr_scheduler.__all__,
}


def may_make(target: str) -> bool:
    """Whether a configuration may name this class or function as ``_target_``."""
    module, _, name = target.rpartition(".")
    if module in LIBRARIES:
        return name in LIBRARIES[module]
    if not module.startswith(PLACES) or name.startswith("_"):
        return False
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        return False
    if getattr(found, "__module__", None) != module:  # a module's own, not what it imports
        return False
    if inspect.isfunction(found):
        found = inspect.signature(found).return_annotation
    return found in PRODUCTS or (inspect.isclass(found) and found.__module__.startswith(PLACES))


def targets_of(settings: Any) -> Iterator[str]:
    """Every ``_target_`` in plain settings."""
    if isinstance(settings, list):
        for item in settings:
            yield from targets_of(item)
    elif isinstance(settings, dict):
        for key, value in settings.items():
            if key == "_target_":
                yield str(value)
            else:
                yield from targets_of(value)


def first(*values: Any) -> Any:
    """``${first:a,b}``: the first that is not null."""
    return next((value for value in values if value is not None), None)


def residual(targets: Sequence[str], stems: Sequence[str] | None) -> str | None:
    """``${residual:targets,stems}``: the name of what is left when the targets are taken away.

    Where the stems are not known yet (null), there is taken to be something left.
    """
    if stems is not None and set(stems) <= set(targets):
        return None
    return "accompaniment" if list(targets) == ["vocals"] else "residual"


def environment(name: str, default: str | None) -> str | None:
    """``${environment:NAME,default}``: a variable of the environment; an empty one is unset."""
    return os.environ.get(name) or default


def on_gpu(accelerator: str) -> bool:
    """``${on_gpu:${trainer.accelerator}}``: whether a training runs on CUDA devices."""
    return accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def on_cpu(accelerator: str) -> bool:
    """Whether a training runs on the processor."""
    return accelerator == "cpu" or (
        accelerator == "auto"
        and not torch.cuda.is_available()
        and not torch.backends.mps.is_available()
    )


def precision(accelerator: str) -> str:
    """``${precision:${trainer.accelerator}}``: bfloat16 where the machine multiplies it faster."""
    return default_precision(on_gpu(accelerator), on_cpu(accelerator))


def loader_workers(accelerator: str) -> int:
    """``${loader_workers:${trainer.accelerator}}``: processes that read ahead of a GPU.

    On a CPU they would take from the training what they give.
    """
    return min(4, os.cpu_count() or 1) if on_gpu(accelerator) else 0


def register_resolvers() -> None:
    OmegaConf.register_resolver("environment", environment, replace=True)
    OmegaConf.register_resolver("first", first, replace=True)
    OmegaConf.register_resolver("residual", residual, replace=True)
    # ${scaled:${window},${data.downsample.rate}}
    OmegaConf.register_resolver("scaled", scaled, replace=True)
    OmegaConf.register_resolver("on_gpu", on_gpu, replace=True)
    OmegaConf.register_resolver("loader_workers", loader_workers, replace=True)
    OmegaConf.register_resolver("precision", precision, replace=True)
    # The folder above conf/, on Hydra's search path so that experiments=NAME finds its file.
    OmegaConf.register_resolver("checkout", lambda: str(Path(CONF).parent), replace=True)


def make(config: DictConfig, group: str = "", **arguments: Any) -> Any:
    """The object that the settings of a group describe, made of what `may_make` allows.

    Raises `InputError` that names the group for a setting that cannot be used.
    """
    with settings_at_fault(group):
        named = targets_of(OmegaConf.to_container(config, resolve=True))
        made = f"{Separator.__module__}.{Separator.__qualname__}"  # by a function, so named nowhere
        allowed = [made, *filter(may_make, named)]
        return instantiate(config, _execution_whitelist_=allowed, **arguments)


def save(config: DictConfig, run: Path) -> None:
    """The whole configuration of a run as RUN/config.yaml.

    What depends on the moment (folders, the choices of groups, variables of the environment, the
    machine's precision) is written out; what follows from other settings stays a reference, so
    that a resumed run can change those, and so that a run can be moved.
    """
    config = config.copy()
    config.resume = None
    config.allow_changed_corpus = False  # for the one resumption that says so
    for key in (
        "run_dir",
        "name",
        "corpus",
        "data.root",
        "data.cache",
        "trainer.precision",
        "data.workers",
    ):
        OmegaConf.update(config, key, OmegaConf.select(config, key))
    with replacing(run / "config.yaml") as partial:
        OmegaConf.save(config, partial)


def saved(run: Path) -> DictConfig:
    """The configuration that a run was started with; its paths follow where the run was moved."""
    path = run / "config.yaml"
    if not path.is_file():
        raise InputError(f"{run}: not the folder of a run, it holds no config.yaml")
    try:
        config = OmegaConf.load(path)
    except yaml.YAMLError as error:
        raise InputError(f"{path}: is damaged ({str(error).splitlines()[0]})") from None
    if not isinstance(config, DictConfig) or "run_dir" not in config:
        raise InputError(f"{path}: not the configuration of a run")
    config = OmegaConf.create(renamed(OmegaConf.to_container(config)))
    config.run_dir = str(run.absolute())
    config.setdefault("allow_changed_corpus", False)  # which runs of older versions lack
    return config


def resumed(folder: str, words: Sequence[str], cache: str) -> DictConfig:
    """The configuration of the run to resume, with the settings of the command line put in.

    `cache` is this machine's: see `move_cache`.
    """
    run = Path(folder).absolute()
    config = saved(run)
    names = override(config, [word for word in words if not word.startswith(("resume=", "hydra."))])
    move_cache(config, cache, names)
    if not (run / "last.ckpt").is_file():
        raise InputError(f"{run}: has no last.ckpt yet; start it anew")
    config.resume = str(run)
    return config


# What a resumed run can be given anew; all else is in its weights, its optimiser, its chunks.
CHANGEABLE = (
    *("epochs", "patience", "checkpoint_minutes", "evaluate_test", "data.root", "data.cache"),
    *("data.workers", "data.validation_chunks", "trainer", "callbacks", "logger"),
    "allow_changed_corpus",
)


def move_cache(config: DictConfig, cache: str, asked: Collection[str]) -> None:
    """Give the configuration of a run the cache of this machine, in place.

    `cache` is the one on the command line or in STEMSPLIT_CACHE; without them, it is the default,
    and the run keeps its own if that is on this machine. A corpus that lies in a cache (the demo
    songs) follows. `asked` names the settings of the command line.
    """
    before = Path(config.data.cache).expanduser().resolve()
    chosen = "data.cache" in asked or bool(os.environ.get("STEMSPLIT_CACHE"))
    if not chosen and before.is_dir():
        return
    config.data.cache = cache
    if "data.root" in asked or config.data.root is None:
        return
    root = Path(config.data.root)
    if not root.is_dir() and root.is_relative_to(before):
        config.data.root = str(Path(cache).expanduser() / root.relative_to(before))


def override(config: DictConfig, overrides: Sequence[str]) -> list[str]:
    """Put values of the command line in place of a saved configuration's own; return their names.

    A saved configuration is complete, so single values of `CHANGEABLE` are exchanged: neither whole
    groups (``trainer=…``) nor settings that it does not have.
    """
    names = []
    for given in OverridesParser.create().parse_overrides(list(overrides)):
        name = given.key_or_group
        names.append(name)
        if given.is_delete() or given.is_add() or not known(config, name):
            raise InputError(f"{given.input_line}: a resumed run has no such setting to change")
        if not any(name == key or name.startswith(f"{key}.") for key in CHANGEABLE):
            raise InputError(
                f"{given.input_line}: a resumed run goes on as it began; what can change is "
                f"{', '.join(CHANGEABLE)}: start another run for the rest"
            )
        if isinstance(OmegaConf.select(config, name), DictConfig):
            raise InputError(
                f"{given.input_line}: a resumed run keeps its {name}; single values of it can be "
                f"changed ({name}.KEY=VALUE)"
            )
        OmegaConf.update(config, name, given.value())
    return names


def known(config: DictConfig, name: str) -> bool:
    parent, _, key = name.rpartition(".")
    holder = OmegaConf.select(config, parent) if parent else config
    return isinstance(holder, DictConfig) and key in holder
