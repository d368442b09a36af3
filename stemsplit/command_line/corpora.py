"""Make the corpus and the data module that the settings of ``data`` describe.

The settings of both stand side by side in ``data``: a command line says ``data.root`` and
``data.batch_size`` alike.
"""

from inspect import signature
from typing import Any

from omegaconf import DictConfig, OmegaConf

from stemsplit.configuration import make
from stemsplit.data.corpus import Corpus
from stemsplit.data.datamodule import StemDataModule
from stemsplit.data.excerpts.downsample import Downsample, scaled
from stemsplit.data.supplements import Supplement
from stemsplit.errors import settings_at_fault

OF_CORPUS = set(signature(Corpus).parameters)


def make_corpus(data: DictConfig) -> Corpus:
    """The corpus, with songs at the sample rate that ``data.downsample.rate`` leaves."""
    settings: Any = OmegaConf.to_container(data, resolve=True)
    own = {name: settings[name] for name in settings if name in OF_CORPUS}
    own["lister"] = make(data.lister, "data.lister")
    own["sample_rate"] = scaled(own["sample_rate"], downsample(settings).rate)
    with settings_at_fault("data.also"):
        own["also"] = [Supplement(**make(corpus, "data.also")) for corpus in data.get("also", [])]
    return Corpus(**own)


def make_data(data: DictConfig, corpus: Corpus, **arguments: Any) -> StemDataModule:
    """The data module of the corpus; `arguments` are those that are no settings."""
    settings: Any = OmegaConf.to_container(data, resolve=True)
    others = {name: settings[name] for name in settings if name not in OF_CORPUS}
    # Configurations of runs from before the corpus was a class of its own have these.
    others.pop("_target_", None), others.pop("_convert_", None)
    others["augment"] = make(data.augment, "data.augment", _convert_="all")
    others["downsample"] = downsample(settings)
    with settings_at_fault("data"):
        return StemDataModule(corpus, **others, **arguments)


def downsample(settings: dict[str, Any]) -> Downsample:
    return Downsample(**settings.get("downsample", {}))
