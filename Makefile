# Needs git, make, a C compiler and Python 3.11 to 3.13; everything else goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
DEMO_STAMP := $(VENV)/.installed-demo
TEST_STAMP := $(VENV)/.installed-test
SOURCES := zoo layers datasets export
CHECKED := $(SOURCES) tests tools $(wildcard benchmarks notebooks)
WORKERS ?= 2

# The folders datasets/, layers/ and export/ must never be importable from the working directory.
export PYTHONSAFEPATH := 1
export TF_CPP_MIN_LOG_LEVEL ?= 3

.DEFAULT_GOAL := help
.PHONY: help demo install browser test test-full lint types unit full extras format bench weights wheel constraints clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(DEMO_STAMP) ## train a captioner on emoji, export it, caption new pictures without TensorFlow
	$(BIN)/python -P -m zoo demo

install: $(TEST_STAMP) ## the development environment in .venv

browser: $(TEST_STAMP) ## what the test of the browser client needs: Chromium, and npm packages in .cache/
	$(BIN)/python tools/install_browser.py

test: lint types unit ## lint, types and unit tests

test-full: full extras ## the long tests, and every extra in a fresh environment

lint: $(TEST_STAMP) ## ruff, check and format
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)

types: $(TEST_STAMP) ## mypy
	$(BIN)/python tools/mypy_tree.py

unit: $(TEST_STAMP)
	$(BIN)/python -m pytest -m "not full" -n $(WORKERS) --dist loadfile tests

full: $(TEST_STAMP)
	$(BIN)/python -m pytest -m full -n $(WORKERS) --dist loadfile --durations=30 tests

extras: $(TEST_STAMP) ## every extra in a fresh environment
	$(BIN)/python tools/check_install.py extras

format: $(TEST_STAMP) ## format and fix what ruff can fix
	$(BIN)/ruff format $(CHECKED)
	$(BIN)/ruff check --fix $(CHECKED)

bench: $(TEST_STAMP) ## training step, and latency on the edge, against stock Keras
	$(BIN)/python benchmarks/attention_step.py
	$(BIN)/python benchmarks/peer_latency.py

weights: $(TEST_STAMP) ## train, measure and pack the weights that ship, and write their cards
	$(BIN)/python tools/ship_weights.py

wheel: $(TEST_STAMP) ## build the wheel and check it in a fresh environment
	$(BIN)/python tools/check_install.py wheel

constraints: $(TEST_STAMP) ## write the versions of .venv to constraints.txt
	$(BIN)/python tools/pin.py

clean: ## remove what a build and the tests leave (not .venv, not runs/)
	rm -rf build dist *.egg-info .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find $(SOURCES) tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "Python 3.11 to 3.13 is needed, and $(PYTHON) is not: make PYTHON=python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(DEMO_STAMP): setup.cfg pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet -c constraints.txt -e '.[tf,demo]'
	@touch $@

$(TEST_STAMP): setup.cfg pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet -c constraints.txt -e '.[tf,jax,demo,test,dev]'
	@touch $@ $(DEMO_STAMP)
