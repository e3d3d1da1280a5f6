# make help lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name it: make PYTHON=python3.11")'
	@echo "Setting up $(VENV) (the first time this downloads TensorFlow: some minutes)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --group dev --group docs --editable '.[all]'
	@touch $(READY)

DOCKER ?= $(or $(DOCKER_CLI),docker)
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' src/kfp_bert_components/__init__.py)

.PHONY: help quickstart test test-long test-slow test-pythons test-lowest test-newest test-goals test-wheel release-check test-peers test-docker test-docs docs mutants lint generate check-generated constraints peers images image-digests compare-with-trainer gate-on-films store-table

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / {printf "make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

quickstart: $(READY) ## Set up, then run the main job: data to a served, gated model
	@$(BIN)/kfp-bert quickstart

# Three more than there are cores, as tests also wait; each takes up to 3 GB.
PARALLEL = --numprocesses $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$((n < 2 ? n + 3 : 5))) --dist loadfile

test: $(READY) ## Set up, then run the tests
	@$(BIN)/python -m pytest $(PARALLEL)

test-long: $(READY) ## The tests that take minutes each: training, rollouts, promotions and pipelines killed at each step
	@$(BIN)/python -m pytest $(PARALLEL) -m long

test-docs: $(READY) ## Run or check every code block and command of README and docs, and run the examples
	@$(BIN)/python -m pytest $(PARALLEL) -m docs

test-slow: $(READY) ## The tests of test-long and test-docs in one run
	@$(BIN)/python -m pytest $(PARALLEL) -m 'long or docs'

test-pythons: ## The tests that need no TensorFlow on every Python at hand (PYTHONS="python3.11 python3.13")
	@scripts/test_pythons.sh $(PYTHONS)

test-lowest: $(READY) ## Tests with the oldest dependencies that pyproject.toml allows
	@scripts/test_resolution.sh lowest-direct

test-newest: $(READY) ## Tests with the newest dependencies that pyproject.toml allows
	@scripts/test_resolution.sh highest

mutants: $(READY) ## Mutation testing, about an hour (MUTANTS="gate --count 20" for a part of it)
	@$(BIN)/python scripts/mutants.py $(MUTANTS)

lint: $(READY) ## Check style and types, and the files for GitHub by their schemas
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy --allow-untyped-defs --cache-dir .mypy_cache/examples examples
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/[!c]*.yml
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	@$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	@$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format --force-filetype yaml CITATION.cff

docs: $(READY) ## Build the site of the documentation into build/docs
	@$(BIN)/python -m sphinx --fresh-env -W --keep-going --quiet -b html -c docs -d build/doctrees . build/docs

generate: $(READY) ## Write the component specs, their READMEs and the CLI reference
	@$(BIN)/python scripts/generate.py

check-generated: $(READY) ## Fail if a generated file is out of date, or a component's interface broke in silence
	@$(BIN)/python scripts/generate.py --check
	@$(BIN)/python scripts/check_interfaces.py

constraints: $(READY) ## Pin anew what is known to install together, for every Python from 3.11 on
	@$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --all-extras --group dev --group docs --group release --upgrade \
	  --no-header --no-annotate --no-emit-index-url --no-emit-find-links --output-file constraints.txt

test-wheel: $(READY) ## Build the wheel, install it in a clean environment, use it there
	@scripts/test_wheel.sh $(BIN)/python

release-check: $(READY) ## Everything of a release but publishing it, into dist/ (TAG=v1.2.3: of that tag)
	@$(BIN)/python scripts/release_check.py $(TAG)

IMAGES ?= kfp-bert-components
PLACE = $(IMAGES:/=)
BUILD = $(DOCKER) build --network=host --file docker/Dockerfile --build-arg VERSION=$(VERSION) $(if $(CUDA),--build-arg CUDA=$(CUDA))

images: ## Build the images that the specs name, and serve (IMAGES=my-registry/my-team: for there; PUSH=1: push them; CUDA=1: for GPUs)
	$(BUILD) --target slim --tag $(PLACE)/python:$(VERSION) .
	$(BUILD) --target tensorflow --tag $(PLACE)/python-tensorflow:$(VERSION) .
	$(BUILD) --target serve --tag $(PLACE)/serve:$(VERSION) .
	$(if $(filter 1,$(PUSH)),for image in python python-tensorflow serve; do $(DOCKER) push $(PLACE)/$$image:$(VERSION) || exit; done)

image-digests: ## Write dist/images.txt: digest and name of each image that was pushed
	@mkdir -p dist
	@for image in python python-tensorflow serve; do \
	  digests=$$($(DOCKER) inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' $(PLACE)/$$image:$(VERSION)) && \
	  echo "$$digests" | sed -n "s|^\($(PLACE)/$$image\)@sha256:\(.*\)|\2  \1|p" | grep . || \
	  { echo "$(PLACE)/$$image:$(VERSION) has no digest: push it first (make images IMAGES=$(PLACE) PUSH=1)" >&2; exit 1; }; \
	done > dist/images.txt
	@cat dist/images.txt

GOALS = tests/deployment/test_rollout_goals.py tests/deployment/test_rollout_faults.py tests/deployment/test_fencing.py \
  tests/deployment/test_pipeline_ai_platform.py tests/deployment/test_pipeline_kserve.py tests/deployment/test_kserve_faults.py tests/registry/test_race.py tests/registry/test_kills.py \
  tests/registry/test_gc_and_promotion.py tests/fetch/test_faults.py \
  tests/fetch/test_kill.py tests/training/test_checkpoint_kills.py tests/data/test_random_tables.py tests/bert/test_wordpiece.py \
  tests/serving/test_requests.py tests/deployment/test_abandoned_jobs.py tests/trainjob/test_rounds.py \
  tests/pipelines/test_killed_runs.py $(STORES)
test-goals: export KFP_BERT_STORES = all
# What runs on s3:// only where all stores are asked for.
STORES = tests/registry/test_champion.py tests/registry/test_operations.py tests/registry/test_test_sets.py \
  tests/registry/test_old_checkpoints.py tests/deployment/test_served_numbers.py tests/deployment/test_owners.py \
  tests/deployment/test_places.py tests/deployment/test_endpoints.py

test-goals: $(READY) ## The tests that `make test` takes a sample of, at their whole count (an hour or more)
	@KFP_BERT_ROUNDS=all KFP_BERT_RACE_PROMOTERS=50 KFP_BERT_RACE_ROUNDS=200 KFP_BERT_FAULTS=1000 KFP_BERT_KILLS=100 \
	  KFP_BERT_REGISTRY_KILLS=200 KFP_BERT_CHECKPOINT_KILLS=200 KFP_BERT_ORDERS=all \
	  KFP_BERT_TABLES=10000 KFP_BERT_RANDOM_TEXTS=100000 KFP_BERT_REQUESTS=10000 $(BIN)/python -m pytest -s \
	  -m 'not docker and not peers and not docs' $(GOALS)

test-docker: $(READY) images ## Build the images, and run every component and the server in them
	@$(BIN)/python -m pytest -m docker

peers: .peers/.ready .peers-tf215/.ready .peers-server/.ready .peers-mlflow/.ready .peers-s3/.ready ## Set up the environments that tests and benchmarks compare with

.peers/.ready: benchmarks/peers.txt
	@$(PYTHON) -m venv .peers
	@.peers/bin/python -m pip install --quiet --disable-pip-version-check --requirement benchmarks/peers.txt
	@touch $@

# TensorFlow 2.15 needs Python 3.11 or older.
PYTHON_TF215 ?= $(PYTHON)

.peers-%/.ready: benchmarks/peers-%.txt
	@$(if $(filter tf215,$*),$(PYTHON_TF215),$(PYTHON)) -m venv .peers-$*
	@.peers-$*/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

test-peers: $(READY) peers ## Compare with transformers on torch, with TensorFlow 2.15, with clients of servers, a real MLflow and real S3 stores
	@$(BIN)/python -m pytest -m peers

bench-server: .peers-kserve/.ready
bench-%: $(READY) peers ## Run benchmarks/NAME.py; its last line is JSON
	@$(BIN)/python benchmarks/$*.py

store-table: $(READY) ## Kills and faults on each kind of store side by side, as a table in Markdown (SeaweedFS after make peers)
	@$(BIN)/python scripts/store_table.py

compare-with-trainer: $(READY) peers ## Accuracy on real films beside transformers' Trainer (needs IMSDB_FOLDER)
	@$(BIN)/python scripts/compare_with_trainer.py

gate-on-films: $(READY) ## The gate on models of real films (needs IMSDB_FOLDER)
	@$(BIN)/python scripts/gate_on_films.py
