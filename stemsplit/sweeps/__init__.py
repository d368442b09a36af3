"""Hydra sweeps as Optuna studies: search space, trials, ranking, report."""
