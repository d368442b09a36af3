"""Tables and pictures of what came out."""
