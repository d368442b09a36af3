"""Print text and tables to a terminal or a file."""
