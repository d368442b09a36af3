# `make help` lists the targets. Targets that need the environment first run `make setup`.
PYTHON ?= python3
VENV := .venv
VENV_PYTHON := $(VENV)/bin/python
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo study test test-all lint bench clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## create .venv with all dependencies; does nothing if it is up to date

# The file .ready marks a complete environment. If it is missing or older than pyproject.toml or
# constraints.txt, make installs the environment again.
$(READY): pyproject.toml constraints.txt
	@command -v ffmpeg >/dev/null || $(MAKE) --no-print-directory ffmpeg
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "stemsplit needs Python 3.11 or newer: make setup PYTHON=python3.12"; exit 1; }
	@rm -f $@
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || $(PYTHON) -m virtualenv $(VENV) 2>/dev/null \
		|| { rm -rf $(VENV); $(PYTHON) -m pip install --user --quiet virtualenv \
		&& $(PYTHON) -m virtualenv $(VENV); }
	@.ci/install $(VENV_PYTHON)
	@touch $@

# $(call system_package,NAME,TARGET,BREW_OPTIONS): install a package with apt or brew for
# `make TARGET`. apt needs root, so ask before calling sudo. Without a terminal or without consent,
# print the command and fail.
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
			*) echo "$(1) is missing; run sudo apt-get install $(1), then run make $(2) again"; exit 1;; \
		esac; \
	elif command -v brew >/dev/null; then brew install --quiet $(3) $(1); \
	else echo "$(1) is missing, and this machine has neither apt nor brew;" \
		"install $(1), then run make $(2) again"; exit 1; fi
endef

# `make setup` needs ffmpeg: the Python package musdb cannot be imported without it.
.PHONY: ffmpeg
ffmpeg:
	$(call system_package,ffmpeg,setup)

# Some tests of the HTML report and of the page need a browser. They are skipped if no browser is installed.
.PHONY: browser chromium screenshot
browser:  ## install chromium for the tests of the HTML report and of the page, and for `make screenshot`
	@{ command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null \
		|| $(MAKE) --no-print-directory chromium

chromium:
	$(call system_package,chromium,browser,--cask)

screenshot: setup browser  ## update the README's pictures of the page and of a report: make screenshot OF=RUN_FOLDER
	@test -n "$(OF)" || { echo "OF is not set; run make screenshot OF=path/to/a/run"; exit 1; }
	$(VENV_PYTHON) experiments/screenshot.py $(OF)
	$(VENV_PYTHON) experiments/app_screenshot.py $(OF)

demo: setup  ## train, score and separate on synthesised songs, in at most 4 minutes
	$(VENV_PYTHON) -m stemsplit.demo

study: setup  ## list the experiments of the study, or carry one out: make study NAME=paper_table SETTINGS=data.root=/path/to/musdb7
	$(VENV_PYTHON) -m experiments.study $(NAME) $(SETTINGS)

test: setup  ## run all tests except the slow tests
	$(VENV_PYTHON) -m pytest --numprocesses auto -m "not slow"

test-all: setup  ## run all tests
	$(VENV_PYTHON) -m pytest --numprocesses auto

lint: setup  ## check style, types and the import rules (ruff, mypy, import-linter)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: setup  ## run the benchmarks, which compare stemsplit with other tools
	@for script in experiments/benchmarks/*.py; do \
		echo "== $$script"; $(VENV_PYTHON) $$script || exit 1; \
	done

clean:  ## remove .venv, build files and caches; runs/ stays
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
