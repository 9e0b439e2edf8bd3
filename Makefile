# Every verb makes and reuses .venv by itself; it needs Python 3.11 or newer and make, nothing else.
# VENV=FOLDER has it elsewhere.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help demo test test-optimised check docs notebooks pages figures sensitivity first-hour bench bench-gpu clean constraints

help:            ## list the verbs
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

demo: $(VENV)/train.stamp  ## compare five methods on handwritten digits: a table and a figure in under a minute
	@rm -rf runs/demo
	@$(BIN)/optaxaccel run experiments/arena/digits.py --scale small --out runs/demo
	@$(BIN)/python experiments/self_tuning/demo.py
	@echo "next:    optaxaccel list                     (all methods, models, data sets; it lives in $(BIN))"
	@echo "         optaxaccel train --method indian --method-args learning_rate=0.1 --data digits --epochs 20"
	@echo "         README.md shows the use in your own optax loop, docs/data.md training on MNIST"

test: $(VENV)/dev.stamp  ## run all tests
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal $(PYTEST_ARGS)

test-optimised: $(VENV)/dev.stamp  ## run all tests on fully optimised programs, as users do (once a week)
	@XLA_FLAGS=--xla_force_host_platform_device_count=4 $(BIN)/python -m pytest -q -n 2 --dist worksteal $(PYTEST_ARGS)

check: $(VENV)/dev.stamp  ## lint, format, types, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/basedpyright --pythonpath $(BIN)/python
	@$(BIN)/lint-imports --no-cache

docs: $(VENV)/docs.stamp  ## build the documentation into docs/_build
	@$(BIN)/python -m sphinx -W -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

notebooks:       ## write the guides as Jupyter notebooks into docs/_build/notebooks
	@$(PYTHON) docs/notebooks.py docs/_build/notebooks

pages: $(VENV)/train.stamp  ## write what follows from cards and experiments: tables, pages that are missing
	@$(BIN)/python docs/follow.py

figures: $(VENV)/dev.stamp  ## draw the documentation's figures anew
	@for name in trajectories parabola weights sensitivity guides; do $(BIN)/python docs/figures/$$name.py || exit 1; done

first-hour:      ## do a new user's first hour in an empty folder, and write its times into CONTRIBUTING.md
	@$(PYTHON) docs/first_hour.py $(PYTHON)

sensitivity: $(VENV)/train.stamp  ## measure how much each method minds its hyperparameters (about ten minutes)
	@$(BIN)/python docs/sensitivity.py

bench: $(VENV)/train.stamp  ## measure speed as ratios
	@$(BIN)/python -m benchmarks $(BENCH_ARGS)

bench-gpu: $(VENV)/train.stamp  ## measure what an accelerator makes of it, in one JSON (under eight minutes, no network)
	@$(BIN)/python -m benchmarks.gpu $(BENCH_ARGS)

clean:           ## remove what the verbs made
	rm -rf .venv build dist runs docs/_build docs/generated .pytest_cache .ruff_cache .hypothesis *.egg-info

constraints:     ## resolve constraints.txt anew for Python 3.11 and newer (needs uv on the PATH); peers stay free
	uv pip compile pyproject.toml --extra prepare --extra docs --extra dev --universal --python-version 3.11 --upgrade --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links -o constraints.txt

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit("optaxaccel needs Python 3.11 or newer, this is " + sys.version.split()[0] + \
	  ". Call make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/%.stamp: pyproject.toml constraints.txt $(VENV)/pyvenv.cfg
	@echo "installing optaxaccel[$*] into $(VENV) (once) ..."
	@$(PIP) -e ".[$*]"
	@touch $@
