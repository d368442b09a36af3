"""Read and write files of weights in other layouts than a checkpoint's."""
