"""Tables, result files and the HTML report."""
