"""Read and write weights in formats other than stemsplit's checkpoints."""
