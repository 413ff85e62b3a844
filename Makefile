# Two commands: `make demo` and `make test`. Everything hangs on one stamp: the virtual environment in .venv.
.DELETE_ON_ERROR:
.PHONY: demo test lint types unit bench bench-peers soak clean

PYTHON ?= python3
BIN := .venv/bin
REPORTS := .cache
# Tests start hundreds of processes: each would compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

demo: .venv/.stamp
	$(BIN)/shivya demo

test: lint types unit

lint: .venv/.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.stamp
	$(BIN)/mypy

# Two workers: JAX compiles on every core it finds, more processes only fight. One compile cache, in the checkout.
unit: .venv/.stamp .venv/.system
	@mkdir -p $(REPORTS)
	$(BIN)/pytest -n 2 --dist worksteal --cov --cov-report=term:skip-covered --cov-fail-under=80

PEERS := $(REPORTS)/peers
RIVALS := benchmarks/bench_kademlia.py $(wildcard benchmarks/bench_peer_*.py)

bench: .venv/.stamp
	@for script in $(filter-out $(RIVALS),$(wildcard benchmarks/bench_*.py)); do \
	  echo "== $$script"; $(BIN)/python $$script || exit 1; done
	@$(BIN)/python benchmarks/report.py

# Beside other libraries, which go to a folder of their own (1.3 GB), never into the environment.
bench-peers: .venv/.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --target $(PEERS) --upgrade \
	  --constraint constraints.txt --requirement benchmarks/peers.txt
	@for script in $(RIVALS); do echo "== $$script"; PYTHONPATH=$(PEERS) $(BIN)/python $$script || exit 1; done
	@$(BIN)/python benchmarks/report.py

soak: .venv/.stamp
	$(BIN)/pytest -m soak -n 2 --timeout 3600 -o addopts="--import-mode=importlib --strict-markers"

.venv/.stamp: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Shivya needs Python 3.11 or newer; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "This Python cannot make virtual environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	@if command -v uv >/dev/null 2>&1; then set -x; \
	  uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'; \
	else set -x; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'; \
	fi
	@touch $@

# Programs that only tests need, as command:package of Debian. As root they are installed, once; whatever stays missing
# fails no build: the tests that need it are skipped, and say so (CONTRIBUTING.md).
SYSTEM := nft:nftables ip:iproute2 chromium:chromium etcd:etcd-server nc:netcat-openbsd socat:socat curl:curl \
  jq:jq man:man-db pgrep:procps sqlite3:sqlite3 zsh:zsh fish:fish

.venv/.system: Makefile | .venv/.stamp
	@lacking() { for pair in $(SYSTEM); do command -v $${pair%:*} >/dev/null || printf '%s ' $${pair#*:}; done; }; \
	install() { timeout 300 apt-get install -qq --no-install-recommends $$(lacking) >/dev/null 2>&1; }; \
	if [ -n "$$(lacking)" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  export DEBIAN_FRONTEND=noninteractive; \
	  install || { timeout 300 apt-get update -qq >/dev/null 2>&1 && install; } || true; \
	fi; \
	[ -z "$$(lacking)" ] || echo "Not installed, so some tests will be skipped: $$(lacking)"
	@touch $@

clean:
	rm -rf .venv .cache .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache
