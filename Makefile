# Everything runs inside .venv, which any target that needs it makes first: there is nothing to install or to activate before.

SHELL := /bin/sh
.DEFAULT_GOAL := help

# May be given on the command line, as in `make run CONFIG=config/full.yaml CORES=8`.
CONFIG =
CORES = all
TESTS =
ARGS =
# May also stand in the environment.
PYTHON ?=
TORCH ?= auto

BIN := .venv/bin
# The workflow's rules call `ebmpipe` by its name.
INSIDE := PATH="$(CURDIR)/$(BIN):$$PATH"
SNAKEMAKE = $(INSIDE) $(BIN)/snakemake $(if $(CONFIG),--configfile $(CONFIG))
# A bare one begins a comment, in older versions of make even here.
hash := \#
# Where the config puts its results; the report belongs beside them.
RESULTS = $(or $(shell sed -n '/^results:/{s/^results: *//;s/ *$(hash).*//;s/ *$$//;p;}' $(or $(CONFIG),config/config.yaml) 2>/dev/null | tr -d "\"'"),results)
REPORT = $(SNAKEMAKE) --report "$(RESULTS)/report.html" --report-stylesheet workflow/report/report.css $(ARGS)
# What the report shows.
SHOWN = "$(RESULTS)/tables" "$(RESULTS)/figures" "$(RESULTS)/report" workflow/report
# Any of -n, -np, --dry-run, --dryrun.
DRY_RUN = $(strip $(filter --dry-run --dryrun,$(ARGS)) $(foreach option,$(filter-out --%,$(filter -%,$(ARGS))),$(findstring n,$(option))))

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1 \2/p' Makefile | while read -r target text; do printf '%-14s %s\n' "$$target" "$$text"; done
	@echo
	@echo 'Every target takes PYTHON=… (an interpreter, 3.11 to 3.13) and TORCH=cpu|cuda (by default cuda where an NVIDIA driver is found).'

.PHONY: environment
environment: ## make .venv with pinned dependencies, if it is not there or out of date (every target does this first)
	@PYTHON="$(PYTHON)" TORCH="$(TORCH)" scripts/make-environment

.PHONY: run
run: environment config-can-be-read ## run the workflow and write its report [CONFIG=config/….yaml CORES=all ARGS='for snakemake']
	$(SNAKEMAKE) --cores $(CORES) $(ARGS)
ifeq ($(DRY_RUN),)
	@if [ -e "$(RESULTS)/report.html" ] && [ -z "$$(find $(SHOWN) -newer "$(RESULTS)/report.html")" ]; then \
	    echo "$(RESULTS)/report.html shows all of this already"; \
	else \
	    $(REPORT); \
	fi
endif

# Snakemake reads a config before the Snakefile has a say, and says little of one that it cannot read.
config-can-be-read:
	@$(if $(CONFIG),$(INSIDE) $(BIN)/ebmpipe check --syntax "$(CONFIG)")

.PHONY: report
report: environment config-can-be-read ## write only the report of results that are there [CONFIG=…]
	$(REPORT)

.PHONY: check
check: environment ## say what a config comes to, or what is wrong with it, without running anything [CONFIG=…]
	@$(INSIDE) $(BIN)/ebmpipe check $(CONFIG)

.PHONY: unlock
unlock: environment config-can-be-read ## free a workflow whose lock was left behind by one that was killed [CONFIG=…]
	$(SNAKEMAKE) --unlock

.PHONY: figures
figures: environment config-can-be-read ## make the figures, and what they need [CONFIG=… CORES=… ARGS=…]
	$(SNAKEMAKE) --cores $(CORES) $(ARGS) figures

.PHONY: tables
tables: environment config-can-be-read ## make the tables, and what they need [CONFIG=… CORES=… ARGS=…]
	$(SNAKEMAKE) --cores $(CORES) $(ARGS) tables

.PHONY: test
test: environment ## run the tests [TESTS=tests/… ARGS='for pytest']
	$(INSIDE) $(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder $(ARGS) $(TESTS)

.PHONY: gpu-check
gpu-check: environment ## compare a CUDA GPU with the CPU: energies, kernels, updates, resuming; skips all without one [ARGS='for pytest']
	$(INSIDE) $(BIN)/python -m pytest -rs -n logical --maxprocesses 8 --dist worksteal $(ARGS) tests/gpu

.PHONY: lint
lint: environment ## check style, types and the workflow's rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(SNAKEMAKE) --lint

.PHONY: format
format: environment ## put the code into the style that lint checks
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow

.PHONY: schema
schema: environment ## write the config's schema and the catalogue that the Snakefile reads
	$(BIN)/ebmpipe schema

.PHONY: quote
quote: environment ## copy the tables of results/ and results/full/ into the pages that quote them
	$(BIN)/python scripts/quote-tables README.md docs/results.md

.PHONY: constraints
constraints: environment ## pin the dependencies of pyproject.toml anew [ARGS=--upgrade or ARGS='--upgrade-package numpy']
	$(BIN)/python -m pip install -qq 'uv>=0.7.14,<1'
	$(BIN)/python -m uv pip compile --quiet pyproject.toml --extra workflow --extra dev --python-version 3.11 --universal \
	    --no-header --no-annotate $(ARGS) --output-file requirements/constraints.txt
	@echo 'Now bring the pins in environment.yml in line; make test TESTS=tests/environment says which.'

.PHONY: clean
clean: ## remove caches and build leftovers; results and .venv stay
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache
	find . \( -path ./.venv -o -path ./results -o -path ./.git \) -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +

.PHONY: clean-results
clean-results: ## remove results/ and what snakemake remembers of it
	rm -rf results .snakemake/metadata .snakemake/incomplete .snakemake/log
