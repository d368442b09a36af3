"""Find published weights by name in a catalogue, and download them."""
