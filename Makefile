# Every target bootstraps its own .venv: nothing but Python >= 3.11 and make is needed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: demo test check bench replay faults fuzz clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    the main job on simulated devices, with an upstream that is cut off twice"
	@echo "make test    the tests"
	@echo "make check   format, lint, strict types, rule tests, the example configurations"
	@echo "make bench   speed, beside mosquitto in the same run; prints a table"
	@echo "make faults  kill -9 and power cuts for ten minutes; prints the seed that repeats them"
	@echo "make fuzz    spoiled packets into the hub, and into a whole gateway, for a minute"
	@echo "make replay  a real machine's temperature through threshold and anomaly rules"

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || (echo "Redcar needs Python 3.11 or newer; name one with: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[demo,fast,dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/redcar demo $(ARGS)

test: $(STAMP)
	$(BIN)/pytest $(ARGS)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/redcar rules test rules/library
	$(BIN)/redcar check hardware/*/redcar.toml

bench: $(STAMP)
	$(BIN)/python -m tests.bench $(ARGS)

replay: $(STAMP)
	$(BIN)/python -m tests.replay_nab $(ARGS)

faults: $(STAMP)
	$(BIN)/python -m tests.faults $(ARGS)

fuzz: $(STAMP)
	$(BIN)/python -m tests.hub.fuzz $(or $(ARGS),--seconds 60)

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
