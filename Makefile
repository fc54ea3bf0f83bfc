# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slow lint bench clean

$(BIN)/picotome: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	@touch $@

# After the first install, not newer than it: each install rewrites the command.
$(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/picotome
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test]'
	@touch $@

$(VENV)/.lint: pyproject.toml constraints.txt | $(BIN)/picotome
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[lint]'
	@touch $@

demo: $(BIN)/picotome
	$(BIN)/picotome run quickstart --out runs/quickstart

# Two processes: the fixtures of a file stay in one of them.
test: $(VENV)/.test
	$(BIN)/pytest --numprocesses 2 --dist loadfile

test-slow: $(VENV)/.test
	$(BIN)/pytest -m slow

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(BIN)/picotome
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python benchmarks/reconstruction.py
	$(BIN)/python benchmarks/workers.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
