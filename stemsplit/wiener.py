"""Former import path of the Wiener filter."""

from stemsplit.separation.wiener import wiener

__all__ = ["wiener"]
