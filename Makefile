# YOLO Tune-Up. `make` alone lists the targets; each sets up what it needs and does nothing twice.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
CONFIG ?= configs/demo.yaml
ARGS ?=
RUN ?=
TORCH_BACKEND ?=
WHEELS ?=

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
STEEL := datasets/steel/images/.ready
export UV_PYTHON_DOWNLOADS := never

.PHONY: help setup demo audit contract preview doctor proof train eval report runs test test-benchmarks test-gpu lint bench lock wheels

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' Makefile
	@echo
	@echo '  Variables: CONFIG=configs/defects.yaml   ARGS="data=my_pictures train.epochs=50"   RUN=runs/NAME'
	@echo '             TORCH_BACKEND=cpu|auto|cu128 (which build of torch)   WHEELS=FOLDER (install without a network)'

setup: $(READY)  ## Make .venv and install everything into it

# uv installs the pinned list in half a minute where pip needs three; pip does it where uv cannot be had.
$(READY): requirements.lock requirements.in requirements.override pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v <= (3, 13) else "Python 3.10 to 3.13 is needed, this is %d.%d; choose another with PYTHON=python3.11" % v)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@if [ -n "$(WHEELS)" ]; then \
	  echo "setup: installing from the folder $(WHEELS), without a network"; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-index --find-links "$(WHEELS)" --no-deps -r requirements.lock; \
	elif ! $(BIN)/python -m pip install --quiet --disable-pip-version-check uv; then \
	  echo "setup: uv cannot be had here; plain pip does the same, it only takes longer"; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock; \
	elif [ -n "$(TORCH_BACKEND)" ]; then \
	  $(BIN)/uv pip install --python $(BIN)/python --torch-backend "$(TORCH_BACKEND)" --override requirements.override --constraint requirements.lock -r requirements.in; \
	else \
	  $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -r requirements.lock; \
	fi
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation -e .
	@touch $@

$(STEEL): $(READY)
	@test -f $@ || { $(BIN)/tuneup demo steel datasets/steel && touch $@; }

demo: $(STEEL)  ## Draw the demo set of steel pictures with defects

audit: $(READY) $(if $(filter configs/demo.yaml,$(CONFIG)),$(STEEL))  ## Say what would spoil a training on the data of CONFIG, or ARGS="data=FOLDER"
	@$(BIN)/tuneup audit $(CONFIG) $(ARGS)

contract: $(READY) $(if $(filter configs/demo.yaml,$(CONFIG)),$(STEEL))  ## Measure what the augmentation of CONFIG does to its pictures
	@$(BIN)/tuneup contract $(CONFIG) $(ARGS)

preview: $(READY) $(if $(filter configs/demo.yaml,$(CONFIG)),$(STEEL))  ## Draw preview.jpg: originals beside augmented versions
	@$(BIN)/tuneup preview $(CONFIG) $(ARGS)

train: $(READY) $(if $(filter configs/demo.yaml,$(CONFIG)),$(STEEL))  ## Train by CONFIG (the demo if none is named), evaluate, report
	@$(BIN)/tuneup train $(CONFIG) $(ARGS)

eval: $(READY)  ## Evaluate RUN (the newest one if none is named); ARGS="eval.split=val" chooses the split
	@$(BIN)/tuneup eval $(RUN) $(ARGS)

doctor: $(READY) $(if $(filter configs/demo.yaml,$(CONFIG)),$(STEEL))  ## Check a training by CONFIG before it begins
	@$(BIN)/tuneup doctor $(CONFIG) $(ARGS)

proof: $(READY)  ## Compare backpropagation with finite differences, after an example by hand
	@$(BIN)/tuneup proof $(ARGS)

report: $(READY)  ## Write report.html of RUN anew
	@$(BIN)/tuneup report $(RUN)

runs: $(READY)  ## List the runs
	@$(BIN)/tuneup runs

test: $(READY)  ## Run the tests (offline, on the CPU, at most four at once)
	@$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile $(ARGS)

test-benchmarks: $(READY)  ## Run the fault benchmark in small (under three minutes)
	@$(BIN)/python -m pytest -m benchmark $(ARGS)

test-gpu: $(READY)  ## Run the tests and timings that need a GPU
	@PYTHON=$(BIN)/python benchmarks/gpu.sh

lint: $(READY)  ## Check style, types and the import rule
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo 'run .venv/bin/ruff format .'; exit 1; }
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(READY) $(STEEL)  ## Measure what docs/benchmarks reports
	@$(BIN)/python benchmarks/epoch_time.py $(ARGS)
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/monitor.py

lock: $(READY)  ## Resolve requirements.in into requirements.lock anew
	@$(BIN)/uv pip compile --upgrade --universal --python-version 3.10 --no-emit-index-url --no-emit-find-links \
	  --no-annotate --no-header --override requirements.override requirements.in -o requirements.lock

wheels: $(READY)  ## Fill the folder wheels/ for machines without a network
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps -r requirements.lock -d wheels
