# `make` or `make help` lists the targets. Each makes .venv first if it is missing or out of date.

# What `make demo` runs.
DEMO_COMMAND = $(VENV)/bin/python experiments/demo/run.py

VENV = .venv
PYTHON = python3
# Processes of the tests.
WORKERS = 2
# Flags of pip for torch alone. PyPI's torch for Linux brings CUDA (gigabytes); without a GPU:
#   make demo TORCH_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu"
TORCH_FLAGS =
# Further flags of pytest, such as PYTEST_FLAGS="-k equivariance -x".
PYTEST_FLAGS =
# Flags of experiments/scale/run.py: --large (100,000 atoms), --huge (a million).
BENCH_FLAGS =

.PHONY: help venv demo test test-slow bench experiments lint clean
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 18

venv: ## .venv with the pinned versions of .ci/constraints.txt
	@$(PYTHON) .ci/venv.py $(TORCH_FLAGS)

demo: venv ## a measured film in, structures and demo/report.html out
	$(DEMO_COMMAND)

test: venv ## the quick tests
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n $(WORKERS) $(PYTEST_FLAGS)

test-slow: venv ## the tests that take minutes
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -m slow $(PYTEST_FLAGS)

bench: venv ## time, memory and quality against size: experiments/scale (BENCH_FLAGS=--large for more)
	$(VENV)/bin/python experiments/scale/run.py $(BENCH_FLAGS)

experiments: venv ## every claim under experiments/, run again (hours)
	@set -e; for run in experiments/*/run.py; do \
		[ $$run = experiments/demo/run.py ] && continue; \
		echo "== $$run"; $(VENV)/bin/python $$run; \
	done

lint: venv ## ruff and mypy
	$(VENV)/bin/ruff check
	$(VENV)/bin/mypy

clean: ## remove what building, testing and the demo left; .venv and runs/ stay
	rm -rf build dist demo *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find diffxas surrogates samplers tests experiments -name __pycache__ -prune -exec rm -rf {} +
