# `make help` lists what there is. Every target sets itself up.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all lint bench clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## make .venv with all that is needed; nothing to do the second time

$(READY): pyproject.toml constraints.txt
	@command -v ffmpeg >/dev/null || $(MAKE) --no-print-directory ffmpeg
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "stemsplit needs Python 3.11 or newer: make setup PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || $(PYTHON) -m virtualenv $(VENV) 2>/dev/null \
		|| { rm -rf $(VENV); $(PYTHON) -m pip install --user --quiet virtualenv \
		&& $(PYTHON) -m virtualenv $(VENV); }
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[dev,sweeps]'
	@touch $@

# musdb's import asks for the program ffmpeg.
.PHONY: ffmpeg
ffmpeg:
	@if command -v apt-get >/dev/null && { [ "$$(id -u)" = 0 ] || command -v sudo >/dev/null; }; then \
		sudo=$$([ "$$(id -u)" = 0 ] || echo sudo); \
		$$sudo apt-get update -qq && $$sudo apt-get install -y -qq ffmpeg >/dev/null; \
	elif command -v brew >/dev/null; then brew install --quiet ffmpeg; \
	else echo "ffmpeg is missing and can be installed here by neither apt nor brew:" \
		"install it, then say make setup again"; exit 1; fi

# The report's tests open it in a browser; without one they are skipped.
.PHONY: browser screenshot
browser:  ## chromium, which the tests of the report and `make screenshot` open it in
	@if command -v chromium chromium-browser google-chrome >/dev/null; then :; \
	elif command -v apt-get >/dev/null && { [ "$$(id -u)" = 0 ] || command -v sudo >/dev/null; }; then \
		sudo=$$([ "$$(id -u)" = 0 ] || echo sudo); \
		$$sudo apt-get update -qq && $$sudo apt-get install -y -qq chromium >/dev/null; \
	elif command -v brew >/dev/null; then brew install --quiet --cask chromium; \
	else echo "no chromium, and neither apt nor brew to install it"; exit 1; fi

screenshot: setup browser  ## the README's picture of a report: make screenshot OF=path/to/a/run
	@test -n "$(OF)" || { echo "which run? make screenshot OF=path/to/a/run"; exit 1; }
	$(RUN) experiments/screenshot.py $(OF)

demo: setup  ## train briefly on synthesised songs, score, separate one: at most 4 minutes
	$(RUN) -m stemsplit.demo

test: setup  ## the tests, without the slow ones
	$(RUN) -m pytest --numprocesses auto -m "not slow"

test-all: setup  ## all tests
	$(RUN) -m pytest --numprocesses auto

lint: setup  ## ruff, mypy, and who may import whom
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: setup  ## the benchmarks, side by side with their peers
	@for script in experiments/benchmarks/*.py; do echo "== $$script"; $(RUN) $$script || exit 1; done

clean:  ## remove the environment and what tools left; runs/ stays
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
