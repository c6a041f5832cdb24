# Both `make demo` and `make test` set up .venv by themselves, with uv where it is installed, else with venv and pip.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check benchmark comparisons

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

# The comparisons in the README, for an hour or more on two cores. NAS_BENCH_MACRO is its authors' file of CIFAR-10.
NAS_BENCH_MACRO := nas-bench-macro_cifar10.json
RIVALS := coordination-graph,local-search,regularized-evolution,independent-q,sequential-q,manas,$\
	manas(estimator=least-squares),reinforce,vdn,predictor,optuna-tpe,random,pairwise-q,pairwise-q(update=averaged)
FOR_SEVERAL := coordination-graph(multi_objective=True),optuna-nsga2,optuna-motpe
SETTINGS := pairwise-q,pairwise-q(update=averaged),pairwise-q(next_unvisited=table),pairwise-q(epsilon_per=agent),$\
	pairwise-q(exploration_episodes=10),pairwise-q(exploration_episodes=40),pairwise-q(exploration_episodes=160),$\
	pairwise-q(epsilon_decay=0.98),pairwise-q(epsilon_decay=0.995),$\
	pairwise-q(max_exploitation_episodes=0),pairwise-q(exploration_episodes=0),random
# optuna-gp takes ever longer per design and begins to repeat itself, so it and some of the others have 100 designs.
GP := optuna-gp,optuna-tpe,predictor,coordination-graph,regularized-evolution,random,pairwise-q
GP_FOR_SEVERAL := $(GP),coordination-graph(multi_objective=True)
SHIPPED := --task digits-convnet --task digits-branches
MACRO := --task $(NAS_BENCH_MACRO) --weight validation_accuracy=1
COMPARE := $(BIN)/marl-hpo compare --seeds 30
TO := --out experiments/results/compare

comparisons: .venv/installed
	$(COMPARE) $(SHIPPED) $(MACRO) --learners "$(SETTINGS)" $(TO)-pairwise-q
	$(COMPARE) $(SHIPPED) $(MACRO) --learners "$(RIVALS)" $(TO)-accuracy
	$(COMPARE) $(SHIPPED) --learners "$(RIVALS),$(FOR_SEVERAL)" $(TO)-two-objectives
	$(COMPARE) $(MACRO) --weight parameters=1e-8 --learners "$(RIVALS),$(FOR_SEVERAL)" $(TO)-two-objectives-macro
	$(COMPARE) --episodes 100 $(SHIPPED) $(MACRO) --learners "$(GP)" $(TO)-optuna-gp
	$(COMPARE) --episodes 100 $(SHIPPED) --learners "$(GP_FOR_SEVERAL)" $(TO)-optuna-gp-two-objectives
	$(COMPARE) --episodes 100 $(MACRO) --weight parameters=1e-8 --learners "$(GP_FOR_SEVERAL)" \
		$(TO)-optuna-gp-two-objectives-macro

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
