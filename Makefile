# Everything a person or CI does with the project. Needs make and Python 3.11 to 3.13; the rest is fetched.
#
#   make run [PORT=8000] [STATE=var]   the whole system in sandbox mode, until Ctrl-C
#   make demo                          the same on free ports and a folder of its own, one cycle of money, and stop
#   make test [ARGS=...]               all the tests         make lint   all the checks
#   make bench                         measurements          make lock   write the requirements' locks anew
#   make clean                         remove what was built; the data in STATE stays

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do command -v $$p && break; done)
PORT   ?= 8000
STATE  ?= var
JOBS   ?= 2
ARGS   ?=

BIN    := .venv/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet --require-hashes
CHAIN  := hostpay/sandbox/chain
# Stands for "what is in .venv is what the lock says".
RUN_STAMP   := .venv/.sluice-run
DEV_STAMP   := .venv/.sluice-dev
CHAIN_STAMP := .venv/.sluice-chain

.DEFAULT_GOAL := help
.PHONY: help build build-dev run demo test lint bench lock clean

help:
	@sed -n '/^[^#]/q; /^$$/q; s/^# \{0,1\}//p' Makefile

build: $(RUN_STAMP) $(CHAIN_STAMP)
build-dev: $(DEV_STAMP) $(CHAIN_STAMP)

run: build
	@$(BIN)/python manage.py runstack --with-parent --port $(PORT) --state $(STATE)

demo: build
	@$(BIN)/python manage.py runstack --with-parent --port 0 --temporary --run demo

test: build-dev
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

bench: build-dev
	$(BIN)/python -m tests.bench $(ARGS)

lint: build-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/djlint --check --lint --quiet templates
	$(BIN)/typos
	$(BIN)/python -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run
	env $$(grep -v '^#' .ci/live.env) $(BIN)/python manage.py check --deploy --fail-level WARNING

lock: $(DEV_STAMP)
	$(BIN)/uv pip compile --quiet --generate-hashes --universal -p 3.11 --no-header requirements.in -o requirements.txt
	$(BIN)/uv pip compile --quiet --generate-hashes --universal -p 3.11 --no-header requirements-dev.in -o requirements-dev.txt

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .grimp_cache $(CHAIN)/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
		|| { echo "Python 3.11, 3.12 or 3.13 is needed; name it: make PYTHON=/path/to/python3.11"; exit 1; }
	"$(PYTHON)" -m venv .venv

$(RUN_STAMP): requirements.txt | $(BIN)/python
	$(PIP) -r requirements.txt
	@touch $@

$(DEV_STAMP): requirements-dev.txt | $(BIN)/python
	$(PIP) -r requirements-dev.txt
	@touch $@ $(RUN_STAMP)

$(CHAIN_STAMP): $(CHAIN)/package-lock.json | $(RUN_STAMP)
	@$(BIN)/python -m hostpay.sandbox.anvil install >/dev/null
	@touch $@
