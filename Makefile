# Every target sets up .venv first when it is needed; a second call does not install again.
PY = .venv/bin/python

.PHONY: test lint
test: .venv/.installed      ## the default test suite
	$(PY) -m pytest
lint: .venv/.installed      ## format, lint and types
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy

.venv/.installed: pyproject.toml constraints.txt
	python3 -m venv .venv
	$(PY) -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@
