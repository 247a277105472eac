# Every target makes .venv by itself when it is missing or older than pyproject.toml.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BENCH_READY := $(VENV)/.ready-bench
DOCS_READY := $(VENV)/.ready-docs

.PHONY: install demo test test-all lint docs bench clean

install: $(READY)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $(READY)

$(BENCH_READY): $(READY)
	$(BIN)/python -m pip install --quiet --editable '.[dev,timm,oracles]'
	@touch $(BENCH_READY)

demo: $(READY)
	$(BIN)/withstand demo

# Many tests start processes, which would all compile the library anew were its compiled modules not kept.
test: $(READY)
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

# With the slow tests, the comparisons with peer libraries, and new examples for property tests.
test-all: $(BENCH_READY)
	HYPOTHESIS_PROFILE=default $(BIN)/python -m pytest -m ''

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(DOCS_READY): $(READY)
	$(BIN)/python -m pip install --quiet --editable '.[dev,docs]'
	@touch $(DOCS_READY)

# The site, in docs/_build/index.html.
docs: $(DOCS_READY)
	$(BIN)/python -m sphinx -j 2 -q docs docs/_build

bench: $(BENCH_READY)
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) build dist docs/_build docs/api
