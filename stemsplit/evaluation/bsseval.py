"""Old import path of BSS Eval."""

from stemsplit.evaluation.bss_eval.bss_eval import bss_eval

__all__ = ["bss_eval"]
