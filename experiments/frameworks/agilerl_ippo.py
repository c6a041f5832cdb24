# /// script
# requires-python = ">=3.11"
# dependencies = ["marl-hpo-env", "agilerl>=2.58", "peft"]  # agilerl imports peft and does not ask for it
# ///
"""AgileRL's independent PPO (IPPO): an actor and a critic for each agent, all of which pick at once.

Settings are AgileRL's own, but for the rate of learning (1e-4), for updates after 32 episodes (4,096), and that later episodes'
rewards do not count (gamma 0.99): an episode is one step, and AgileRL's rollouts run on from one to the next.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from agilerl.algorithms import IPPO
from agilerl.training.train_multi_agent_on_policy import train_multi_agent_on_policy

from marl_hpo_env import RecordEpisodes, parallel_env

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("task", help="such as digits-convnet")
parser.add_argument("folder", type=Path, help="for the recorded run")
parser.add_argument("--episodes", type=int, default=500)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
torch.manual_seed(args.seed)
np.random.seed(args.seed)

env = parallel_env(args.task, evaluator="table", observations="padded", masks=None)
env = RecordEpisodes(env, args.folder / f"{os.getpid()}.jsonl")
agent = IPPO(
    [env.observation_space(name) for name in env.possible_agents],
    [env.action_space(name) for name in env.possible_agents],
    env.possible_agents,
    learn_step=32,
    lr=1e-3,
    gamma=0.0,
)
_, fitness = train_multi_agent_on_policy(
    env, args.task, "IPPO", [agent], max_steps=args.episodes, evo_steps=args.episodes
)
print(fitness)
