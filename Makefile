# Trapline. `make demo` needs Python 3.11 or newer, make and a network; `make test` sets up the rest.
# Everything lives in .venv; stamps there make a second run quick.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; exit; }; done)
VENV := .venv
PY := $(VENV)/bin/python
STAMPS := $(VENV)/.stamps
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
PACKAGE := pyproject.toml hatch_build.py $(wildcard vmm/cpu/accelerator/*.[ch])
# A compiler that came after the install: build the accelerator now
UNBUILT := $(if $(wildcard vmm/cpu/_accel.so),,$(if $(shell command -v cc || command -v gcc || command -v clang),again))
SNARE := $(VENV)/snare.vhd
PYTEST_ARGS ?=
PARALLEL := -n 2 --dist worksteal

.DELETE_ON_ERROR:
.PHONY: again help demo test verify ready bench bench-techniques docs lint style types layers debian clean

help:
	@echo 'make demo    boot our toy operating system from a VHD and show what left the guest'
	@echo 'make test    lint, types, layers and every test that is not too long'
	@echo 'make verify  every proof, however long'
	@echo 'make bench   the benchmark, ratios against QEMU'
	@echo 'make bench-techniques  operations of a kernel under every technique, exits and cycles of each'
	@echo 'make docs    the documentation, in docs/_build/html'
	@echo 'make clean   remove all that was made'

again:

demo: $(SNARE)
	$(VENV)/bin/trapline run $(SNARE) --serial file:$(VENV)/snare.txt --timeout 60
	@echo 'Every line of the self-test: $(VENV)/snare.txt. Use the system: $(VENV)/bin/trapline run guest:snare'

test: ready
	$(PY) -m pytest $(PARALLEL) -m 'not verify' $(PYTEST_ARGS)

verify: ready
	$(PY) -m pytest $(PARALLEL) --timeout=3600 $(PYTEST_ARGS)

# Side by side, since much of it waits for the network; with the packages a compiler may have come
ready:
	@$(MAKE) --no-print-directory --jobs=4 lint debian
	@$(MAKE) --no-print-directory --silent $(STAMPS)/test

bench: $(STAMPS)/test debian
	$(PY) -m tests.benchmarks

bench-techniques: $(STAMPS)/test debian
	$(PY) -m tests.benchmarks --only '^technique'

docs: $(STAMPS)/docs
	$(PY) -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo docs/_build/html/index.html

lint: style types layers

style: $(STAMPS)/test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(STAMPS)/test
	$(VENV)/bin/mypy

layers: $(STAMPS)/test
	$(VENV)/bin/lint-imports

debian:
	@sh .ci/debian-packages

clean:
	rm -rf $(VENV) build dist docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .benchmarks
	rm -f vmm/cpu/_accel.so vmm/cpu/_accel.txt
	find vmm devices disks tests guests -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMPS)/venv:
	@test -n '$(PYTHON)' || { echo 'trapline needs Python 3.11 or newer; name one: make PYTHON=/path/to/python3' >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "$(PYTHON) cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/install: $(STAMPS)/venv $(PACKAGE) $(UNBUILT)
	$(PIP) --editable .
	@touch $@

$(STAMPS)/test: $(STAMPS)/venv $(PACKAGE) $(UNBUILT)
	$(PIP) --no-compile --editable '.[test,docs]'  # most of its 4,000 modules are never loaded
	@touch $@ $(STAMPS)/install

$(STAMPS)/docs: $(STAMPS)/venv $(PACKAGE)
	$(PIP) --editable '.[docs]'
	@touch $@

$(SNARE): $(STAMPS)/install $(wildcard guests/snare/*.py guests/snare/snare.* guests/snare/boot.bin)
	@rm -f $@
	$(PY) guests/snare/build.py vhd $@ --append exit
