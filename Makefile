# make demo: the main job from photographs to a page of results.  make test: the tests.  Both set everything up first.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
OPTIONAL = imagecodecs==2026.3.6 jax==0.10.2 tensorboard==2.21.0 torch==2.14.1
TESTS_OF_OPTIONAL = media/test_png.py models/test_variants.py \
  training/test_backends.py training/test_exact_errors.py training/test_training_faults.py

.PHONY: help setup demo test test-optional test-slow fuzz stops lint benchmark clean
help:
	@echo "make setup          install everything into $(VENV)"
	@echo "make demo           photographs in, JND levels and a page of them out (into demo/)"
	@echo "make test           the tests"
	@echo "make test-optional  the tests of JAX, PyTorch, TensorBoard and imagecodecs, in $(VENV)-optional"
	@echo "make test-slow      the tests that train for minutes"
	@echo "make fuzz           damaged inputs through the commands, some minutes"
	@echo "make stops          commands stopped at random moments, half an hour"
	@echo "make lint           style, direction of imports, types"
	@echo "make benchmark      time and memory of each model's test"
	@echo "make clean          remove $(VENV) and demo/"

setup: $(VENV)/installed

$(VENV)/installed: requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else \
	  "Python %d.%d found; 3.11 to 3.13 expected: make PYTHON=python3.12 ..." % v)'
	@echo "everything goes into $(VENV), 3.7 GB; pip says nothing for some minutes"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-dev.txt
	@touch $@

demo: setup
	$(BIN)/python -m common.demo

test: setup
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

test-optional:
	$(MAKE) setup VENV=$(VENV)-optional
	$(VENV)-optional/bin/python -m pip install --quiet --disable-pip-version-check $(OPTIONAL)
	$(VENV)-optional/bin/python -m pytest -q -rs $(addprefix tests/,$(TESTS_OF_OPTIONAL))

test-slow: setup
	$(BIN)/python -m pytest -q -m slow

fuzz: setup
	PYTHONPATH=.:tests $(BIN)/python -m fuzz

stops: setup
	PYTHONPATH=.:tests $(BIN)/python -m fuzz.stops

lint: setup
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	PYTHONPATH=. $(BIN)/lint-imports --no-cache
	$(BIN)/basedpyright --pythonpath $(BIN)/python

benchmark: setup
	$(BIN)/python -m benchmarks.predict

clean:
	rm -rf $(VENV) $(VENV)-optional demo
