# make help lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed; name it: make PYTHON=python3.11")'
	@echo "Setting up $(VENV) (the first time this downloads TensorFlow: some minutes)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --group dev --editable '.[all]'
	@touch $(READY)

.PHONY: help quickstart test lint types generate check-generated

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

quickstart: $(READY) ## Set up, then run the main job: data to a served, gated model
	@$(BIN)/kfp-bert quickstart

test: $(READY) ## Set up, then run the tests
	@$(BIN)/python -m pytest

lint: $(READY) ## Check style and types
	@$(BIN)/ruff check .
	@$(BIN)/mypy

generate: $(READY) ## Write the component specs, their READMEs and the CLI reference
	@$(BIN)/python scripts/generate.py

check-generated: $(READY) ## Fail if a generated file is out of date
	@$(BIN)/python scripts/generate.py --check
