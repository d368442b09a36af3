"""Update configurations of older runs: rename classes and functions, and add new settings."""

from typing import Any

MOVED = {
    "stemsplit.checkpoint.build": "stemsplit.separation.checkpoint.build",
    "stemsplit.data.augment.Augment": "stemsplit.data.augment.augment.Augment",
    "stemsplit.data.folders.folder": "stemsplit.data.corpora.folders.folder",
    "stemsplit.data.mir1k.mir1k": "stemsplit.data.corpora.mir1k.mir1k",
    "stemsplit.data.tracks.demo": "stemsplit.data.corpora.demo.demo",
    "stemsplit.data.tracks.musdb18": "stemsplit.data.corpora.musdb.musdb18",
    "stemsplit.data.tracks.musdb18hq": "stemsplit.data.corpora.musdb.musdb18hq",
    "stemsplit.data.tracks.musdb7": "stemsplit.data.corpora.musdb.musdb7",
    "stemsplit.losses.Loss": "stemsplit.training.losses.Loss",
    "stemsplit.losses.complex_l1": "stemsplit.training.losses.complex_l1",
    "stemsplit.losses.l1": "stemsplit.training.losses.l1",
    "stemsplit.losses.magnitude_mse": "stemsplit.training.losses.magnitude_mse",
    "stemsplit.losses.multi_resolution_stft": "stemsplit.training.losses.multi_resolution_stft",
    "stemsplit.losses.si_sdr": "stemsplit.training.losses.si_sdr",
    "stemsplit.training.averaging.MovingAverage": (
        "stemsplit.training.callbacks.averaging.MovingAverage"
    ),
    "stemsplit.training.checkpoints.AtomicCheckpointIO": (
        "stemsplit.training.callbacks.checkpoints.AtomicCheckpointIO"
    ),
    "stemsplit.training.checkpoints.RunCheckpoint": (
        "stemsplit.training.callbacks.checkpoints.RunCheckpoint"
    ),
    "stemsplit.training.early_stopping.RunEarlyStopping": (
        "stemsplit.training.callbacks.early_stopping.RunEarlyStopping"
    ),
    "stemsplit.training.excerpts.Excerpts": "stemsplit.training.callbacks.excerpts.Excerpts",
    "stemsplit.training.layer_norms.LayerNorms": "stemsplit.training.layers.norms.LayerNorms",
    "stemsplit.training.metrics_csv.MetricsCsv": (
        "stemsplit.training.loggers.metrics_csv.MetricsCsv"
    ),
    "stemsplit.training.not_finite.StopWhenNotFinite": (
        "stemsplit.training.callbacks.not_finite.StopWhenNotFinite"
    ),
    "stemsplit.training.progress.Progress": "stemsplit.training.callbacks.progress.Progress",
    "stemsplit.training.silence.ReportSilence": (
        "stemsplit.training.callbacks.silence.ReportSilence"
    ),
    "stemsplit.training.timing.Timing": "stemsplit.training.callbacks.timing.Timing",
    "stemsplit.training.trials.ReportTrial": "stemsplit.sweeps.trials.ReportTrial",
    "stemsplit.training.weights_and_biases.weights_and_biases": (
        "stemsplit.training.loggers.weights_and_biases.weights_and_biases"
    ),
    "stemsplit.sweeps.TrialSweeper": "stemsplit.sweeps.sweeper.TrialSweeper",
}

# Settings that configurations of older runs and sweeps lack. With these values, a new setting has
# no effect.
ADDED: dict[str, Any] = {
    "weights": None,
    "freeze": [],
    "model.freeze": "${freeze}",
    "model.separator.network_per_target": False,
}


def renamed(config: Any) -> Any:
    """Replace old names after ``_target_`` in plain lists and dicts of settings."""
    if isinstance(config, list):
        return [renamed(item) for item in config]
    if not isinstance(config, dict):
        return config
    return {
        key: MOVED.get(value, value) if key == "_target_" else renamed(value)
        for key, value in config.items()
    }
