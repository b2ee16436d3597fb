# `make sweep` and `make test` need nothing but Python >= 3.11, make and the package index.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
SPEC   ?= digits-ratio

.PHONY: help sweep papers test test-slow test-faults test-fuzz test-cluster wheel bench bench-pack bench-curvature bench-sweep bench-scale \
  bench-overhead bench-measuring bench-monitors bench-gpu bench-boundary \
  bench-recommend bench-plots lint clean
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

papers: $(READY) ## all presets of scale digits, then the verdicts on the papers' claims (half an hour)
	@for name in digits-ratio $$($(BIN)/sgdscope presets --scale digits --names); do \
	  echo "== $$name"; $(BIN)/sgdscope run $$name || exit; done
	@$(BIN)/sgdscope claims sweeps/digits-ratio sweeps/*-digits

test: $(READY)   ## the test suite, in two processes, each file in one of them
	@$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(READY)  ## the long tests: kills at random moments, full presets
	@$(BIN)/python -m pytest -m slow --timeout 3600

test-faults: $(READY)  ## every fault at every moment of a sweep, on a disk and on S3, 300 schedules: the table
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "faults or not slow" --timeout 3600 tests/faults

test-fuzz: $(READY)  ## 100,000 broken specs and 20,000 broken files: told in words, all of them
	@$(BIN)/python -m pytest -m fuzz --timeout 7200 -s tests/test_fuzz.py

# The peers that benches compare with.
define peers
VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet -e '.[bench]' || $(BIN)/python -m pip install --quiet -e '.[bench]'
endef

wheel: $(READY)  ## dist/sgdscope-….whl, which clusters are set up with
	@$(BIN)/uv build --quiet --wheel || $(BIN)/python -m pip wheel --quiet --no-deps -w dist .

# The three hosts of test-cluster are network namespaces with an sshd each: Linux and root alone.
HOST_TOOLS := openssh-server openssh-client iproute2 rsync procps
test-cluster: $(READY)  ## three hosts on this machine: ray up, doctor, submit, faults (needs root; minutes)
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	    && ! { command -v sshd && command -v ip && command -v rsync && command -v ps; } >/dev/null; then \
	  echo "installing $(HOST_TOOLS) for the three hosts"; \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(HOST_TOOLS) >/dev/null; fi
	@$(BIN)/python -c 'import aiohttp, aiohttp_cors' 2>/dev/null || { echo "installing ray[default] for the cluster"; \
	  VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet -e '.[test,cluster]' || $(BIN)/python -m pip install --quiet -e '.[test,cluster]'; }
	@$(BIN)/python -m pytest -m cluster --timeout 900 -rs tests/hosts

bench: $(READY)  ## pack, curvature, sweep and scale in quick form: ratios, interleaved; JSON in bench/results
	@$(peers)
	@$(BIN)/python -m bench.pack --quick
	@OMP_NUM_THREADS=1 $(BIN)/python -m bench.curvature --quick --only nets,packs
	@$(BIN)/python -m bench.usual_way --share 0.1
	@$(BIN)/python -m bench.scale --runs 100 1000

bench-pack: $(READY)  ## a step of our engines against loops over single runs, at 20 shapes (ARGS=--quick)
	@$(BIN)/python -m bench.pack $(ARGS)

bench-curvature: $(READY)  ## leading Hessian eigenvalues against PyHessian and curvlinops (ARGS=--quick)
	@$(peers)
	@OMP_NUM_THREADS=1 $(BIN)/python -m bench.curvature $(ARGS)

bench-sweep: $(READY)  ## a whole sweep against Ray Tune with one run a trial (ARGS="--share 0.1")
	@$(peers)
	@$(BIN)/python -m bench.usual_way $(ARGS)

bench-scale: $(READY)  ## plan, ledger, commits, compaction, analysis at 100 to 100,000 runs
	@$(BIN)/python -m bench.scale $(ARGS)

bench-overhead: $(READY)  ## what of a sweep's wall clock is neither training nor measuring
	@$(BIN)/python -m bench.overhead $(ARGS)

bench-measuring: $(READY)  ## Hessian products of a pack run by run against all at once
	@OMP_NUM_THREADS=1 $(BIN)/python -m bench.measuring $(ARGS)

bench-monitors: $(READY)  ## what each monitor adds to training: gradient equivalents, seconds
	@$(BIN)/python -m bench.monitors $(ARGS)

bench-gpu:       ## engines on a GPU; any Python with torch and numpy, nothing is installed (PYTHON=…)
	@$(PYTHON) -m bench.gpu $(ARGS)

bench-boundary: $(READY)  ## the boundary of stability where it is known, against a grid of equal resolution
	@OMP_NUM_THREADS=1 $(BIN)/python -m bench.boundary $(ARGS)

bench-recommend: $(READY)  ## learning rates recommended for batch sizes held back (ARGS="--planted 200": coverage)
	@OMP_NUM_THREADS=1 $(BIN)/python -m bench.recommend $(ARGS)

bench-plots: $(READY)  ## docs/figures from the newest results in bench/results
	@$(BIN)/python -m bench.plots $(ARGS)

lint: $(READY)   ## ruff
	@$(BIN)/ruff check orchestrator trainables analysis tests bench

clean:           ## remove the environment (sweeps stay)
	rm -rf $(VENV)
