"""Hydra's configuration: resolvers, instantiation of allowed classes, saved configurations."""

import importlib
import inspect
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import optim

from stemsplit.data.excerpts.downsample import scaled
from stemsplit.data.tracks import Track
from stemsplit.errors import InputError, settings_at_fault
from stemsplit.files import replacing
from stemsplit.separation.separator import Separator
from stemsplit.settings.help import CONF
from stemsplit.settings.moved import ADDED, renamed
from stemsplit.training.losses import Value
from stemsplit.training.precision import default_precision

# A configuration may come from an untrusted run folder. So `may_make` allows only:
# - the names in `LIBRARIES`, and Lightning's callbacks;
# - classes that are defined in `MODULES`;
# - functions that are defined in `MODULES` and return an instance of such a class or of a type in
#   `PRODUCTS` (a list of tracks, a loss).
MODULES = (
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
    "torch.optim": [name for name in optim.__all__ if name[0].isupper()],
    "torch.optim.lr_scheduler": optim.lr_scheduler.__all__,
}


def may_make(target: str) -> bool:
    """Whether a configuration may name this class or function as ``_target_``."""
    module, _, name = target.rpartition(".")
    if module == "lightning.pytorch.callbacks":
        from lightning.pytorch import callbacks  # here, because the import takes seconds

        return name in callbacks.__all__
    if module in LIBRARIES:
        return name in LIBRARIES[module]
    if not module.startswith(MODULES) or name.startswith("_"):
        return False
    try:
        product = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        return False
    if getattr(product, "__module__", None) != module:  # imported, not defined in the module
        return False
    if inspect.isfunction(product):
        product = inspect.signature(product).return_annotation
    return product in PRODUCTS or (
        inspect.isclass(product) and product.__module__.startswith(MODULES)
    )


def targets_of(settings: Any) -> Iterator[str]:
    """Yield every ``_target_`` in plain lists and dicts of settings."""
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
    """``${first:a,b}``: the first value that is not null."""
    return next((value for value in values if value is not None), None)


def residual(targets: Sequence[str], stems: Sequence[str] | None) -> str | None:
    """``${residual:targets,stems}``: the name of the residual, the mixture minus all targets.

    None if all stems of the corpus are targets, because then nothing remains. If the stems are not
    known yet (null), the corpus is assumed to have more stems than the targets.
    """
    if stems is not None and set(stems) <= set(targets):
        return None
    return "accompaniment" if list(targets) == ["vocals"] else "residual"


def environment(name: str, default: str | None) -> str | None:
    """``${environment:NAME,default}``: the variable, or the default if it is unset or empty."""
    return os.environ.get(name) or default


def on_gpu(accelerator: str) -> bool:
    """``${on_gpu:${trainer.accelerator}}``: whether a training runs on CUDA devices."""
    return accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def on_cpu(accelerator: str) -> bool:
    """Whether a training runs on the CPU."""
    return accelerator == "cpu" or (
        accelerator == "auto"
        and not torch.cuda.is_available()
        and not torch.backends.mps.is_available()
    )


def precision(accelerator: str) -> str:
    """``${precision:${trainer.accelerator}}``: the default precision (see `default_precision`)."""
    return default_precision(on_gpu(accelerator), on_cpu(accelerator))


def loader_workers(accelerator: str) -> int:
    """``${loader_workers:${trainer.accelerator}}``: the number of processes that load data.

    It is 0 without CUDA devices. On a CPU, workers would compete with the training for the cores.
    """
    return min(4, os.cpu_count() or 1) if on_gpu(accelerator) else 0


def register_resolvers() -> None:
    OmegaConf.register_resolver("environment", environment, replace=True)
    OmegaConf.register_resolver("first", first, replace=True)
    OmegaConf.register_resolver("residual", residual, replace=True)
    # Used as ${scaled:${window},${data.downsample.rate}}.
    OmegaConf.register_resolver("scaled", scaled, replace=True)
    OmegaConf.register_resolver("on_gpu", on_gpu, replace=True)
    OmegaConf.register_resolver("loader_workers", loader_workers, replace=True)
    OmegaConf.register_resolver("precision", precision, replace=True)
    # ${checkout:} is the folder above conf/. conf/train.yaml adds this folder to Hydra's search
    # path, so that Hydra finds the file of experiments=NAME.
    OmegaConf.register_resolver("checkout", lambda: str(Path(CONF).parent), replace=True)


def make(config: DictConfig, group: str = "", **arguments: Any) -> Any:
    """Instantiate the object that the settings of a group describe, if `may_make` allows it.

    Raises `InputError`, which names the group or the setting, for an unusable setting.
    """
    with settings_at_fault(group):
        targets = targets_of(OmegaConf.to_container(config, resolve=True))
        # A function makes separators, so no ``_target_`` names their class. Add the class here.
        separator = f"{Separator.__module__}.{Separator.__qualname__}"
        allowed = [separator, *filter(may_make, targets)]
        return instantiate(config, _execution_whitelist_=allowed, **arguments)


def save(config: DictConfig, run: Path) -> None:
    """Write the complete configuration of a run to RUN/config.yaml.

    Settings that depend on the machine or the command (folders, group choices, environment
    variables, the precision) are saved as values. All other references between settings remain
    references. So they stay correct if a resumed run changes a setting or the run folder is moved.
    """
    config = config.copy()
    config.resume = None
    config.allow_changed_corpus = False  # holds only for the command that sets it
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
    """Load the configuration of a run. `run_dir` becomes the present path of the run folder.

    A configuration of an older version gets the new names of classes and the new settings. Raises
    `InputError` if the folder has no ``config.yaml``, or a damaged one.
    """
    path = run / "config.yaml"
    if not path.is_file():
        raise InputError(f"{run}: is not a run folder, because it has no config.yaml")
    try:
        config = OmegaConf.load(path)
    except yaml.YAMLError as error:
        raise InputError(f"{path}: is damaged ({str(error).splitlines()[0]})") from None
    if not isinstance(config, DictConfig) or "run_dir" not in config:
        raise InputError(f"{path}: is not the configuration of a run")
    config = OmegaConf.create(renamed(OmegaConf.to_container(config)))
    config.run_dir = str(run.absolute())
    config.setdefault("allow_changed_corpus", False)  # missing in runs of older versions
    for name, value in ADDED.items():
        if not has_setting(config, name):
            OmegaConf.update(config, name, value, force_add=True)
    return config


def has_setting(config: DictConfig, name: str) -> bool:
    group, _, key = name.rpartition(".")
    settings = OmegaConf.select(config, group) if group else config
    return isinstance(settings, DictConfig) and key in settings
