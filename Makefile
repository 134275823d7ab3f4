# PYTHONSAFEPATH keeps the data folders datasets/ and results/ from being importable as packages.
export PYTHONSAFEPATH := 1
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
LOWEST ?= .venv-lowest
# uv where it is there, which takes a tenth of the time. Told to, it compiles bytecode as pip does: a process that finds
# none compiles torch and diffusers anew.
UV := $(shell command -v uv 2>/dev/null)
export UV_COMPILE_BYTECODE_TIMEOUT := 900

.PHONY: setup check test test-lowest bench again anova report golden pocket perf clean

setup: $(VENV)/.stamp  ## a virtual environment with everything

$(VENV)/.stamp: pyproject.toml
ifneq ($(UV),)
	test -x $(BIN)/python || $(UV) venv --seed --python $(PYTHON) $(VENV)
	$(UV) pip install --python $(BIN)/python --compile-bytecode -e .[dev]
else
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -e .[dev]
endif
	touch $@

check: setup  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

test: setup  ## what must pass before every commit
	$(BIN)/pytest -n auto --maxprocesses 8 --dist loadfile

test-lowest: $(LOWEST)/.stamp  ## the same on the lowest versions that pyproject.toml allows (docs/versions.md)
	$(LOWEST)/bin/pytest -n auto --maxprocesses 8 --dist loadfile

# With uv, which chooses the lowest itself; without it pip is told each bound as a version (tests/lowest.py).
$(LOWEST)/.stamp: pyproject.toml
ifneq ($(UV),)
	test -x $(LOWEST)/bin/python || $(UV) venv --seed --python $(PYTHON) $(LOWEST)
	$(UV) pip install --python $(LOWEST)/bin/python --compile-bytecode --resolution lowest-direct -e .[dev]
else
	$(PYTHON) -m venv $(LOWEST)
	$(PYTHON) tests/lowest.py > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/pip install -c $(LOWEST)/constraints.txt -e .[dev]
endif
	touch $@

bench: setup  ## run the quick board and write its tables, figures and page
	$(BIN)/litmus bench quick

again: setup  ## the quick board from nothing, into results/again; what make bench does where no records lie
	$(BIN)/litmus bench quick --results results/again

anova: setup  ## which way should an adapter go? the smallest study with a heat map (minutes); litmus anova is the whole
	$(BIN)/litmus anova anova-small

report: setup  ## tables, figures and page again, from the stored records only
	$(BIN)/litmus report quick

golden: setup  ## rewrite the golden tables; review the diff
	$(BIN)/pytest tests/golden --golden

pocket: setup  ## train the pocket base and its evaluators anew (hours)
	$(BIN)/litmus pocket train
	$(BIN)/litmus pocket card

perf: setup  ## timings of the parts
	$(BIN)/pytest tests/perf -m perf --benchmark-sort=name

clean:
	rm -rf $(VENV) $(LOWEST) build *.egg-info .pytest_cache .ruff_cache
