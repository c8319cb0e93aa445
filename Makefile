# `make demo` and `make test` need Python 3.11 or newer and nothing else. What a command installs
# goes into .venv, once, and again when pyproject.toml changes. ARGS is passed on:
#   make demo ARGS="--plain --speed max"    make test ARGS="-k submit"    make check ARGS="ruff"

.DEFAULT_GOAL := help
.PHONY: help demo test lowest check bench docs soak clean
.SECONDARY:

PYTHON = $(shell for python in python3.14 python3.13 python3.12 python3.11 python3 python; do \
  $$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
  && echo $$python && break; done)
BIN := .venv/bin

# Where Python is told to write no bytecode, each process of the tests would compile all anew.
export PYTHONDONTWRITEBYTECODE =

help:  ## list the commands
	@sed -n 's/^\([a-z]*\):.*## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: .venv/.demo  ## replay real flights on a server that starts by itself
	@$(BIN)/octavo demo $(ARGS)

test: .venv/.test  ## run the tests
	@$(BIN)/python -m pytest -n auto --dist loadgroup $(ARGS)

lowest: .venv-lowest/.test  ## run the tests with the oldest dependencies allowed
	@.venv-lowest/bin/python -m pytest -n auto --dist loadgroup $(ARGS)

check: .venv/.check  ## lint, types, scripts, imports and the docs' code
	@$(BIN)/python tools/check.py $(ARGS)

bench: .venv/.bench  ## measure against redis-py, the peers and the raw limit
	@$(BIN)/python -m bench $(ARGS)

docs: .venv/.docs  ## build the documentation into site/
	@$(BIN)/zensical build $(ARGS)

soak: .venv/.test  ## run the tests that take minutes of load
	@$(BIN)/python -m pytest -m soak --all-faces --timeout 1800 $(ARGS)

clean:  ## remove the environment and everything built
	rm -rf .venv .venv-lowest build dist site .mypy_cache .pyrefly_cache .pytest_cache .ruff_cache .hypothesis

.venv/.demo: GROUP =
.venv/.%: GROUP = --group $*

.venv/.%: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'  # which knows dependency groups
	$(BIN)/python -m pip install --quiet --editable '.[all]' $(GROUP)
	@touch $@

.venv-lowest/.test: pyproject.toml
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet uv
	.venv-lowest/bin/uv pip install --quiet --python .venv-lowest --resolution lowest-direct \
	  --editable '.[all]' --group test
	@touch $@

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "octavo needs Python 3.11 or newer with venv (on Debian and\
	 Ubuntu: apt install python3-venv); none is on the PATH" >&2; exit 1; }
	$(PYTHON) -m venv .venv
