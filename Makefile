# evo: `make run` evolves a softmax kernel for this CPU, `make test` runs all tests. Both set up what they need, once.

VENV  ?= .venv
BIN   := $(VENV)/bin
CXX_FOUND = $(shell for c in $$CXX g++ clang++; do command -v $$c && break; done 2>/dev/null)
# The newest Python on the path that is new enough; `make PYTHON=/path/to/python3` overrides it.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
PIP   := $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet
# The folder itself on the path: a finder hook, the other way of an editable install, is asked only after the path, so that a mere
# data folder named `archive` in the working folder would hide our package.
EDIT  := --config-settings editable_mode=compat --editable
CONFIG ?= experiments/softmax.yaml
TESTS  ?= tests
PYTEST ?= $(BIN)/python -m pytest
# Tests at a time; those that want the machine for themselves come last, one by one. 5: there are none of a kind.
JOBS   ?= 2
both = @failed=0; \
	$(PYTEST) -n $(JOBS) --dist worksteal -m "not alone$(1)" $(TESTS) || [ $$? -eq 5 ] || failed=1; \
	$(PYTEST) -m "alone$(1)" $(TESTS) || [ $$? -eq 5 ] || failed=1; \
	exit $$failed

.PHONY: run test quick lint types floors bench clean help compiler
.DEFAULT_GOAL := help

help:
	@echo "make run     evolve a kernel for this CPU (CONFIG=$(CONFIG))"
	@echo "make test    run all tests (TESTS=tests/archive for some)"
	@echo "make quick   run the tests that are not slow"
	@echo "make lint    ruff      make types   mypy --strict      make floors   who may import whom"
	@echo "make bench   measure what the framework itself costs; writes experiments/results/"
	@echo "make clean   remove the environment and everything generated except runs/"

run: $(VENV)/.evo-base compiler
	@$(BIN)/python -m evo run $(CONFIG)

test: $(VENV)/.evo-test compiler
	$(call both,)

quick: $(VENV)/.evo-test compiler
	$(call both, and not slow)

lint: $(VENV)/.evo-test
	$(BIN)/ruff check .

types: $(VENV)/.evo-test
	$(BIN)/mypy

floors: $(VENV)/.evo-test
	$(BIN)/lint-imports

bench: $(VENV)/.evo-base compiler
	@$(BIN)/python experiments/bench $(BENCH)

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment is made once; it is brought up to date when the requirements change.

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "evo needs Python 3.11 or newer; python3 here is: $$(python3 --version 2>&1 || echo missing)" >&2; \
		echo "  install one (Debian, Ubuntu: apt install python3 python3-venv) or name one: make PYTHON=/path/to/python3.12" >&2; \
		exit 2; fi
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments: its venv module is a package of its own on Debian and Ubuntu." >&2; \
		echo "  apt install python3-venv      (or: make VENV=/path/to/an/existing/environment)" >&2; \
		exit 2; }
	@echo "Setting up $(VENV) (once) …"
	@$(PYTHON) -m venv --clear $(VENV)

$(VENV)/.evo-base: setup.cfg pyproject.toml | $(BIN)/python
	@echo "Installing evo into $(VENV) …"
	@$(PIP) $(EDIT) .
	@touch $@

$(VENV)/.evo-test: setup.cfg pyproject.toml | $(BIN)/python
	@echo "Installing evo and its test tools into $(VENV) …"
	@$(PIP) $(EDIT) '.[test]'
	@touch $(VENV)/.evo-base $@

compiler:
	@if [ -z "$(CXX_FOUND)" ]; then \
		echo "evo needs a C++ compiler: found no g++ and no clang++ on the path." >&2; \
		echo "  Debian, Ubuntu: apt install g++      (or name one: make CXX=/path/to/g++)" >&2; \
		exit 2; fi
