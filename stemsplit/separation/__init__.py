"""A mixture in, stems out: front end, network, mask, Wiener filter, overlap-add, checkpoints."""
