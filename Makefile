# One task runner. `make` alone says what there is. Needs git, make and Python >= 3.11; brings everything else itself.

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
UV := UV_PYTHON_DOWNLOADS=never $(BIN)/uv
NPM_FLAGS := --ignore-scripts --no-audit --no-fund --loglevel=error
SERVER := packages/server/src/gp4u_server
SOURCES := packages tests bench examples deploy
WEB_SOURCES := $(shell find web -type f -not -path '*/node_modules/*' -not -path 'web/dist/*' 2>/dev/null) examples/digits/train.py

.DEFAULT_GOAL := help
.PHONY: help up test sim rig check fmt bench bench-main bench-catalyst web migration clean bootstrap-requirements

help: ## say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

up: $(VENV)/.synced web ## start the whole marketplace with a demo fleet; options: make up ARGS="--port 8100"
	@$(BIN)/gp4u up --demo $(ARGS)

test: $(VENV)/.synced web ## run every test; options for pytest: make test ARGS="-k ledger"
	@deploy/with-node npm --prefix web run --silent typecheck
	@deploy/with-node npm --prefix web run --silent test
	@GP4U_CHROMIUM="$$(deploy/find-chromium)" $(BIN)/pytest -n 3 --dist loadscope -q $(ARGS)

sim: $(VENV)/.synced ## the protocols under 100,000 seeds of faults, then every planted bug; options: make sim ARGS="--seeds 5000"
	@$(BIN)/gp4u-sim --seeds 100000 $(ARGS)
	@$(BIN)/gp4u-sim --plant all

RIG_WORLDS ?= 2
rig: $(VENV)/.synced ## the fault rig, as root: real processes on three hosts, broken on purpose; options: make rig ARGS="-k h2 --seed 7"
	@$(BIN)/pytest tests/rig/scenarios -o python_files="hazard_*.py nemesis_*.py" -p no:cacheprovider --timeout 600 -v -rs -n $(RIG_WORLDS) --dist loadfile $(ARGS)

check: $(VENV)/.synced web/node_modules/.installed ## format, lint, types, layers, schema, generated files
	$(BIN)/ruff format --check --quiet $(SOURCES)
	$(BIN)/ruff check --quiet $(SOURCES)
	$(BIN)/mypy packages/*/src
	$(BIN)/lint-imports --no-timing 2>/dev/null || $(BIN)/lint-imports
	deploy/with-node npm --prefix web run --silent lint
	deploy/with-node npm --prefix web run --silent typecheck
	$(BIN)/python deploy/check_generated.py

fmt: $(VENV)/.synced web/node_modules/.installed ## write formatting and safe fixes
	$(BIN)/ruff check --fix --quiet $(SOURCES) || true
	$(BIN)/ruff format --quiet $(SOURCES)
	deploy/with-node npm --prefix web run --silent fmt

bench: bench-main bench-catalyst ## every benchmark

bench-main: $(VENV)/.synced web ## the figures of the main job; options: make bench-main ARGS="--only failover"
	$(BIN)/python -m bench.main $(ARGS)

bench-catalyst: $(VENV)/.synced web ## the figures of the Catalyst Network, about 75 minutes; options: make bench-catalyst ARGS="--only checkpoints"
	$(BIN)/python -m bench.catalyst $(ARGS)

web: $(SERVER)/web_dist/index.html ## build the web app when its sources changed

migration: $(VENV)/.synced ## write a migration from the models: make migration NAME="what it does"
	@test -n "$(NAME)" || { echo 'Say what it does: make migration NAME="add a column"'; exit 2; }
	$(BIN)/python deploy/new_migration.py "$(NAME)"

clean: ## remove what was built; data folders (.gp4u) stay
	rm -rf $(VENV) web/node_modules web/dist $(SERVER)/web_dist .mypy_cache .ruff_cache .pytest_cache .cache
	rm -rf .import_linter_cache .import_linter_grimp_cache .hypothesis dist
	find packages tests bench deploy -name __pycache__ -type d -prune -exec rm -rf {} +

bootstrap-requirements: $(VENV)/.synced
	$(BIN)/python deploy/bootstrap_requirements.py

# --- the environment ---------------------------------------------------------------------------------------------

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "GP4U needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Name another: make up PYTHON=python3.12"; \
		exit 1; }
	@echo "Making the environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || { \
		echo "Python's venv module is missing. On Debian and Ubuntu: apt install python3-venv"; rm -rf $(VENV); exit 1; }

$(VENV)/.synced: $(BIN)/python uv.lock pyproject.toml packages/*/pyproject.toml deploy/bootstrap-requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		--requirement deploy/bootstrap-requirements.txt
	@echo "Installing the locked packages ..."
	@$(UV) sync --frozen --inexact --quiet
	@touch $@

# --- the web app -------------------------------------------------------------------------------------------------

web/node_modules/.installed: web/package-lock.json $(VENV)/.synced
	@echo "Installing the web app's locked packages ..."
	@deploy/with-node npm --prefix web ci $(NPM_FLAGS)
	@touch $@

$(SERVER)/web_dist/index.html: $(WEB_SOURCES) web/node_modules/.installed
	@echo "Building the web app ..."
	@deploy/with-node npm --prefix web run --silent build
	@rm -rf $(SERVER)/web_dist && cp -r web/dist $(SERVER)/web_dist && touch $@
