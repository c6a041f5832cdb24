# /// script
# requires-python = ">=3.11"
# dependencies = ["marl-hpo-env", "benchmarl>=1.5"]
# ///
"""BenchMARL's learners of values: independent Q-learning (IQL), VDN, or QMIX, which mixes the agents' values into the team's.

All agents pick at once, so an episode is one step. Networks and exploration are BenchMARL's own, rates of learning are not: there
are 10 updates at 1e-3 after every 10 episodes, where its default is 1,000 at 5e-5 after every 6,000.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarl.algorithms import algorithm_config_registry
from benchmarl.environments import VmasClass
from benchmarl.experiment import Experiment, ExperimentConfig
from benchmarl.models.mlp import MlpConfig
from torchrl.data import Composite

from marl_hpo_env import RecordEpisodes
from marl_hpo_env.environments.batched_teams import BatchedTeams

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("task", help="such as digits-convnet")
parser.add_argument("folder", type=Path, help="for the recorded run")
parser.add_argument("--episodes", type=int, default=500)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--algorithm", choices=["iql", "vdn", "qmix"], default="iql")
args = parser.parse_args()


class DesignTask(VmasClass):
    """A table as a task of BenchMARL's: as with VMAS's, one environment plays a batch of games."""

    def get_env_fun(self, num_envs: int, **_: Any) -> Callable[[], BatchedTeams]:
        def make() -> BatchedTeams:
            env = BatchedTeams(self.name, "table", batch_size=num_envs)
            RecordEpisodes(env.games, args.folder / f"{os.getpid()}.jsonl")
            return env

        return make

    def supports_continuous_actions(self) -> bool:
        return False

    def observation_spec(self, env: BatchedTeams) -> Composite:
        return self.part(env, "observation")

    def action_mask_spec(self, env: BatchedTeams) -> Composite:
        return self.part(env, "action_mask")

    def part(self, env: BatchedTeams, key: str) -> Composite:
        seen = env.full_observation_spec_unbatched["agents"]
        return Composite(agents=Composite({key: seen[key]}, shape=seen.shape))


config = ExperimentConfig.get_from_yaml()
config.evaluation, config.loggers, config.create_json = False, [], False
config.max_n_frames, config.off_policy_collected_frames_per_batch = args.episodes, 10
config.off_policy_n_optimizer_steps, config.lr = 10, 1e-3
algorithm, model = algorithm_config_registry[args.algorithm].get_from_yaml(), MlpConfig.get_from_yaml()
with TemporaryDirectory() as config.save_folder:
    experiment = Experiment(DesignTask(args.task, {"max_steps": 1}), algorithm, model, args.seed, config)
    experiment.run()
print(f"{experiment.total_frames} episodes; mean reward of the last 10: {experiment.mean_return:.3f}")
