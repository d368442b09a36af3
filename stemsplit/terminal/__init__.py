"""Print text and tables in a terminal or to a file."""
