# /// script
# requires-python = ">=3.11"
# dependencies = ["marl-hpo-env", "torch>=2.6"]
# ///
"""PPO in one file, in the manner of CleanRL's `ppo.py`, on several games of the single controller at once, with action masks.

The hyperparameters are CleanRL's, but that a rollout has 32 steps, not 128: an episode has only a few.
"""

import argparse
import os
from pathlib import Path

import gymnasium
import torch
from torch import nn
from torch.distributions import Categorical

from marl_hpo_env import RecordEpisodes

NUM_ENVS, NUM_STEPS, MINIBATCHES, EPOCHS, LEARNING_RATE, MAX_GRAD_NORM = 4, 32, 4, 4, 2.5e-4, 0.5
GAMMA, GAE_LAMBDA, CLIP, ENTROPY, VALUE = 0.99, 0.95, 0.2, 0.01, 0.5

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("task", help="such as digits-convnet")
parser.add_argument("folder", type=Path, help="for the recorded run")
parser.add_argument("--episodes", type=int, default=500)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
torch.manual_seed(args.seed)

envs = gymnasium.make_vec(f"marl_hpo_env/{args.task}-v1", num_envs=NUM_ENVS, evaluator="table")
envs = RecordEpisodes(envs, args.folder / f"{os.getpid()}.jsonl")


def layer(inputs: int, outputs: int, gain: float = 2**0.5) -> nn.Linear:
    """CleanRL's `layer_init`."""
    linear = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(linear.weight, gain)
    nn.init.zeros_(linear.bias)
    return linear


inputs, actions = envs.single_observation_space.shape[0], envs.single_action_space.n
actor = nn.Sequential(layer(inputs, 64), nn.Tanh(), layer(64, 64), nn.Tanh(), layer(64, actions, 0.01))
critic = nn.Sequential(layer(inputs, 64), nn.Tanh(), layer(64, 64), nn.Tanh(), layer(64, 1, 1.0))
optimizer = torch.optim.Adam(nn.ModuleList([actor, critic]).parameters(), lr=LEARNING_RATE, eps=1e-5)

obs, info = envs.reset(seed=args.seed)
over, ended = torch.zeros(NUM_ENVS, dtype=torch.bool), 0  # a game that is over begins anew in the next step
while ended < args.episodes:
    optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - ended / args.episodes)
    steps = []
    for _ in range(NUM_STEPS):
        seen, mask, begins = torch.tensor(obs), torch.tensor(info["action_mask"]).bool(), over
        with torch.no_grad():
            policy, value = Categorical(logits=actor(seen).masked_fill(~mask, -1e8)), critic(seen)[:, 0]
        action = policy.sample()
        obs, reward, terminated, _, info = envs.step(action.numpy())
        over, ended = torch.tensor(terminated), ended + terminated.sum()
        steps.append((seen, mask, action, policy.log_prob(action), value, torch.tensor(reward).float(), begins))
    *taken, values, rewards, begun = map(torch.stack, zip(*steps, strict=True))
    advantages, advantage = torch.zeros_like(values), torch.zeros(NUM_ENVS)
    next_value, last = critic(torch.tensor(obs))[:, 0].detach(), over
    for t in reversed(range(NUM_STEPS)):
        advantage = rewards[t] - values[t] + GAMMA * ~last * (next_value + GAE_LAMBDA * advantage)
        advantages[t], next_value, last = advantage, values[t], begun[t]
    played = [column[~begun] for column in (*taken, advantages, advantages + values)]
    for batch in [batch for _ in range(EPOCHS) for batch in torch.randperm(len(played[0])).chunk(MINIBATCHES)]:
        seen, mask, action, log_prob, advantage, returns = (column[batch] for column in played)
        policy, value = Categorical(logits=actor(seen).masked_fill(~mask, -1e8)), critic(seen)[:, 0]
        ratio = (policy.log_prob(action) - log_prob).exp()
        gain = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        clipped = torch.min(gain * ratio, gain * ratio.clamp(1 - CLIP, 1 + CLIP)).mean()
        loss = VALUE * 0.5 * (returns - value).square().mean() - clipped - ENTROPY * policy.entropy().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], MAX_GRAD_NORM)
        optimizer.step()
print(f"{ended} episodes; mean value of the last rollout: {values.mean():.3f}")
