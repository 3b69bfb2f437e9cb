# What a checkout can do. Each command makes its virtual environment if it is missing; nothing else is needed before.
PYTHON ?= python3
BIN := .venv/bin
LOWEST := .venv-lowest/bin
NEWEST := .venv-newest/bin

# Where torch comes from beside the default index. Without an NVIDIA GPU it is a build for the CPU, of 200 MB in place of several GB.
# `make demo TORCH_INDEX=https://download.pytorch.org/whl/rocm6.4` takes another one.
TORCH_INDEX ?= $(if $(shell command -v nvidia-smi),,https://download.pytorch.org/whl/cpu)
# Installs $(3) with the constraints $(2) for the python $(1), and shows what is downloaded and how much.
define install
	$(1)/python -m pip install --no-deps --progress-bar off -c $(2) --retries 1 $(addprefix --extra-index-url ,$(TORCH_INDEX)) torch | $(SHOWN)
	$(1)/python -m pip install --progress-bar off -c $(2) -e '$(3)' | $(SHOWN)
endef
# A comma would end an argument of `call`.
ALL := test,train,eval,serve,ray
SHOWN := { grep --line-buffered --only-matching --extended-regexp '^ *Downloading .*' || true; }
# Fails where pip does, not where what is shown ends.
SHELL := bash
.SHELLFLAGS := -o pipefail -c

# A worker that is idle takes tests of the others; torch has one core in each. A line of progress is always shown.
PYTEST := -m pytest -n auto --dist worksteal
# Files that are read in a moment need no bar.
QUIET := HF_HUB_DISABLE_PROGRESS_BARS=1
ONE_CORE := OMP_NUM_THREADS=1

.PHONY: demo docs test torture lint format lowest newest

# What speaking needs.
.venv/demo: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo 'Installing into .venv about 55 packages, 1.3 GB, most of it torch:'
	$(call install,$(BIN),constraints.txt,.[demo])
	touch $@

# And the rest, in the same place.
.venv/installed: .venv/demo
	@echo 'Installing into .venv what tests, training, evaluation and serving need, 130 packages more, 2 GB:'
	$(call install,$(BIN),constraints.txt,.[$(ALL)])
	touch $@

demo: .venv/demo
	@$(QUIET) $(BIN)/python examples/speak/demo.py --output demo
	@$(QUIET) $(BIN)/python examples/speak/codec_round_trip.py --output demo

# All tests on the newest transformers that was tried, which constraints.txt names.
test: .venv/installed
	$(ONE_CORE) $(BIN)/python $(PYTEST)

# Thousands of odd inputs, and processes that are killed while they write. `make torture SEED=5` repeats the inputs of a seed.
SEED := $(or $(SEED),$(shell date +%s))
torture: .venv/installed
	@echo 'seed $(SEED)'
	TORTURE_INPUTS=5000 TORTURE_SEED=$(SEED) $(ONE_CORE) $(BIN)/python $(PYTEST) modeling_tests/fuzz
	$(ONE_CORE) $(BIN)/python $(PYTEST) -m torture

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
	$(call install,$(LOWEST),constraints-lowest.txt,.[test])
	touch $@

lowest: .venv-lowest/installed
	$(ONE_CORE) $(LOWEST)/python $(PYTEST) $(wildcard modeling_tests/*/test_golden_*.py)

# All tests on the newest releases of the index: what fails here will fail for users. Nothing waits for it.
newest:
	test -x $(NEWEST)/python || $(PYTHON) -m venv .venv-newest
	$(NEWEST)/python -m pip install --quiet --upgrade --upgrade-strategy eager -e '.[$(ALL)]'
	$(NEWEST)/python -m pip list | grep --ignore-case --extended-regexp '^(torch|transformers|peft|datasets|accelerate) '
	$(ONE_CORE) $(NEWEST)/python $(PYTEST)
