# The two commands of the README. Each makes .venv if it is missing; nothing else is needed before.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint format lowest

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test,train,eval]'
	touch $@

demo: .venv/installed
	$(BIN)/python examples/speak/demo.py --output demo
	$(BIN)/python examples/speak/codec_round_trip.py --output demo

test: .venv/installed
	$(BIN)/python -m pytest -n auto

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The golden tests on the lowest transformers that pyproject.toml declares.
LOWEST := .venv-lowest/bin

.venv-lowest/installed: pyproject.toml constraints.txt constraints-lowest.txt
	test -x $(LOWEST)/python || $(PYTHON) -m venv .venv-lowest
	$(LOWEST)/python -m pip install --quiet -c constraints.txt torch
	$(LOWEST)/python -m pip install --quiet -c constraints.txt -c constraints-lowest.txt -e '.[test]'
	touch $@

lowest: .venv-lowest/installed
	$(LOWEST)/python -m pytest -n auto $(wildcard modeling_tests/*/test_golden_*.py)
