"""Text and tables in a terminal, or where there is none."""
