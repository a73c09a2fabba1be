# `make` alone lists the targets. It needs only make and Python 3.11 or newer with pip.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Frameworks have a separate environment: with TensorFlow or JAX installed, `datasets` and others import them for nothing.
FRAMEWORKS := .venv-frameworks
READY := $(VENV)/.ready
# Libraries that `make bench` compares with are outside the project: some gigabytes.
PEERS ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/augment-bench-peers
export NO_ALBUMENTATIONS_UPDATE := 1

.DEFAULT_GOAL := help
.PHONY: help demo test test-long test-frameworks test-readme harden harden-quick check gate lint bench profile transforms format lock golden settings targets sheets curves clean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY)  ## expand a folder of real photographs, and suggest next steps
	@$(BIN)/python demo/demo.py

# One process for each core and one more, because tests wait. A single one prints as it goes: make test TEST_PROCESSES=0
TEST_PROCESSES ?= $(shell echo $$(($$(nproc) + 1)))

test: $(READY)  ## run the tests and the documentation's examples
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist worksteal

test-long: $(READY)  ## run the slow tests
	$(BIN)/python -m pytest -m long --timeout 1800

# A process for each file: PyTorch's triton crashes in a process that has loaded TensorFlow.
test-frameworks: $(FRAMEWORKS)/.ready  ## run the tests with PyTorch, TensorFlow, JAX and the libraries on top of them
	ls tests/frameworks/test_*.py | xargs -P $(TEST_PROCESSES) -n 1 $(FRAMEWORKS)/bin/python -m pytest -q -m frameworks
	$(FRAMEWORKS)/bin/python -m pytest -m frameworks --ignore tests/frameworks

# BUDGET_S=600 make harden runs the tests that start within ten minutes, and prints how many it skipped.
harden: $(READY)  ## kill, crash and attack; property tests with many examples
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist worksteal --timeout 1800 -m "(harden or hypothesis) and not long and not frameworks" \
		--hypothesis-profile many $(HARDEN)

harden-quick: export BUDGET_S ?= 240
harden-quick: HARDEN := --hypothesis-seed 0
harden-quick: harden  ## the same within four minutes, with the same examples each time

test-readme: $(READY)  ## run every block of the README in a fresh clone, and install the base (minutes)
	PYTHON="$(PYTHON)" $(BIN)/python -m pytest tests/augment/test_extension_points.py tests/acceptance/test_readme.py \
		tests/acceptance/test_installation.py -m readme \
		--timeout 1800

check: lint test test-frameworks test-readme harden-quick gate  ## run everything that CI runs

gate: $(READY)  ## fail if rendering costs much more CPU than before
	$(BIN)/python -m bench.gate

bench: $(READY) $(PEERS)/.ready  ## compare with other loaders on FOLDER of photographs: make bench FOLDER=/path
	$(BIN)/python -m bench "$(FOLDER)" -o bench-output --peers $(PEERS)/bin/python $(BENCH)

profile: $(READY) $(PEERS)/.ready  ## profile the CPU-seconds of a stream: make profile FOLDER=/path
	$(BIN)/python -m bench.profile "$(FOLDER)" --py-spy $(PEERS)/bin/py-spy

transforms: $(READY)  ## measure the cost of transforms, compared with Albumentations' own
	$(BIN)/python -m bench.transforms

lint: $(READY)  ## check format, lint, types and import layers without changes
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(READY)  ## format the code and apply the linter's fixes
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

LOCK := $(BIN)/uv pip compile --quiet --universal --fork-strategy fewest --generate-hashes --no-emit-index-url --no-header
UPGRADE := --upgrade

lock: $(READY)  ## resolve the dependencies again into the locks; make lock UPGRADE= keeps the versions
	$(LOCK) $(UPGRADE) --extra dev pyproject.toml --output-file requirements.lock
	$(LOCK) $(UPGRADE) --no-annotate --extra service --constraint requirements.lock pyproject.toml \
		--output-file requirements-service.lock
	echo 'hatchling>=1.27' | $(LOCK) --no-annotate --constraint requirements.lock - --output-file requirements-build.lock

golden: $(READY)  ## write the golden files again; read their diff before you commit it
	$(BIN)/python -m tests.golden.addresses

settings: $(READY)  ## write docs/settings.md from the settings
	$(BIN)/python -m tests.service.settings_table

targets: $(READY)  ## write the table of docs/targets.md from the catalogue
	$(BIN)/python -m tests.augment.transforms.targets_table

sheets: $(READY)  ## draw a contact sheet of every family of transforms into demo-output/sheets
	$(BIN)/python -m tests.sheets demo-output/sheets

curves: $(READY)  ## draw the curves of docs/normalisation.md again
	$(BIN)/python -m tests.curves docs/images/normalisation.png

clean:  ## remove everything that make created
	rm -rf $(VENV) $(FRAMEWORKS) bench-output demo-output build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find augment service tests demo -name __pycache__ -type d -prune -exec rm -rf {} +

# The pip of $(PYTHON) installs, so that this also works if the system's Python cannot add pip to a new environment. The
# lock has a pip for users who activate the environment.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is missing or older than Python 3.11; choose another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m pip --version >/dev/null 2>&1 || { \
		echo "$(PYTHON) has no pip; install it ($(PYTHON) -m ensurepip, or your system's python3-pip)" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv --without-pip $(VENV)
	@$(PYTHON) demo/installation.py $(BIN)/python requirements.lock
	@$(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
		-e .
	@touch $@

# The lock's versions are constraints, so that no framework changes them. Without their hashes, because pip would then
# require hashes of the frameworks too.
$(FRAMEWORKS)/.ready: requirements.lock pyproject.toml tests/frameworks/requirements.txt
	@test -x $(FRAMEWORKS)/bin/python || $(PYTHON) -m venv --without-pip $(FRAMEWORKS)
	@$(PYTHON) demo/installation.py $(FRAMEWORKS)/bin/python requirements.lock
	@sed -n 's/^\([a-z0-9].*==.*\) \\$$/\1/p' requirements.lock > $(FRAMEWORKS)/constraints.txt
	@echo "Installing the frameworks into $(FRAMEWORKS), some gigabytes (once; again when their list changes)"
	@$(PYTHON) -m pip --python $(FRAMEWORKS)/bin/python install --quiet --disable-pip-version-check \
		--constraint $(FRAMEWORKS)/constraints.txt -r tests/frameworks/requirements.txt
	@$(PYTHON) -m pip --python $(FRAMEWORKS)/bin/python install --quiet --disable-pip-version-check --no-deps \
		--no-build-isolation -e .
	@touch $@

$(PEERS)/.ready: bench/requirements-peers.txt
	@echo "installing the libraries for the comparison into $(PEERS) (once, and when their list changes)"
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv --without-pip $(PEERS)
	@$(PYTHON) -m pip --python $(PEERS)/bin/python install --quiet --disable-pip-version-check -r $<
	@touch $@
