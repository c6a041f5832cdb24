# /// script
# requires-python = ">=3.11"
# dependencies = ["marl-hpo-env", "sb3-contrib>=2.9"]
# ///
"""sb3-contrib's MaskablePPO on the single controller: one policy picks for every layer in turn, and only what the layer has.

All settings are MaskablePPO's own, but that it learns from 128 picks at a time, not 2,048: an episode has only a few.
"""

import argparse
import os
from pathlib import Path

import gymnasium
from sb3_contrib import MaskablePPO
from stable_baselines3.common.callbacks import StopTrainingOnMaxEpisodes

from marl_hpo_env import RecordEpisodes

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("task", help="such as digits-convnet")
parser.add_argument("folder", type=Path, help="for the recorded run")
parser.add_argument("--episodes", type=int, default=500)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

env = gymnasium.make(f"marl_hpo_env/{args.task}-v1", evaluator="table")
env = RecordEpisodes(env, args.folder / f"{os.getpid()}.jsonl")

model = MaskablePPO("MlpPolicy", env, n_steps=128, seed=args.seed, device="cpu")
model.learn(total_timesteps=10**9, callback=StopTrainingOnMaxEpisodes(args.episodes))
print(f"{args.episodes} episodes of {model.num_timesteps} picks")
