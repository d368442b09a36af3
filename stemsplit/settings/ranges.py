"""Types and ranges of settings, by their names on the command line.

A setting that is not declared here has the type of its default value in conf/ (see `defaults`).
"""

from collections.abc import Mapping

from stemsplit.settings.corpus_ranges import CORPUS, LISTER
from stemsplit.settings.kinds import (
    COUNT,
    DEVICE,
    DEVICES,
    DROPOUT,
    END,
    FLAG,
    MAPPINGS,
    NAMES,
    NOT_NEGATIVE,
    PATH,
    PATHS,
    PATTERNS,
    POSITIVE,
    PRECISION,
    PROBABILITY,
    SAMPLE_RATE,
    SEED,
    TEXT,
    TEXTS,
    Kind,
    checkpoint_name,
    choice,
    distinct,
    either,
    integer,
    number,
    optional,
    registered,
)

LOSS = {
    "residual": optional(TEXT),
    "function.windows": distinct(integer(2), "a list of distinct integers of at least 2"),
    "function.window": COUNT,
    "function.hop": COUNT,
    "function.waveform_weight": NOT_NEGATIVE,
}
SEPARATOR = {
    "targets": NAMES,
    "residual": optional(TEXT),
    "channels": COUNT,
    "wiener_iterations": integer(0),
    "chunk_seconds": POSITIVE,
    "overlap_seconds": POSITIVE,
    "front_end.sample_rate": SAMPLE_RATE,
    "front_end.window": integer(3),
    "front_end.hop": COUNT,
    "front_end.mel_bands": COUNT,
    "front_end.mel_hertz": POSITIVE,
    "front_end.mfccs": COUNT,
    "front_end.window_shape": choice("hann", "rectangular"),
    "network.bandwidth_hertz": POSITIVE,
    "network.hidden": COUNT,
    "network.layers": COUNT,
    "network.views": distinct(
        choice("magnitude", "mel", "mfcc", "complex"),
        "a list of distinct names from magnitude, mel, mfcc and complex",
    ),
    "network.dropout": DROPOUT,
    "network.features": COUNT,
    "network.depth": COUNT,
    "network.heads": COUNT,
    "network.pairs": COUNT,
    "network.low": PROBABILITY,
    "network.middle": PROBABILITY,
    "network.mask_hidden": COUNT,
    "network.sub_bands": COUNT,
    "network.bottleneck": COUNT,
    "network.over_time": choice("attention", "lstm"),
    "network.over_bands": choice("attention", "lstm"),
}
CHECKPOINT = {
    "dirpath": PATH,
    "every_n_epochs": COUNT,
    "every_minutes": POSITIVE,
}
CALLBACKS = {
    **{f"{callback}.{name}": kind for callback in ("best", "last", "last_in_epoch")
       for name, kind in CHECKPOINT.items()},
    "best.filename": checkpoint_name("best"),
    "last.filename": checkpoint_name("last"),
    "last_in_epoch.filename": checkpoint_name("last"),
    "early_stopping.patience": integer(0),
    "layers.folder": PATH,
    "layers.every": COUNT,
    "layers.factor": number("a number above 1", gt=1),
    "excerpts.folder": PATH,
    "excerpts.every": COUNT,
    "excerpts.count": COUNT,
    "excerpts.seconds": POSITIVE,
    "moving_average.decay": PROBABILITY,
    "trial.folder": PATH,
    "trial.number": optional(integer(0)),
    "trial.monitor": TEXT,
    "trial.pruner": optional(choice("median", "halving")),
}  # fmt: skip
LOGGER = {
    "csv.folder": PATH,
    "wandb.folder": PATH,
    "wandb.name": TEXT,
    "wandb.tags": TEXTS,
    "wandb.group": optional(TEXT),
    "wandb.resume": optional(PATH),
}
TRAINER = {
    "default_root_dir": PATH,
    "accelerator": Kind(
        registered("accelerators"), "auto, cpu, gpu, or another accelerator of Lightning"
    ),
    "devices": DEVICES,
    "num_nodes": COUNT,
    "strategy": Kind(registered("strategies"), "auto, ddp, or another strategy of Lightning"),
    "precision": PRECISION,
    "sync_batchnorm": FLAG,
    "max_epochs": END,
    "max_steps": END,
    "fast_dev_run": either(FLAG, integer(0)),
    "accumulate_grad_batches": COUNT,
    "gradient_clip_val": optional(NOT_NEGATIVE),
    "log_every_n_steps": integer(0),
    "num_sanity_val_steps": integer(-1),
    "plugins": MAPPINGS,
}
GROUPS = {
    "loss": LOSS,
    "optimizer": {"lr": POSITIVE, "weight_decay": NOT_NEGATIVE},
    "scheduler": {
        "factor": number("a number above 0 and below 1", gt=0, lt=1),
        "patience": integer(0),
        "cooldown": integer(0),
        "step_size": COUNT,
        "gamma": POSITIVE,
        "interval": choice("epoch", "step"),
        "max_lr": POSITIVE,
        "pct_start": number("a number above 0 and below 1", gt=0, lt=1),
    },
    "model": {
        "freeze": PATTERNS,
        **{f"separator.{name}": kind for name, kind in SEPARATOR.items()},
    },
    "callbacks": CALLBACKS,
    "logger": LOGGER,
    "trainer": TRAINER,
    "sweep": {"name": TEXT, "trial": optional(integer(0))},
    "hydra.sweeper": {
        "sampler": choice("grid", "tpe"),
        "trials": optional(COUNT),
        "jobs": COUNT,
        "seed": SEED,
    },
}
TRAIN = {
    **CORPUS,
    "data.lister": LISTER,
    "checkpoint_minutes": POSITIVE,
    "weights": optional(PATH),
    "freeze": PATTERNS,
    "tuned": optional(PATH),
    "resume": optional(PATH),
    "corpus": TEXT,
    "run_dir": PATH,
    "name": TEXT,
    "group": optional(TEXT),
    **{f"{group}.{name}": kind for group, kinds in GROUPS.items() for name, kind in kinds.items()},
}
EVALUATE = {
    **CORPUS,
    "checkpoint": optional(PATHS),
    "estimates": optional(PATHS),
    "targets": optional(either(NAMES, TEXT)),
    "data.targets": optional(either(NAMES, TEXT)),
    "subset": choice("test", "valid"),
    "workers": optional(COUNT),
    "output": optional(PATH),
    "evaluation.backend": choice("stemsplit", "museval"),
    "device": DEVICE,
}
COMMANDS: Mapping[str, Mapping[str, Kind]] = {
    "train": TRAIN,
    "evaluate": EVALUATE,
    "doctor": CORPUS,
}
