"""Make the data module that the settings of ``data`` describe.

`make_data` is not in `corpora`, because the data module imports Lightning. The import takes
seconds, and an evaluation does not need Lightning.
"""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from stemsplit.command_line.corpora import CORPUS_SETTINGS, downsample
from stemsplit.configuration import make
from stemsplit.data.corpus import Corpus
from stemsplit.data.datamodule import StemDataModule
from stemsplit.errors import settings_at_fault


def make_data(data: DictConfig, corpus: Corpus, **arguments: Any) -> StemDataModule:
    """The data module of the corpus. `arguments` are further arguments of `StemDataModule`."""
    settings: Any = OmegaConf.to_container(data, resolve=True)
    others = {name: settings[name] for name in settings if name not in CORPUS_SETTINGS}
    # Older runs have these keys, because `data` was a single object then.
    others.pop("_target_", None), others.pop("_convert_", None)
    others["augment"] = make(data.augment, "data.augment", _convert_="all")
    others["downsample"] = downsample(settings)
    with settings_at_fault("data"):
        return StemDataModule(corpus, **others, **arguments)
