# Every target makes what it needs: `make run` on a fresh clone installs first, then runs.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=
# One process of tests per processor; ARGS="-n 0" runs them in one.
SIDE_BY_SIDE := -n auto --dist loadscope --no-loadscope-reorder

# Debian and Ubuntu ship venv apart from Python: root (a container) gets it, anyone else is told.
VENV_PACKAGE := if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; \
	then echo "Installing the package python3-venv"; apt-get update -q && apt-get install -qy python3-venv; \
	else echo "Python has no venv. On Debian and Ubuntu: sudo apt-get install python3-venv, then again."; false; fi

export KEDRO_DISABLE_TELEMETRY := 1

.PHONY: help run test test-all lint viz notebook bench clean lock

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-10s %s\n", $$1, $$2}'

run: $(READY)  ## candles to report on the simulated market; ARGS="--params market.seed=1" is passed on
	$(BIN)/kedro run $(ARGS)

test: $(READY)  ## all tests but the slow ones
	$(BIN)/python -m pytest -q $(SIDE_BY_SIDE) -m "not slow" $(ARGS)

test-all: $(READY)  ## all tests
	$(BIN)/python -m pytest -q $(SIDE_BY_SIDE) $(ARGS)

lint: $(READY)  ## format, style and the direction of imports
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/lint-imports

viz: $(READY)  ## lineage in the browser
	$(BIN)/kedro viz run

notebook: $(READY)  ## notebooks on the catalog's datasets
	$(BIN)/jupyter lab notebooks

bench: $(READY)  ## measure, side by side with the peers
	for study in backtest factors feature_store deep deep_quality; do $(BIN)/python benchmarks/$$study.py || exit 1; done

lock: $(READY)  ## write requirements.lock from what is installed
	$(BIN)/python -m pip freeze --exclude-editable | sed -E 's/^torch @.*|^torch==2.13.0.*/torch==2.13.0/' | grep -v "^nvidia-" > requirements.lock

clean:  ## remove what runs stored and tests left behind, and the environment; your own files in data/01_raw stay
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis .viz src/*.egg-info
	rm -rf data/01_raw/candles.parquet data/0[2-8]_*/* data/.state data/runs
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { rm -rf $(VENV); $(VENV_PACKAGE) && $(PYTHON) -m venv $(VENV); }
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@
