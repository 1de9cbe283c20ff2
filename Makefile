# Everything a fresh machine needs: `make cosim` runs the main job, `make test` passes the tests.
# Asks for Python >= 3.11, a C++ compiler, make and perl; the rest comes from PyPI into .venv.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
JOBS ?= 2

.PHONY: cosim test bench paper-test install dev icarus lint types clean

cosim: install
	$(BIN)/nomul cosim

# Neighbours in the list share what they compile, so each process begins with a stretch of it.
test: dev icarus
	$(BIN)/pytest -n $(JOBS) --dist worksteal

# The speed beside torch; DATA names a folder with MNIST.
bench: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	$(BIN)/python -m benchmarks.speed $(if $(DATA),--data $(DATA))

# The float reference of the paper, which needs torch.
paper-test: dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[paper]'
	$(BIN)/pytest tests/paper/check_float_reference.py

install: $(VENV)/.installed

dev: $(VENV)/.installed-dev

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "nomul needs Python >= 3.11; name one with PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

# Icarus is the one thing that PyPI does not have.
icarus:
	@command -v iverilog >/dev/null || { \
		sudo=$$(test "$$(id -u)" = 0 || echo sudo); \
		{ command -v apt-get && $$sudo apt-get update -qq && $$sudo apt-get install -y -qq iverilog; } >/dev/null || { \
		echo "make: Icarus Verilog is missing and could not be installed: install your system's package" \
			"'iverilog' (or 'icarus-verilog') and run 'make test' again" >&2; exit 1; }; }

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: dev
	$(BIN)/mypy

clean:
	rm -rf $(VENV) nomul-out .pytest_cache .mypy_cache .ruff_cache
