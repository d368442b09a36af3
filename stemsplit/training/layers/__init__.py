"""Norms of weights, activations and gradients, layer by layer."""
