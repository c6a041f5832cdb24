# Both `make demo` and `make test` set up .venv by themselves, with uv where it is installed, else with venv and pip.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check benchmark gpu comparisons

demo: .venv/installed
	$(BIN)/marl-hpo demo

test: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

benchmark: .venv/installed
	$(BIN)/python -m experiments.benchmarks.overhead
	$(BIN)/python -m experiments.benchmarks.tables
	$(BIN)/python -m experiments.benchmarks.coordination_graph
	$(BIN)/python -m experiments.benchmarks.depth
	$(BIN)/python -m experiments.benchmarks.vectorised
	$(BIN)/python -m experiments.benchmarks.isolation

# On a machine with CUDA; on another one the first command says so in a sentence.
gpu: .venv/installed
	$(BIN)/python -m experiments.benchmarks.engine --device cuda
	$(BIN)/python -m pytest -m gpu

# The comparisons that the pages report. Runs that are committed (runs.jsonl) are not played again while the learner is as it was;
# without them a suite takes minutes to an hour on two cores.
comparisons: .venv/installed
	for suite in experiments/suites/*.toml; do \
		$(BIN)/marl-hpo compare --suite "$$(basename "$$suite" .toml)" || exit 1; \
	done

.venv/installed: pyproject.toml
	@if command -v uv >/dev/null 2>&1; then \
		uv venv --quiet --allow-existing .venv && \
		uv pip install --quiet --compile-bytecode --python $(BIN)/python --editable '.[dev]'; \
	else \
		$(PYTHON) -c 'import sys; sys.exit("marl-hpo-env needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another one with: make PYTHON=python3.12") if sys.version_info < (3, 11) else 0' && \
		$(PYTHON) -m venv .venv && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'; \
	fi
	@touch $@
