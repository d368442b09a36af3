"""Make the corpus and the data module that the settings of ``data`` describe.

The group ``data`` contains the settings of both: ``data.root`` belongs to the corpus, and
``data.batch_size`` to the data module.
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

CORPUS_SETTINGS = set(signature(Corpus).parameters)


def make_corpus(data: DictConfig) -> Corpus:
    """The corpus. ``data.downsample.rate`` reduces the sample rate of its songs."""
    settings: Any = OmegaConf.to_container(data, resolve=True)
    own = {name: settings[name] for name in settings if name in CORPUS_SETTINGS}
    own["lister"] = make(data.lister, "data.lister")
    own["sample_rate"] = scaled(own["sample_rate"], downsample(settings).rate)
    with settings_at_fault("data.also"):
        own["also"] = [Supplement(**make(corpus, "data.also")) for corpus in data.get("also", [])]
    return Corpus(**own)


def make_data(data: DictConfig, corpus: Corpus, **arguments: Any) -> StemDataModule:
    """The data module of the corpus. `arguments` are the arguments that are not settings."""
    settings: Any = OmegaConf.to_container(data, resolve=True)
    others = {name: settings[name] for name in settings if name not in CORPUS_SETTINGS}
    # Older runs have these keys, because `data` was a single object then.
    others.pop("_target_", None), others.pop("_convert_", None)
    others["augment"] = make(data.augment, "data.augment", _convert_="all")
    others["downsample"] = downsample(settings)
    with settings_at_fault("data"):
        return StemDataModule(corpus, **others, **arguments)


def downsample(settings: dict[str, Any]) -> Downsample:
    with settings_at_fault("data.downsample"):
        return Downsample(**settings.get("downsample", {}))
