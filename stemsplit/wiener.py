"""Former import path of the Wiener filter, for code that still imports `stemsplit.wiener`."""

from stemsplit.separation.wiener import wiener

__all__ = ["wiener"]
