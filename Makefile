# make demo    installs vmsieve into .venv and makes a small dump of a real one
# make test    installs it for development into .venv-dev: lint, types, tests
# make fuzz    random damage, a minute per parser
# make perf-check  did speed regress? CPU time in units of C code, a minute; before a release
# make wheel   builds dist/vmsieve-*.whl, with machine code for six architectures
# make release-check  the checklist of a release; make release-check SKIP="test perf" leaves out steps
# make constraints    constraints.txt: the versions that are installed for development
#
# PY names the Python to start from: make test PY=python3.12
# CONSTRAINTS names a file with the versions to install: make test CONSTRAINTS=constraints.txt

PY ?= python3

RUN := .venv/bin
DEV := .venv-dev/bin
DEMO := .demo

SOURCES := $(shell find $(PACKAGE) -name '*.py') pyproject.toml hatch_build.py

PACKAGE := src/vmsieve
OBJECTS := $(PACKAGE)/formats/compiler/objects
ROOMS := formats/compiler formats/loops formats/codecs filters/loops filters/rules
LOOPS := $(wildcard $(ROOMS:%=$(PACKAGE)/%/*.py))
LOWER = $(DEV)/python -c 'import pathlib, vmsieve.formats.compiler.lowering as lowering; lowering.$(1)(pathlib.Path("$(OBJECTS)"))'

.PHONY: demo test lint types pytest fuzz perf-check dev loops wheel release-check constraints clean

demo: .venv/installed $(DEMO)/vmcore
	@printf '\n== What is this dump? ==\n'
	$(RUN)/vmsieve info $(DEMO)/vmcore
	@printf '\n== Leave out all that is not the kernel'"'"'s, and pack the rest ==\n'
	$(RUN)/vmsieve dump -d 31 -f $(DEMO)/vmcore $(DEMO)/dump
	@printf '\n== Is every page that was kept the same as before? ==\n'
	$(RUN)/vmsieve verify $(DEMO)/vmcore $(DEMO)/dump
	@printf '\nThe dump is $(DEMO)/dump.\n'

test: lint types pytest

lint: .venv-dev/installed
	$(DEV)/ruff check
	$(DEV)/ruff format --check

types: .venv-dev/installed
	$(DEV)/mypy

# One worker per core, up to four; WORKERS=0 for a debugger.
WORKERS ?= auto
TESTS := $(DEV)/python -m pytest -q -n $(WORKERS) --maxprocesses 4 --dist worksteal
pytest: dev
	$(TESTS) $(PYTEST)

# Random damage to each parser, for this number of seconds.
SECONDS_EACH ?= 60
fuzz: .venv-dev/installed
	VMSIEVE_FUZZ_SECONDS=$(SECONDS_EACH) $(TESTS) tests/fuzz

perf-check: dev
	$(DEV)/python -m perf.check

dev: .venv-dev/installed $(OBJECTS)/digest

loops: .venv-dev/installed
	$(call LOWER,build)

# Machine code older than its sources: rebuilt if their content has changed.
$(OBJECTS)/digest: $(LOOPS) | .venv-dev/installed
	$(call LOWER,refresh)
	@touch $@

wheel: .venv-dev/installed
	$(DEV)/python -m hatchling build -t wheel -d dist

release-check: dev
	$(DEV)/python -m release.check $(SKIP:%=--skip %)

constraints: .venv-dev/installed
	{ echo "# Versions that CI tests with, and a release is built with; written by 'make constraints'."; \
	  $(DEV)/python -m pip freeze -q --exclude-editable; } >constraints.txt

clean:
	rm -rf .venv .venv-dev $(DEMO) dist build $(OBJECTS) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Debian splits ensurepip off Python. Without it, virtualenv or pip itself installs pip; else root installs the package.
VENV_PACKAGE = $(shell $(PY) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
APT := DEBIAN_FRONTEND=noninteractive apt-get -qq
.venv/made .venv-dev/made:
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "make: building needs Python 3.10 or later (the built wheel runs on 3.9): make PY=python3.12" >&2; exit 1; }
	@rm -rf $(@D)
	@$(PY) -m venv $(@D) >/dev/null 2>&1 \
	  || $(PY) -m virtualenv -q $(@D) >/dev/null 2>&1 \
	  || { $(PY) -m venv --clear --without-pip $(@D) && $(PY) -m pip --python $(@D)/bin/python install -q pip; } \
	    >/dev/null 2>&1 \
	  || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	    && echo "make: apt-get install $(VENV_PACKAGE): $(PY) needs it to make a virtual environment" \
	    && { $(APT) install --yes $(VENV_PACKAGE) || { $(APT) update && $(APT) install --yes $(VENV_PACKAGE); }; } \
	      >/dev/null 2>&1 \
	    && $(PY) -m venv --clear $(@D); } \
	  || { rm -rf $(@D); \
	    echo "make: $(PY) can't make a virtual environment; on Debian and Ubuntu, as root: apt install $(VENV_PACKAGE)" >&2; \
	    exit 1; }
	@touch $@

# The second variable is for what a build needs, from pip 25.3 on.
PIP_INSTALL = $(if $(CONSTRAINTS),PIP_CONSTRAINT=$(abspath $(CONSTRAINTS)) PIP_BUILD_CONSTRAINT=$(abspath $(CONSTRAINTS))) \
  $(@D)/bin/python -m pip install -q

.venv/installed: .venv/made $(SOURCES)
	$(PIP_INSTALL) .
	@touch $@

.venv-dev/installed: .venv-dev/made pyproject.toml hatch_build.py
	$(PIP_INSTALL) -e '.[dev]'
	@touch $@

$(DEMO)/vmcore: tests/demo/demo.elf.zst .venv/installed
	@mkdir -p $(DEMO)
	$(RUN)/python -c 'import sys, zstandard; zstandard.ZstdDecompressor().copy_stream(*map(open, sys.argv[1:], ("rb", "wb")))' \
	  $< $@.part
	@mv $@.part $@
