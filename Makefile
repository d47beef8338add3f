# Every target sets up .venv first when it is needed; a second call does not install again.
PYTHON ?= python3
DATASET ?= glyphs
DATA ?=
BUDGET ?= quick
METHODS ?= paper
SHOTS ?= 1,5
SEEDS ?= 1
RECIPE ?= authors-code
JOBS ?= auto
PRECISION ?= auto
PY = .venv/bin/python
REPRO = .venv/bin/repro

.PHONY: help reproduce test lint docs table figures check clean
help:                       ## list the targets
	@sed -n 's/^\([a-z.]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12
	@echo
	@echo "Variables of make reproduce, with their values:"
	@echo "  DATASET=$(DATASET) DATA=$(DATA) BUDGET=$(BUDGET) METHODS=$(METHODS) SHOTS=$(SHOTS)"
	@echo "  SEEDS=$(SEEDS) RECIPE=$(RECIPE) JOBS=$(JOBS) PRECISION=$(PRECISION)"
reproduce: .venv/.installed  ## train and test every cell, show table, figures and verdicts
	$(REPRO) reproduce --dataset $(DATASET) $(if $(DATA),--data $(DATA)) --budget $(BUDGET) \
	  --methods $(METHODS) --shots $(SHOTS) --seeds $(SEEDS) --recipe $(RECIPE) \
	  --jobs $(JOBS) --precision $(PRECISION)
test: .venv/.installed       ## the default test suite
	$(PY) -m pytest -n auto --dist worksteal
lint: .venv/.installed       ## format, lint and types
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
docs: .venv/.installed       ## build the manual, warnings are errors
	$(PY) -m sphinx -q -W --keep-going -b html docs docs/_build/html
table: .venv/.installed      ## show the table again
	$(REPRO) table --dataset $(DATASET)
figures: .venv/.installed    ## draw the figures again
	$(REPRO) plot-gates --dataset $(DATASET)
	$(REPRO) plot-curves --dataset $(DATASET)
	$(REPRO) plot-table --dataset $(DATASET)
	$(REPRO) plot-distributions --dataset $(DATASET)
	$(REPRO) plot-differences --dataset $(DATASET)
check: .venv/.installed      ## hold runs against published and reported numbers
	$(REPRO) check --pinned --reported --dataset $(DATASET)
clean:                       ## remove caches of the tools (never runs or results)
	rm -rf .pytest_cache .mypy_cache .ruff_cache build docs/_build *.egg-info
.venv: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "repro needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(PY) -m pip install -q -c constraints.txt -e '.[dev,docs]'
	touch $@
