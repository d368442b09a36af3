# `make help` lists what there is. Every target sets itself up.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all lint bench clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## make .venv with all that is needed; a second time there is nothing to do

# A .ready that is older than the files above it, or missing, means that the environment is not whole.
$(READY): pyproject.toml constraints.txt
	@command -v ffmpeg >/dev/null || $(MAKE) --no-print-directory ffmpeg
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "stemsplit needs Python 3.11 or newer: make setup PYTHON=python3.12"; exit 1; }
	@rm -f $@
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || $(PYTHON) -m virtualenv $(VENV) 2>/dev/null \
		|| { rm -rf $(VENV); $(PYTHON) -m pip install --user --quiet virtualenv \
		&& $(PYTHON) -m virtualenv $(VENV); }
	@.ci/install $(RUN)
	@touch $@

# `$(call system_package,NAME)`: install a package of the system. apt needs root, so it asks before
# it calls sudo, and where nobody can answer it says the command and fails.
define system_package
	@if command -v apt-get >/dev/null; then \
		install="apt-get update -qq && apt-get install -y -qq $(1)"; \
		if [ "$$(id -u)" = 0 ]; then sh -c "$$install" >/dev/null; exit; fi; \
		answer=no; \
		if [ -t 0 ] && command -v sudo >/dev/null; then \
			printf '%s' "$(1) is missing. Install it with sudo apt-get install $(1)? [y/N] "; \
			read -r answer; \
		fi; \
		case "$$answer" in \
			[yY]*) sudo sh -c "$$install" >/dev/null;; \
			*) echo "$(1) is missing: say sudo apt-get install $(1), then make $(2) again"; exit 1;; \
		esac; \
	elif command -v brew >/dev/null; then brew install --quiet $(3) $(1); \
	else echo "$(1) is missing, and neither apt nor brew is here to install it:" \
		"install it, then say make $(2) again"; exit 1; fi
endef

# musdb's import asks for the program ffmpeg.
.PHONY: ffmpeg
ffmpeg:
	$(call system_package,ffmpeg,setup)

# The report's tests open it in a browser; without one they are skipped.
.PHONY: browser chromium screenshot
browser:  ## chromium, which the tests of the report and `make screenshot` open it in
	@{ command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null \
		|| $(MAKE) --no-print-directory chromium

chromium:
	$(call system_package,chromium,browser,--cask)

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
