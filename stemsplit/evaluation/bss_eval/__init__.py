"""BSS Eval, versions 4 and 3: exact and fast."""
