# Every target works on a fresh machine with python3 and make: .venv is created when it is missing.
PYTHON ?= python3
BIN := .venv/bin
# a file of tests is run by one process: its tests share what is slow to make
AT_ONCE := --numprocesses auto --maxprocesses 4 --dist loadfile
# sums in the order of the figures shown, and no threads of two processes on one core
test oldest guides: export OMP_NUM_THREADS = 1

.DEFAULT_GOAL := help
.PHONY: help install demo demo-train demo-text lint format test oldest reliability coverage guides docs docs-links wheel release-check matrix hooks clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --upgrade pip

.venv/.installed: setup.cfg | .venv/bin/python
	$(BIN)/python -m pip install -q -e .
	@touch $@

.venv/.installed-text: setup.cfg | .venv/bin/python
	$(BIN)/python -m pip install -q -e '.[text]'
	@touch .venv/.installed $@

.venv/.installed-dev: setup.cfg | .venv/bin/python
	$(BIN)/python -m pip install -q -e '.[dev]'
	@touch .venv/.installed .venv/.installed-text $@

install: .venv/.installed  ## create .venv and install the package

demo: .venv/.installed  ## a minute: compose pictures of digits, hide 90 % of the labels, train with three losses, compare
	$(BIN)/pumlc demo

demo-train: .venv/.installed  ## minutes: the same pictures, longer training, BCE and the whole of PU-MLC
	$(BIN)/pumlc demo --train

demo-text: .venv/.installed-text  ## tag texts with a dual encoder trained from scratch, P@1/3/5
	$(BIN)/pumlc demo --texts

lint: .venv/.installed-dev  ## formatting, lint rules (also of security), types, known holes of what is installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	-$(BIN)/pip-audit --local --skip-editable --progress-spinner off  # prints what it finds; not every index has advisories

format: .venv/.installed-dev  ## rewrite the files in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: .venv/.installed-dev  ## the whole suite, on up to four cores at once
	$(BIN)/python -m pytest $(AT_ONCE)

oldest: tests/oldest_versions.py setup.cfg  ## the whole suite with the oldest versions that setup.cfg allows
	$(PYTHON) -m venv build/oldest
	$(PYTHON) tests/oldest_versions.py > build/oldest/constraints.txt
	build/oldest/bin/python -m pip install -q -e '.[dev]' -c build/oldest/constraints.txt
	build/oldest/bin/python -m pytest $(AT_ONCE)

reliability: .venv/.installed-dev  ## kills, signals, full disks, lost processes, hostile files: an hour (JOBS=N at once)
	$(BIN)/python tests/reliability/run.py $(if $(JOBS),--jobs $(JOBS))

coverage: .venv/.installed-dev  ## the whole suite, and which lines of pumlc/ it does not reach
	$(BIN)/python -m pytest --cov --cov-report=term

guides: .venv/.installed-dev  ## the commands of all guides, the slow ones too, and the examples
	$(BIN)/python -m pytest -m "slow or not slow" tests/test_guides.py tests/test_examples.py

docs: .venv/.installed-dev  ## build the site into docs/_build/html; a warning is an error
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

docs-links: .venv/.installed-dev  ## ask every address that the site names whether it is there
	$(BIN)/sphinx-build -q -W --keep-going -b linkcheck docs docs/_build/links

wheel: .venv/bin/python  ## build the wheel into dist/
	$(BIN)/python -m pip wheel -q --no-deps --wheel-dir dist .

release-check:  ## sdist and wheel: metadata, and the demo from each in an empty environment
	$(PYTHON) tests/release_check.py

matrix:  ## the whole suite with every Python found, with the newest and the oldest dependencies
	tests/run_matrix.sh

hooks: .venv/.installed-dev  ## run `make lint` before every commit
	$(BIN)/pre-commit install

clean:  ## remove .venv, builds, runs and caches
	rm -rf .venv build dist runs demo_data demo_text_data *.egg-info
	rm -rf docs/_build docs/reference/generated .pytest_cache .ruff_cache .hypothesis .coverage .coverage.*
