# Every habit of the project. `make help` lists them. Each target installs what it needs into .venv;
# the stamp files there make a second run quick.

PYTHON ?= python3
# torch comes first, so that nothing later picks another build of it. Which build of the pinned version that is
# (for the CPU, or for a GPU) depends on the package index that pip is set up with. To take it from elsewhere:
#   make demo TORCH="torch==2.13.0 --index-url <the index with the build for your machine>"
TORCH ?= torch==2.13.0
PYTEST_ARGS ?=
# What tests look at, of all that `python -m materials --list` shows.
MATERIALS := minilm vader efficientnet-lite0 fashion-mnist centernet-coco bergamot-en-pt homeassistant-pt \
  smollm2-135m-4 nlp-corpus whisper-tiny.en asterisk-en resemblyzer joe

VENV := .venv
SETFIT := .venv-setfit
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
REQUIREMENTS := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.PHONY: demo test test-slow lint fix bench setfit docs lock clean help materials browser

demo: $(VENV)/core.stamp  ## fine-tune MiniLM on 10,605 movie sentences; leaves an HTML report in runs/
	$(BIN)/python -m materials minilm vader
	$(BIN)/regraft tune examples/movie_sentiment.yaml
	@echo "Open in a browser: $$(ls -t runs/*/report.html | head -n 1)"

test: lint materials browser  ## all checks, then the tests but those that take minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

test-slow: $(VENV)/dev.stamp materials browser  ## the tests that take minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m slow $(PYTEST_ARGS)

lint: $(VENV)/dev.stamp  ## ruff, mypy and the floors of the house; changes nothing
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(VENV)/dev.stamp  ## let ruff repair and format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/dev.stamp  ## side by side with other ways to do the same, in one run
	$(BIN)/python -m materials minilm vader efficientnet-lite0 fashion-mnist whisper-tiny.en asterisk-en
	$(BIN)/python -m benchmarks

setfit: $(SETFIT)/stamp  ## an environment for SetFit, a peer in benchmarks/few_labels.py

docs: $(VENV)/dev.stamp  ## the reference of the Python interface, as HTML in build/docs
	$(BIN)/python -m pdoc --docformat markdown --output-directory build/docs regraft
	@echo "Open in a browser: build/docs/index.html"

# A fresh environment, so that nothing is pinned that the project does not ask for. A local build tag (+cpu) is
# dropped: the pin has to hold for every build of that version.
lock:  ## choose the newest versions that fit pyproject.toml and pin them in constraints.txt
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet $(TORCH)
	build/lock/bin/python -m pip install --quiet -e ".[dev]"
	sed '/^[^#]/,$$d' constraints.txt > build/lock/constraints.txt
	build/lock/bin/python -m pip freeze --exclude-editable | sed 's/+[a-z0-9.]*$$//' >> build/lock/constraints.txt
	mv build/lock/constraints.txt constraints.txt && rm -rf build/lock

clean:  ## remove the environments, caches and build products; runs/ and the materials stay
	rm -rf $(VENV) $(SETFIT) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find src tests materials -name __pycache__ -type d -prune -exec rm -rf {} +

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/\1|\2/p' $(MAKEFILE_LIST) \
	  | while IFS='|' read -r target text; do printf '  make %-10s %s\n' "$$target" "$$text"; done

# Apart from ours, so that neither has to take the other's versions.
$(SETFIT)/stamp: benchmarks/setfit.txt
	@$(SETFIT)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(SETFIT)
	$(SETFIT)/bin/python -m pip install --quiet $(TORCH)
	$(SETFIT)/bin/python -m pip install --quiet -r benchmarks/setfit.txt
	@touch $@

# Offline is no reason not to test: what cannot be fetched is named, and the tests that need it say so and skip.
materials: $(VENV)/dev.stamp
	-@$(BIN)/python -m materials $(MATERIALS)

browser:
	@if command -v chromium >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium chromium-driver >/dev/null \
	    || echo "Chromium could not be installed: the tests of the report in a browser will be skipped."; \
	else \
	  echo "There is no Chromium here: the tests of the report in a browser will be skipped."; \
	fi

$(VENV)/torch.stamp: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "regraft needs Python 3.11 or newer; name one: make PYTHON=...")'
	@$(PIP) --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet -c constraints.txt $(TORCH)
	@touch $@

$(VENV)/core.stamp: $(VENV)/torch.stamp $(REQUIREMENTS)
	$(PIP) install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/core.stamp
	$(PIP) install --quiet -c constraints.txt -e ".[dev]"
	@touch $@
