# /// script
# requires-python = ">=3.11"
# dependencies = ["marl-hpo-env", "agilerl>=2.58", "peft"]  # AgileRL 2.58 imports peft and does not ask for it
# ///
"""AgileRL's independent PPO (IPPO): an actor and a critic for each agent, all of which pick at once.

They share networks where names agree up to their last `_`. Settings are AgileRL's own, but for the rate of learning (1e-4), for
updates after 32 episodes (4,096), and for no discount (0.99): an episode is one step, and AgileRL's rollouts run on to the next.
"""

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from agilerl.algorithms import IPPO
from agilerl.training.train_multi_agent_on_policy import train_multi_agent_on_policy
from pettingzoo.utils import BaseParallelWrapper

from marl_hpo_env import RecordEpisodes, parallel_env

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("task", help="such as digits-convnet")
parser.add_argument("folder", type=Path, help="for the recorded run")
parser.add_argument("--episodes", type=int, default=500)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
torch.manual_seed(args.seed)
np.random.seed(args.seed)  # noqa: NPY002  # AgileRL shuffles by it


class ListedMasks(BaseParallelWrapper[str, Any, int]):
    """IPPO takes masks from infos, as lists."""

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        observations, infos = super().reset(seed, options)
        return observations, self.listed(infos)

    def step(self, actions: dict[str, int]) -> Any:
        *others, infos = super().step(actions)
        return *others, self.listed(infos)

    def listed(self, infos: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        return {agent: {"action_mask": info["action_mask"].tolist()} for agent, info in infos.items()}


env = parallel_env(args.task, evaluator="table", observations="padded", masks="info")
env = ListedMasks(RecordEpisodes(env, args.folder / f"{os.getpid()}.jsonl"))
agent = IPPO(
    [env.observation_space(name) for name in env.possible_agents],
    [env.action_space(name) for name in env.possible_agents],
    env.possible_agents,
    learn_step=32,
    lr=1e-3,
    gamma=0.0,
)
generation = {"max_steps": args.episodes, "evo_steps": args.episodes}  # a single one, as nothing evolves
_, (returns,) = train_multi_agent_on_policy(env, args.task, "IPPO", [agent], verbose=False, **generation)
print(f"Mean reward in a last test: {returns / len(env.possible_agents):.3f}")
