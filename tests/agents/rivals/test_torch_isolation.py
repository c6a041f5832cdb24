"""The learners with neural networks use torch without a trace, and come to the same on any number of threads."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from episodes import episode

from agents import learner

# With settings at which they learn within a few episodes.
NAMES = [
    "predictor(random_designs=4, retrain_every=3)",
    "reinforce(learning_rate=0.05)",
    "vdn(decay_episodes=6, updates=2)",
]


def played(name, space, seed, episodes=12, batch=2):
    """The designs it asks for; those that it is told of have rewards by formula."""
    one, designs = learner(name), []
    one.reset(space, seed)
    while len(designs) < episodes and (asked := one.ask(batch)):
        designs += asked
        one.tell([episode(design, float(np.sin(space.index(design)))) for design in asked])
    return designs


@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_a_function_of_its_seed_on_any_number_of_threads(name, space):
    outside = torch.get_num_threads()
    runs = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        runs.append(played(name, space, 1))
    torch.set_num_threads(outside)
    assert runs[0] == runs[1]
    assert all(space.check(design) == design for design in runs[0])
    assert space.size < 9 or runs[0] != played(name, space, 2)


@pytest.mark.parametrize("name", NAMES)
def test_torch_is_left_as_it_was(name, spaces):
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    played(name, spaces["chain"], 0)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_torch_is_imported_only_by_who_plays():
    code = f"import sys, agents; list(map(agents.learner, {NAMES})); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
