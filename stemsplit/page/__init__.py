"""The web page of `stemsplit app`: upload a song, separate it, play and download its stems."""
