"""Norms of the weights, activations and gradients of each layer."""
