"""The demo songs' band: a score is composed, then drummer, bassist, keys and singer play it."""
