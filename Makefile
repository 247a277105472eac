# Every target makes .venv by itself when it is missing or older than pyproject.toml.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BENCH_READY := $(VENV)/.ready-bench
DOCS_READY := $(VENV)/.ready-docs

.PHONY: install demo test test-thorough test-all wheel test-wheel test-lowest test-newest lint docs docs-check bench clean

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

# What takes many seconds: claims, examples, whole runs, several processes, the cross-check of certifiers.
test-thorough: $(READY)
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m thorough

# With the thorough and the slow tests, the comparisons with peer libraries, and new examples for property tests.
test-all: $(BENCH_READY)
	HYPOTHESIS_PROFILE=default $(BIN)/python -m pytest -m ''

# A part of the tests that needs no extra, on every floor: what is run in other environments than the usual one.
CORE := tests/unit/core tests/unit/engine/test_fit.py tests/unit/attacks/inputs tests/unit/verification/bounds/test_bounds.py
CORE_METHODS := (SimCLR or MAE or TJEPA or TRADES) and not two_processes
ELSEWHERE := env -u PYTHONPATH OMP_NUM_THREADS=1

# The wheel: the package, its data and py.typed, and nothing besides.
wheel: $(READY)
	rm -rf dist/wheel
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist/wheel .
	$(BIN)/python tools/wheel_content.py dist/wheel/*.whl

# The wheel in an environment of what it requires, linked from .venv; DOWNLOAD=--download has pip bring all of it.
test-wheel: wheel
	$(BIN)/python tools/bare_environment.py $(DOWNLOAD) dist/bare dist/wheel/*.whl pytest hypothesis
	$(ELSEWHERE) dist/bare/bin/withstand doctor
	$(ELSEWHERE) dist/bare/bin/withstand demo --pictures 200 --epochs 1 --fresh --out dist/bare-demo
	$(ELSEWHERE) dist/bare/bin/python -m pytest -p no:cacheprovider $(CORE)
	$(ELSEWHERE) dist/bare/bin/python -m pytest -p no:cacheprovider tests/contract/test_method_contract.py -k "$(CORE_METHODS)"

# The lowest versions that the wheel allows; of torch too with DOWNLOAD=--download, some gigabytes.
test-lowest: wheel
	$(BIN)/python tools/bare_environment.py --lowest $(DOWNLOAD) dist/lowest dist/wheel/*.whl pytest hypothesis
	$(ELSEWHERE) dist/lowest/bin/python -m pytest -p no:cacheprovider $(CORE)
	$(ELSEWHERE) dist/lowest/bin/python -m pytest -p no:cacheprovider tests/contract/test_method_contract.py -k "$(CORE_METHODS)"

# The newest versions there are of everything, in .venv.
test-newest: $(READY)
	$(BIN)/python -m pip install --quiet --upgrade --upgrade-strategy eager --editable '.[dev]'
	$(MAKE) test

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
	$(BIN)/python -m sphinx -j 2 -q -W --keep-going docs docs/_build

# The written pages alone, without the API's: seconds, and any warning fails.
docs-check: $(DOCS_READY)
	$(BIN)/python -m sphinx -b dummy -q -W --keep-going -t pages docs docs/_build/check

bench: $(BENCH_READY)
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) build dist docs/_build docs/api
