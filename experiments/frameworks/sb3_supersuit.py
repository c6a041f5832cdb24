# /// script
# requires-python = ">=3.11"
# dependencies = ["marl-hpo-env", "stable-baselines3>=2.9", "supersuit>=3.11"]
# ///
"""Stable-Baselines3's PPO for the team of agents, by SuperSuit: all pick at once, and share one policy.

To SB3 each agent is an environment of a vector, with a padded observation that says whose it is. There are no masks: a pick that
its layer does not have ends the episode with the penalty. Settings are PPO's own, but that it learns from 32 episodes at a time.
"""

import argparse
import os
from pathlib import Path

import supersuit
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import StopTrainingOnMaxEpisodes
from stable_baselines3.common.utils import set_random_seed

from marl_hpo_env import RecordEpisodes, parallel_env

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("task", help="such as digits-convnet")
parser.add_argument("folder", type=Path, help="for the recorded run")
parser.add_argument("--episodes", type=int, default=500)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

env = parallel_env(args.task, evaluator="table", observations="padded", masks=None)
env = RecordEpisodes(env, args.folder / f"{os.getpid()}.jsonl")
env = supersuit.pettingzoo_env_to_vec_env_v1(env)
env = supersuit.concat_vec_envs_v1(env, num_vec_envs=1, base_class="stable_baselines3")

set_random_seed(args.seed)  # SuperSuit's vector has no seed of its own
model = PPO("MlpPolicy", env, n_steps=32, device="cpu")
model.learn(total_timesteps=10**9, callback=StopTrainingOnMaxEpisodes(args.episodes))
print(f"{args.episodes} episodes of {model.num_timesteps} picks")
