# `make pipeline` and `make test` need only Python 3.11-3.13 and make: they create .venv and install everything else.

PYTHON      ?= python3
DATASET     ?= synthetic
K           ?= 10
PORT        ?= 8000
LUIGID_PORT ?= 8082
MODELS      ?= models
DATA        ?= data

# Export the variables, so that recipes can quote their values in the shell.
export DATASET K PORT LUIGID_PORT MODELS DATA ID RAW SPARK_MASTER VERSION KEEP AS_OF FROM TO

BIN           := .venv/bin
RAW_ARG        = $(if $(RAW),--raw-dir "$$RAW")
AS_OF_ARG      = $(if $(AS_OF),--as-of "$$AS_OF")
MASTER_ARG     = $(if $(SPARK_MASTER),--spark-session-master "$$SPARK_MASTER")
SCHEDULER_ARG  = $(if $(filter luigid,$(SCHEDULER)),--scheduler-port "$$LUIGID_PORT",--local-scheduler)
# Without DATASET on the command line, `make runs` and the like cover all datasets.
DATASET_FILTER = $(if $(findstring command,$(origin DATASET)),--dataset "$$DATASET")
# Ignore a VERSION from the environment.
VERSION_ARG    = $(if $(findstring command,$(origin VERSION)),"$$VERSION")
# Two workers: each has its own Spark session.
PYTEST         = $(BIN)/python -m pytest -n 2 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help pipeline backfill preview serve luigid cluster \
    recommend runs run graph \
    versions promote rollback verify prune forget \
    test test-all test-image lint format bench bench-engine bench-quality bench-web bench-scaling faults screenshots audit licences clean

help:
	@echo 'Usage: make TARGET [VARIABLE=value ...]'
	@awk -F ':.*## ' '/^##@ / { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  %-15s%s\n", $$1, $$2 } \
	    /^#: / { printf "  %s\n", substr($$0, 4) }' $(MAKEFILE_LIST)

##@ Run

pipeline: .venv/.installed  ## Turn raw data into recommendations: [DATASET RAW AS_OF SCHEDULER ARGS]
	@$(BIN)/luigi --module workflow RecommendAll --dataset "$$DATASET" $(RAW_ARG) $(AS_OF_ARG) $(SCHEDULER_ARG) $(MASTER_ARG) $(ARGS)

backfill: .venv/.installed  ## Publish missing versions of a date range: FROM TO [DATASET RAW SCHEDULER ARGS]
	@$(BIN)/python -m workflow backfill --dataset "$$DATASET" $(RAW_ARG) --from "$$FROM" --to "$$TO" $(SCHEDULER_ARG) $(MASTER_ARG) $(ARGS)

preview: .venv/.installed  ## Show how a description reads the first rows: DATASET [RAW]
	@$(BIN)/python -m spark.ingest.preview --dataset "$$DATASET" $(RAW_ARG)

serve: .venv/.installed  ## Serve the page on 127.0.0.1: [PORT MODELS DATA ARGS=--allow-runs]
	@$(BIN)/python -m webapp --port "$$PORT" --models "$$MODELS" --data "$$DATA" $(ARGS)

luigid: .venv/.installed  ## Start Luigi's scheduler and its page on 127.0.0.1: [LUIGID_PORT DATA]
	@$(BIN)/python -m workflow luigid --port "$$LUIGID_PORT" --data "$$DATA"

cluster: .venv/.installed  ## Start a local Spark cluster, two workers, on 127.0.0.1:7077: [ARGS="--workers 3"]
	@$(BIN)/python -m spark.runtime.local_cluster $(ARGS)

##@ Inspect

recommend: .venv/.installed  ## Print a user's recommendations: ID [K DATASET MODELS]
	@$(BIN)/python -m models recommend -k "$$K" --models "$$MODELS" --dataset "$$DATASET" -- "$$ID"

runs: .venv/.installed  ## List runs, newest first: [DATASET DATA]
	@$(BIN)/python -m workflow runs --data "$$DATA" $(DATASET_FILTER)

run: .venv/.installed  ## Show a run, by default the last: [ID DATASET DATA]
	@$(BIN)/python -m workflow run --data "$$DATA" $(DATASET_FILTER) -- "$$ID"

graph: .venv/.installed  ## Draw a run's stages as SVG, by default of the last run: [ID DATASET DATA]
	@$(BIN)/python -m workflow graph --data "$$DATA" $(DATASET_FILTER) -- "$$ID"

##@ Versions

versions: .venv/.installed  ## List versions, newest first, and the audit log's end: [DATASET MODELS]
	@$(BIN)/python -m models versions --models "$$MODELS" --dataset "$$DATASET"

promote: .venv/.installed  ## Serve a version and remove the pin: VERSION [DATASET MODELS]
	@$(BIN)/python -m models promote --models "$$MODELS" --dataset "$$DATASET" -- $(VERSION_ARG)

rollback: .venv/.installed  ## Serve the previous version, or VERSION, and pin it: [VERSION DATASET MODELS]
	@$(BIN)/python -m models rollback --models "$$MODELS" --dataset "$$DATASET" -- $(VERSION_ARG)

verify: .venv/.installed  ## Verify the checksums of all versions, or of VERSION: [VERSION DATASET MODELS]
	@$(BIN)/python -m models verify --models "$$MODELS" --dataset "$$DATASET" -- $(VERSION_ARG)

prune: .venv/.installed  ## Remove old versions and unused stage outputs: [KEEP DRY_RUN=1 DATASET MODELS DATA]
	@$(BIN)/python -m workflow prune --models "$$MODELS" --data "$$DATA" --dataset "$$DATASET" \
	    $(if $(KEEP),--keep "$$KEEP") $(if $(DRY_RUN),--dry-run)

forget: .venv/.installed  ## Delete a user from all versions: ID [DATASET MODELS DATA]
	@$(BIN)/python -m models forget --models "$$MODELS" --data "$$DATA" --dataset "$$DATASET" -- "$$ID"

##@ Develop

test: .venv/.installed-dev  ## Run the fast tests, two at a time: [ARGS="-k split"]
	$(PYTEST) -m "not slow" $(ARGS)

test-all: .venv/.installed-dev  ## Run all tests, including slow ones: [ARGS="-k split"]
	$(PYTEST) $(ARGS)

test-image:  ## Build the image and test it with Docker Engine and Compose: [ARGS="--network host"]
	@$(PYTHON) tests/check_image.py $(ARGS)

lint: .venv/.installed-dev  ## Check style and types with ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/.installed-dev  ## Format the code with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/.installed-dev  ## Time the default run, look-ups and ingest: [ARGS="--rounds 1"]
	$(BIN)/python tests/benchmarks/default_run.py
	$(BIN)/python tests/benchmarks/ingest.py $(ARGS)

bench-engine: .venv/.installed-dev  ## Time training and lists against implicit and MLlib: [ARGS="--rounds 1"]
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -e ".[bench]"
	$(BIN)/python tests/benchmarks/engine.py $(ARGS)

bench-quality: .venv/.installed-dev  ## Compare recommendation quality with tuned peers: [ARGS="--tune-trials 20"]
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -e ".[bench]"
	$(BIN)/python tests/benchmarks/quality.py $(ARGS)

bench-web: .venv/.installed-dev  ## Time the page with 1M users and 100k tracks: [ARGS="--rounds 1"]
	$(BIN)/python tests/benchmarks/web.py $(ARGS)

bench-scaling: .venv/.installed-dev  ## Time the pipeline at 1M, 5M and 20M interactions: [ARGS="--sizes 1 5"]
	@$(BIN)/python tests/benchmarks/scaling.py $(ARGS)

faults: .venv/.installed-dev  ## Inject crashes, full disks and damage at every step: [ARGS="--only Publish"]
	@$(BIN)/python tests/faults/matrix.py $(ARGS)

screenshots: .venv/.installed-dev  ## Update screenshots in docs/ from versions: [DATASET MODELS DATA]
	@$(BIN)/python tests/screenshots.py --models "$$MODELS" --data "$$DATA" --dataset "$$DATASET"

audit: .venv-audit/.installed  ## Check locked packages for known vulnerabilities with pip-audit
	@$(PYTHON) tools/audit.py .venv-audit/bin/pip-audit

licences: .venv/.installed  ## Regenerate docs/licences.md from the locked packages
	@$(BIN)/python tools/licences.py

clean:  ## Remove stage outputs and caches; keep raw data, run records and versions
	rm -rf data/work build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

##@ Variables

#: DATASET       A shipped dataset or the path of a description (default: synthetic)
#: RAW           Directory of the raw files (default: data/raw/<dataset>)
#: AS_OF         Use only interactions before this day, such as 2026-03-01
#: FROM, TO      First and last day of a backfill
#: SCHEDULER     luigid: report the run to `make luigid`
#: SPARK_MASTER  Run on a cluster, such as spark://host:7077
#: ID            User id (recommend, forget) or run id (run, graph)
#: VERSION       Version number, id or id prefix
#: K, KEEP       List length (default: 10); versions to keep (default: [publish] keep_versions)
#: MODELS, DATA  Directories of versions and data (default: models, data)
#: ARGS          Further arguments, such as "--als-rank 32"

# Installation: locked packages with hashes, then the project itself. The stamp file marks success.

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	    || { echo "Error: Python 3.11, 3.12 or 3.13 is required; choose one with PYTHON=python3.12." >&2; exit 2; }
	@$(PYTHON) -m venv .venv

.venv/.installed: requirements.txt pyproject.toml spark/runtime/jvm_cds.py | .venv/bin/python
	@echo "Installing into .venv, with Spark and Java: one or two minutes, once."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m spark.runtime.precompile
	@$(BIN)/python -m spark.runtime.jvm_cds
	@touch $@

.venv/.installed-dev: requirements-dev.txt .venv/.installed
	@echo "Installing the development tools."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

.venv-audit/.installed: requirements-audit.txt
	@$(PYTHON) -m venv .venv-audit
	@.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-audit.txt \
	    || { echo "Error: cannot install pip-audit; nothing was checked." >&2; exit 2; }
	@touch $@
