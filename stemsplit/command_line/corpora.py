"""Make the corpus that the settings of ``data`` describe.

The group ``data`` also contains the settings of the data module: ``data.root`` belongs to the
corpus, and ``data.batch_size`` to the data module (see `training_data`).
"""

from inspect import signature
from typing import Any

from omegaconf import DictConfig, OmegaConf

from stemsplit.configuration import make
from stemsplit.data.corpus import Corpus
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


def downsample(settings: dict[str, Any]) -> Downsample:
    with settings_at_fault("data.downsample"):
        return Downsample(**settings.get("downsample", {}))
