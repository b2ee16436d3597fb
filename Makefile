# `make sweep` and `make test` need nothing but Python >= 3.11, make and the package index.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
SPEC   ?= digits-ratio

.PHONY: help sweep test test-slow bench bench-monitors bench-overhead lint clean
help:            ## what there is
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 18

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "sgdscope needs Python 3.11 or newer; this is $$($(PYTHON) -V). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "setting up $(VENV) (torch and Ray: up to a few minutes the first time)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv \
	  && VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --compile-bytecode -e '.[test]' \
	  || $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

sweep: $(READY)  ## run the main sweep (SPEC=digits-ratio) into ./sweeps, to its report
	@$(BIN)/sgdscope run $(SPEC)

test: $(READY)   ## the test suite
	@$(BIN)/python -m pytest

test-slow: $(READY)  ## the long tests: kills at random moments, full presets
	@$(BIN)/python -m pytest -m slow --timeout 3600

bench: $(READY)  ## benchmarks: ratios, interleaved
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet -e '.[bench]' || $(BIN)/python -m pip install --quiet -e '.[bench]'
	@$(BIN)/python -m bench.usual_way

bench-monitors: $(READY)  ## what each monitor adds to training: gradient equivalents, seconds
	@$(BIN)/python -m bench.monitors

bench-overhead: $(READY)  ## what of a sweep's wall clock is neither training nor measuring
	@$(BIN)/python -m bench.overhead $(ARGS)

bench-curvature: $(READY)  ## leading Hessian eigenvalues against PyHessian and curvlinops (ARGS=--quick)
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet -e '.[bench]' || $(BIN)/python -m pip install --quiet -e '.[bench]'
	@OMP_NUM_THREADS=1 $(BIN)/python -m bench.curvature $(ARGS)

lint: $(READY)   ## ruff
	@$(BIN)/ruff check orchestrator trainables analysis tests bench

clean:           ## remove the environment (sweeps stay)
	rm -rf $(VENV)
