# What a checkout can do. Each command makes its virtual environment if it is missing; nothing else is needed before.
PYTHON ?= python3
BIN := .venv/bin
LOWEST := .venv-lowest/bin
NEWEST := .venv-newest/bin

# A worker that is idle takes tests of the others; torch has one core in each. A line of progress is always shown.
PYTEST := -m pytest -n auto --dist worksteal
ONE_CORE := OMP_NUM_THREADS=1

.PHONY: demo docs test lint format lowest newest

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test,train,eval]'
	touch $@

demo: .venv/installed
	$(BIN)/python examples/speak/demo.py --output demo
	$(BIN)/python examples/speak/codec_round_trip.py --output demo

# All tests on the newest transformers that was tried, which constraints.txt names.
test: .venv/installed
	$(ONE_CORE) $(BIN)/python $(PYTEST)

# The documentation site, in site/. The API reference is read from the installed package.
.venv/docs-installed: .venv/installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	touch $@

docs: .venv/docs-installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The golden tests on the lowest transformers that pyproject.toml declares.
.venv-lowest/installed: pyproject.toml constraints-lowest.txt
	test -x $(LOWEST)/python || $(PYTHON) -m venv .venv-lowest
	$(LOWEST)/python -m pip install --quiet -c constraints-lowest.txt torch
	$(LOWEST)/python -m pip install --quiet -c constraints-lowest.txt -e '.[test]'
	touch $@

lowest: .venv-lowest/installed
	$(ONE_CORE) $(LOWEST)/python $(PYTEST) $(wildcard modeling_tests/*/test_golden_*.py)

# All tests on the newest releases of the index: what fails here will fail for users. Nothing waits for it.
newest:
	test -x $(NEWEST)/python || $(PYTHON) -m venv .venv-newest
	$(NEWEST)/python -m pip install --quiet --upgrade --upgrade-strategy eager -e '.[test,train,eval]'
	$(NEWEST)/python -m pip list | grep --ignore-case --extended-regexp '^(torch|transformers|peft|datasets|accelerate) '
	$(ONE_CORE) $(NEWEST)/python $(PYTEST)
