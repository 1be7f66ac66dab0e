# Everything a user needs, from a machine with Python 3.11+ and make. The environment is made once
# and again when the lock file changes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV_VERSION := 0.13.8

# Two more than two cores: the tests under the real daemon mostly wait for it. In the order of their
# names, or the longest would begin last.
WORKERS := --numprocesses 4 --dist loadscope --no-loadscope-reorder

# The tests start some hundreds of processes: what they import is compiled once.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help env run ui test test-long coverage bench format lock clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

env: $(READY)  ## the environment, from the lock file

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

run: $(READY)  ## the demo: an outage at 3 am, everything processed, healed in the morning
	$(BIN)/pipeline-assets demo

ui: $(READY)  ## Dagster's webserver and daemon on this folder, at http://127.0.0.1:3000
	DAGSTER_HOME=$(CURDIR) $(BIN)/dagster dev --workspace workspace.yaml --host 127.0.0.1 --port 3000 \
		--log-format $(or $(filter json,$(PIPELINE_LOG_FORMAT)),colored)

test: $(READY)  ## lint, types and tests, as CI runs them
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pytest $(WORKERS)

coverage: $(READY)  ## the tests, and which lines they reach
	$(BIN)/pytest $(WORKERS) --cov --cov-report term

test-long: $(READY)  ## the tests, with 1,000 examples of each property, more kills and more spoilt files
	HYPOTHESIS_PROFILE=long $(BIN)/pytest $(WORKERS)

bench: $(READY)  ## the figures of the README, measured here
	$(BIN)/python -m pipeline_assets_tests.benchmarks

format: $(READY)  ## mend what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock: $(READY)  ## newer versions into requirements.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-header --no-annotate \
		--extra dev --output-file requirements.lock pyproject.toml

clean:  ## the environment and caches away; data stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
