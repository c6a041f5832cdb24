# /// script
# requires-python = ">=3.11"
# dependencies = ["marl-hpo-env", "torchrl>=0.14"]
# ///
"""TorchRL's PPO for the team: MAPPO, whose critic sees what all agents see, or IPPO, whose critics see what their own agent does.

All agents pick at once and share a network; masks keep them from the padding. Networks, losses and rates are those of TorchRL's
tutorial on multi-agent PPO, but for more entropy and far smaller batches: an episode is dear.
"""

import argparse
import os
from pathlib import Path

import torch
from tensordict.nn import TensorDictModule
from torchrl.collectors import Collector
from torchrl.modules import MaskedCategorical, MultiAgentMLP, ProbabilisticActor
from torchrl.objectives import ClipPPOLoss, ValueEstimators

from marl_hpo_env import RecordEpisodes
from marl_hpo_env.environments.batched_teams import BatchedTeams

GAMES = 20  # that are played between two updates
UPDATES = 30  # by each batch
ENTROPY = 0.01

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("task", help="such as digits-convnet")
parser.add_argument("folder", type=Path, help="for the recorded run")
parser.add_argument("--episodes", type=int, default=500)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--critic", choices=["central", "own"], default="central", help="MAPPO or IPPO")
args = parser.parse_args()
torch.manual_seed(args.seed)

env = BatchedTeams(args.task, "table", batch_size=GAMES)
RecordEpisodes(env.games, args.folder / f"{os.getpid()}.jsonl")
agents, inputs = env.observation_spec["agents", "observation"].shape[-2:]
observation, logits, value = ("agents", "observation"), ("agents", "logits"), ("agents", "state_value")
settings = {"n_agents": agents, "share_params": True, "depth": 2, "num_cells": 256, "activation_class": torch.nn.Tanh}

policy = MultiAgentMLP(inputs, env.games.views.most, centralised=False, **settings)
actor = ProbabilisticActor(
    TensorDictModule(policy, [observation], [logits]),
    in_keys={"logits": logits, "mask": ("agents", "action_mask")},
    out_keys=[env.action_key],
    distribution_class=MaskedCategorical,
    return_log_prob=True,
)
critic = MultiAgentMLP(inputs, 1, centralised=args.critic == "central", **settings)
loss = ClipPPOLoss(actor, TensorDictModule(critic, [observation], [value]), entropy_coeff=ENTROPY)
flags = {"done": ("agents", "done"), "terminated": ("agents", "terminated")}
loss.set_keys(action=env.action_key, reward=env.reward_key, value=value, **flags)
loss.make_value_estimator(ValueEstimators.GAE, gamma=0.99, lmbda=0.9, average_gae=True)
optimizer = torch.optim.Adam(loss.parameters(), lr=3e-4)

collector = Collector(env, actor, frames_per_batch=GAMES, total_frames=args.episodes)
for batch in collector:
    loss.value_estimator(batch)
    for _ in range(UPDATES):
        losses = loss(batch)
        (losses["loss_objective"] + losses["loss_critic"] + losses["loss_entropy"]).backward()
        torch.nn.utils.clip_grad_norm_(loss.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
mean = batch["next", *env.reward_key].mean()
print(f"Mean reward of the last {GAMES} episodes: {mean:.3f}; smallest regret: {env.games.regret:.3f}")
