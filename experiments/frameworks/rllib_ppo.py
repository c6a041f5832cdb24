# /// script
# requires-python = ">=3.11"
# dependencies = ["marl-hpo-env", "ray[rllib]>=2.50", "torch>=2.6"]
# ///
"""RLlib's PPO on its new API stack: every agent has a policy of its own, and they pick in turn.

Each sees what the layers that feed its own have picked, one-hot, and has only its layer's actions, so that no masks are needed.
Settings are RLlib's own, but for the rate of learning (5e-5) and for batches of 160 picks (4,000).
"""

import argparse
import os
from pathlib import Path

import ray
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.env.wrappers.pettingzoo_env import PettingZooEnv
from ray.tune.registry import register_env

from marl_hpo_env import RecordEpisodes, env

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("task", help="such as digits-convnet")
parser.add_argument("folder", type=Path, help="for the recorded run")
parser.add_argument("--episodes", type=int, default=500)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()


def make(_: dict[str, object]) -> PettingZooEnv:
    """The turn-based environment, whose episodes are recorded."""
    turns = env(args.task, evaluator="table", observations="flat", masks=None)
    return PettingZooEnv(RecordEpisodes(turns, args.folder / f"{os.getpid()}.jsonl"))


ray.init("local", include_dashboard=False)
register_env("designs", make)
agents = env(args.task, evaluator="table").possible_agents
config = (
    PPOConfig()
    .environment("designs")
    .env_runners(num_env_runners=0)
    .multi_agent(policies=set(agents), policy_mapping_fn=lambda agent, *_, **__: agent)
    .training(lr=1e-3, train_batch_size_per_learner=160)
    .debugging(seed=args.seed)
)
algorithm = config.build_algo()
ended = 0
while ended < args.episodes:
    results = algorithm.train()["env_runners"]
    ended = results["num_episodes_lifetime"]
algorithm.stop()
print(f"{ended:.0f} episodes; mean reward of the last batch: {results['episode_return_mean'] / len(agents):.3f}")
