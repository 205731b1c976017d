# Two verbs do everything on a machine that has only Python and make: `make pipeline` and `make test`.

PYTHON   ?= python3
DATASET  ?= synthetic
K        ?= 10
PORT     ?= 8000
MODELS   ?= models
DATA     ?= data
LUIGID_PORT ?= 8082

BIN      := .venv/bin
RAW_DIR   = $(if $(RAW),--raw-dir "$$RAW")
CLUSTER   = $(if $(SPARK_MASTER),--spark-session-master "$$SPARK_MASTER")
DATED     = $(if $(AS_OF),--as-of "$$AS_OF")
SCHEDULED = $(if $(filter luigid,$(SCHEDULER)),--scheduler-port "$$LUIGID_PORT",--local-scheduler)
# Runs of all datasets are meant, unless the command names one.
ONLY      = $(if $(findstring command,$(origin DATASET)),--dataset "$$DATASET")
# A variable VERSION of the environment is about something else.
MEANT     = $(if $(findstring command,$(origin VERSION)),"$$VERSION")

# Recipes take what the user gives from the environment, so that a quote in an id or a path is just a character.
export DATASET K PORT MODELS DATA ID RAW LUIGID_PORT SPARK_MASTER VERSION KEEP AS_OF FROM TO

.DEFAULT_GOAL := help
.PHONY: help pipeline preview test serve luigid cluster runs run graph recommend lint format bench bench-engine bench-quality bench-web bench-scaling screenshots versions promote rollback verify prune forget backfill audit licences faults clean

.DEFAULT_GOAL := help

help:  ## Lists the verbs.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

pipeline: .venv/.installed  ## From raw data to recommendations: [DATASET=name] [RAW=dir] [AS_OF=2026-03-01] [SCHEDULER=luigid] [SPARK_MASTER=spark://…] [ARGS="…"]
	@$(BIN)/luigi --module workflow RecommendAll --dataset "$$DATASET" $(RAW_DIR) $(DATED) $(SCHEDULED) $(CLUSTER) $(ARGS)

backfill: .venv/.installed  ## Makes a version as of each day of a range that has none: FROM=2026-03-01 TO=2026-03-07 [DATASET=name] [RAW=dir] [ARGS="…"]
	@$(BIN)/python -m workflow backfill --dataset "$$DATASET" $(RAW_DIR) --from "$$FROM" --to "$$TO" $(SCHEDULED) $(CLUSTER) $(ARGS)

preview: .venv/.installed  ## Shows what a description makes of the first rows: DATASET=name-or.toml [RAW=dir]
	@$(BIN)/python -m spark.ingest.preview --dataset "$$DATASET" $(RAW_DIR)

test: .venv/.installed-dev  ## Runs the tests: [ARGS="-k split"]
	$(BIN)/python -m pytest $(ARGS)

serve: .venv/.installed  ## Serves the page on 127.0.0.1: [PORT=8000] [MODELS=dir] [DATA=dir] [ARGS=--allow-runs]
	@$(BIN)/python -m webapp --port "$$PORT" --models "$$MODELS" --data "$$DATA" $(ARGS)

luigid: .venv/.installed  ## Starts Luigi's scheduler, whose page shows the task graph, on 127.0.0.1: [LUIGID_PORT=8082]
	@$(BIN)/python -m workflow luigid --port "$$LUIGID_PORT" --data "$$DATA"

cluster: .venv/.installed  ## Starts a standalone Spark cluster here, two workers, on 127.0.0.1:7077: [ARGS="--workers 3"]
	@$(BIN)/python -m spark.runtime.local_cluster $(ARGS)

runs: .venv/.installed  ## Lists the runs, newest first: [DATASET=name]
	@$(BIN)/python -m workflow runs --data "$$DATA" $(ONLY)

run: .venv/.installed  ## Shows a run, its stages, settings and errors; the last one, or: [ID=…] [DATASET=name]
	@$(BIN)/python -m workflow run --data "$$DATA" $(ONLY) -- "$$ID"

graph: .venv/.installed  ## Draws the stages of the last run, or of: [ID=…] [DATASET=name]
	@$(BIN)/python -m workflow graph --data "$$DATA" $(ONLY) -- "$$ID"

recommend: .venv/.installed  ## Prints one user's list: ID=42 [K=10] [DATASET=name]
	@$(BIN)/python -m models recommend -k "$$K" --models "$$MODELS" --dataset "$$DATASET" -- "$$ID"

versions: .venv/.installed  ## Lists the versions, newest first, and what was done with them: [DATASET=name]
	@$(BIN)/python -m models versions --models "$$MODELS" --dataset "$$DATASET"

promote: .venv/.installed  ## Serves a version, and ends a pin: VERSION=number-or-id [DATASET=name]
	@$(BIN)/python -m models promote --models "$$MODELS" --dataset "$$DATASET" -- $(MEANT)

rollback: .venv/.installed  ## Serves the version before again, or another one, and pins it: [VERSION=number-or-id] [DATASET=name]
	@$(BIN)/python -m models rollback --models "$$MODELS" --dataset "$$DATASET" -- $(MEANT)

verify: .venv/.installed  ## Checks every file of all versions, or of one: [VERSION=number-or-id] [DATASET=name]
	@$(BIN)/python -m models verify --models "$$MODELS" --dataset "$$DATASET" -- $(MEANT)

prune: .venv/.installed  ## Removes old versions and unused stage outputs: [KEEP=5] [DRY_RUN=1] [DATASET=name]
	@$(BIN)/python -m workflow prune --models "$$MODELS" --data "$$DATA" --dataset "$$DATASET" \
	    $(if $(KEEP),--keep "$$KEEP") $(if $(DRY_RUN),--dry-run)

forget: .venv/.installed  ## Takes a user out of all versions: ID=42 [DATASET=name]
	@$(BIN)/python -m models forget --models "$$MODELS" --data "$$DATA" --dataset "$$DATASET" -- "$$ID"

lint: .venv/.installed-dev  ## Checks style and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/.installed-dev  ## Puts the code into shape.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/.installed-dev  ## Times the default run and look-ups, then ingest at 20M rows, beside plain Spark: [ARGS="--rounds 1"]
	$(BIN)/python tests/benchmarks/default_run.py
	$(BIN)/python tests/benchmarks/ingest.py $(ARGS)

bench-engine: .venv/.installed-dev  ## Times the engine beside implicit and MLlib: [ARGS="--interactions 20000000 …"]
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -e ".[bench]"
	$(BIN)/python tests/benchmarks/engine.py $(ARGS)

bench-quality: .venv/.installed-dev  ## Judges published lists beside tuned peers: [ARGS="--tune-trials 20"]
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -e ".[bench]"
	$(BIN)/python tests/benchmarks/quality.py $(ARGS)

bench-web: .venv/.installed-dev  ## Times the page over 1M users and 100k tracks, beside Flask's hello: [ARGS="--rounds 5"]
	$(BIN)/python tests/benchmarks/web.py $(ARGS)

bench-scaling: .venv/.installed-dev  ## Times the whole pipeline at 1M, 5M and 20M interactions, and on a cluster: [ARGS="--sizes 1 5"]
	@$(BIN)/python tests/benchmarks/scaling.py $(ARGS)

screenshots: .venv/.installed-dev  ## Takes the pictures in docs/ of what is published: [MODELS=dir] [DATA=dir] [DATASET=name]
	@$(BIN)/python tests/screenshots.py --models "$$MODELS" --data "$$DATA" --dataset "$$DATASET"
audit: .venv-audit/.installed  ## Looks for known vulnerabilities of what is locked, with pip-audit in .venv-audit.
	@$(PYTHON) tools/audit.py .venv-audit/bin/pip-audit

licences: .venv/.installed  ## Writes docs/licences.md anew, the licences of what is locked.
	@$(BIN)/python tools/licences.py

faults: .venv/.installed-dev  ## Kills a run, or fills its disk, at every step, and damages every output: [ARGS="--only Publish"]
	@$(BIN)/python tests/faults/matrix.py $(ARGS)

clean:  ## Removes stage outputs and caches; raw data, run records and models stay.
	rm -rf data/work build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# -- set-up: a lock file with hashes, then the project itself; a stamp says that it went well ----------------------

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	    || { echo "Error: Python 3.11, 3.12 or 3.13 is needed; name one with PYTHON=python3.12." >&2; exit 2; }
	@$(PYTHON) -m venv .venv

.venv/.installed: requirements.txt pyproject.toml spark/runtime/jvm_cds.py | .venv/bin/python
	@echo "Installing into .venv, Spark and Java included; this takes a minute or two, once."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m spark.runtime.precompile
	@$(BIN)/python -m spark.runtime.jvm_cds
	@touch $@

.venv/.installed-dev: requirements-dev.txt .venv/.installed
	@echo "Installing what the tests need."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

.venv-audit/.installed: requirements-audit.txt
	@$(PYTHON) -m venv .venv-audit
	@.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-audit.txt \
	    || { echo "Error: nothing was checked: pip-audit cannot be installed." >&2; exit 2; }
	@touch $@
