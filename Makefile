# Only Python 3.11 or newer is required. The first call creates .venv and installs the versions in
# constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
export PIP_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: quickstart test test-slow check docs benchmarks clean

## fit a mixture to 336,776 flights, label them, write a report
quickstart: .venv/installed
	$(BIN)/python workflows/end_to_end.py

## run the tests, except those marked slow, in two processes
test: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist worksteal

## run the slow tests
test-slow: .venv/installed
	$(BIN)/python -m pytest -m slow

## check style, format, spelling, imports between rooms, and types
check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy

## build the website from docs/ in results/site; warnings are errors
docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict  # --quiet would hide warnings from --strict

## run the benchmarks: speed, overhead, memory, accuracy, number of passes
benchmarks: .venv/installed
	$(BIN)/python workflows/benchmarks/kernels.py
	$(BIN)/python workflows/benchmarks/passes.py
	$(BIN)/python workflows/benchmarks/memory.py
	$(BIN)/python workflows/benchmarks/numerics.py
	$(BIN)/python workflows/benchmarks/passes_to_optimum.py

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "daskgmm needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev,docs]'
	touch $@

clean:
	rm -rf .venv data results
