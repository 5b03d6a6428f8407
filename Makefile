# Everything that this repository does, by name. `make` alone lists it.
PYTHON ?= python3.11
CORES ?= $(shell env -u OMP_NUM_THREADS nproc 2>/dev/null || echo 2)
BIN := .venv/bin
STAMP := .venv/.pins
# Jobs find the library beside their scripts; what is started from here has to be told.
RUN := PYTHONPATH=workflow/scripts $(BIN)/python

.DEFAULT_GOAL := help
.PHONY: help setup demo study test lint format docs bench chaos wheel preflight resume models verify-models config clean

help: ## list what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'
	@echo "A study of your own: make study STUDY=<name>, of config/studies/<name>.yaml"

setup: $(STAMP) ## install everything into .venv (once, and after a change of the pins); TORCH=cpu takes torch for processors alone

# The command is a short script, and no editable install: jobs would find that one before the library beside their script.
# uv takes a tenth of pip's time, and links from its cache in the next clone. Compiled once here, torch and Snakemake
# start two to three times as fast where the first job may not write beside them.
$(STAMP): envs/requirements.txt envs/requirements-readers.txt envs/requirements-docs.txt envs/requirements-dev.txt
	@command -v $(PYTHON) >/dev/null || { echo "isoplan needs Python 3.11, and there is no '$(PYTHON)' here: install it (Debian: apt install python3.11-venv), or name yours: make $(or $(MAKECMDGOALS),setup) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "isoplan's packages are tried on Python 3.11 only, and '$(PYTHON)' is another: make $(or $(MAKECMDGOALS),setup) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear .venv || { echo "Python's venv module is missing (Debian: apt install python3.11-venv)" >&2; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check uv==0.13.8
	$(BIN)/uv pip install --python $(BIN)/python --compile-bytecode $(if $(TORCH),--torch-backend $(TORCH)) -r envs/requirements-dev.txt
	@printf '#!/bin/sh\nPYTHONPATH="%s/workflow/scripts" exec "%s/$(BIN)/python" -m isoplan "$$@"\n' "$(CURDIR)" "$(CURDIR)" > $(BIN)/isoplan
	@chmod +x $(BIN)/isoplan
	@touch $@

demo: setup ## run the default study, to results/demo/report.html
	$(BIN)/snakemake --cores $(CORES) --configfile config/studies/demo.yaml
	@echo
	@echo "Open the report:    results/demo/report.html"
	@echo "Run every test:     make test"
	@echo "Your own mosaic:    docs/own-mosaic.md; make study STUDY=<name>"

# What Snakemake is told beside: ARGS=-n shows what would be done, ARGS="--config seed=2" gives a key another value.
study: setup ## run a study, or go on with it: make study STUDY=<name or .yaml> [PROFILE=slurm] [ARGS=-n]
	@test -n "$(STUDY)" || { echo "say which study: make study STUDY=<name or .yaml>, such as tiny" >&2; exit 1; }
	$(RUN) workflow/study.py "$(STUDY)" $(if $(PROFILE),--profile $(PROFILE),--cores $(CORES)) $(ARGS)

# In the order of tests/conftest.py, not by the size of files: of the cluster, which mostly waits, one file starts first and one comes after the studies.
test: setup ## run every test
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder tests

wheel: setup ## build the package, to dist/
	$(BIN)/uv build --quiet --wheel --no-build-isolation --python $(BIN)/python --out-dir dist .

lint: setup ## check style of Python and Snakemake files, and types of the public functions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check --compact-diff Snakefile workflow/Snakefile workflow/rules
	$(BIN)/snakemake --lint --configfile config/studies/demo.yaml

format: setup ## fix style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow/Snakefile workflow/rules

docs: setup ## build the documentation, to site/index.html
	$(BIN)/python docs/gather.py build/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "Open the documentation:    site/index.html"

bench: setup ## measure speed and memory beside other packages, to results/bench/bench.csv
	$(RUN) tests/bench/run.py

# Kills, cancelled jobs, a node down, a full disk and more, each followed by make resume; the full disk wants root.
chaos: setup ## accidents on purpose, on a real Slurm, to results/chaos/summary.md: make chaos [KILLS=20] [SEED=1] [ONLY=node-down]
	$(RUN) tests/slurm/chaos.py $(if $(KILLS),--kills $(KILLS)) $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only $(ONLY))

resume: setup ## go on after any accident: make resume STUDY=<name> [PROFILE=slurm]
	@test -n "$(STUDY)" || { echo "say which study: make resume STUDY=<name>, one of: $$(ls results 2>/dev/null | tr '\n' ' ')" >&2; exit 1; }
	$(RUN) workflow/resume.py "$(STUDY)" $(if $(PROFILE),--profile $(PROFILE),--cores $(CORES))

preflight: setup ## look whether this place can carry a study: make preflight STUDY=<name> [PROFILE=slurm]
	@test -n "$(STUDY)" || { echo "say which study: make preflight STUDY=<name> [PROFILE=slurm], such as tiny" >&2; exit 1; }
	$(RUN) workflow/preflight.py "$(STUDY)" $(if $(PROFILE),--profile $(PROFILE),--cores $(CORES))

# One network after the other; what is done already is not done again, and networks of other settings or code
# are replaced. With MINUTES it leaves after so many, and exit code 3 (make: Error 3) says that the same command
# goes on.
SCALE ?= full
models: setup ## train, judge and write the released networks: make models [SCALE=small] [MINUTES=9]
	$(RUN) -m isoplan release config/studies/released.$(SCALE).yaml --overwrite $(if $(MINUTES),--stop-after-minutes $(MINUTES))

verify-models: setup ## judge the released networks again and compare with their cards: make verify-models [WHOLE=1]
	$(RUN) -m isoplan verify $(if $(WHOLE),--whole)

config: setup ## write config/config.yaml and config/README.md from the schema
	$(RUN) -m isoplan.config.documentation

clean: ## remove the environment and caches; results stay
	rm -rf .venv .pytest_cache .ruff_cache .snakemake build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
