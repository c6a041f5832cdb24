# /// script
# requires-python = ">=3.11"
# dependencies = ["marl-hpo-env", "tianshou>=2.0"]
# ///
"""Tianshou's DQN for the team of agents, in turn: they share one network, with their action masks.

By its `PettingZooEnv`. After each episode every agent learns once; a tenth of the picks are at random; the learning rate is 1e-3;
the target network is ten updates old; all else is as DQN has it.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from tianshou.algorithm import DQN
from tianshou.algorithm.modelfree.dqn import DiscreteQLearningPolicy
from tianshou.algorithm.multiagent.marl import MultiAgentOffPolicyAlgorithm
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, VectorReplayBuffer
from tianshou.env import DummyVectorEnv
from tianshou.env.pettingzoo_env import PettingZooEnv
from tianshou.trainer import OffPolicyTrainerParams
from tianshou.utils.net.common import Net

import marl_hpo_env
from marl_hpo_env import RecordEpisodes

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("task", help="such as digits-convnet")
parser.add_argument("folder", type=Path, help="for the recorded run")
parser.add_argument("--episodes", type=int, default=500)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
np.random.seed(args.seed)  # noqa: NPY002  # Tianshou draws from it
torch.manual_seed(args.seed)

env = marl_hpo_env.env(args.task, evaluator="table", observations="padded")
env = PettingZooEnv(RecordEpisodes(env, args.folder / f"{os.getpid()}.jsonl"))

network = Net(
    state_shape=env.observation_space["observation"].shape, action_shape=env.action_space.n, hidden_sizes=(64, 64)
)
# The policies of a team are not told when they train, so both epsilons are set.
policy = DiscreteQLearningPolicy(model=network, action_space=env.action_space, eps_training=0.1, eps_inference=0.1)
dqn = DQN(policy=policy, optim=AdamOptimizerFactory(lr=1e-3), target_update_freq=10)
team = MultiAgentOffPolicyAlgorithm(algorithms=[dqn] * len(env.agents), env=env)

picks = args.episodes * len(env.agents)
collector = Collector(team, DummyVectorEnv([lambda: env]), VectorReplayBuffer(picks, 1), exploration_noise=True)
collector.reset()
result = team.run_training(
    OffPolicyTrainerParams(
        training_collector=collector,
        collection_step_num_env_steps=None,
        collection_step_num_episodes=1,
        update_step_num_gradient_steps_per_sample=1 / len(env.agents),
        epoch_num_steps=picks,
        max_epochs=1,
        show_progress=False,
        verbose=False,
    )
)
print(f"{result.train_episode} episodes")
