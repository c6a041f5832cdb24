# /// script
# requires-python = ">=3.11"
# dependencies = ["marl-hpo-env", "skrl>=2.1"]
# ///
"""skrl's IPPO for the team of agents: all pick at once, each by a policy of its own, from exactly the actions that its layer has.

All settings are IPPO's own: each agent learns after 16 episodes, in 8 epochs.
"""

import argparse
import os
from pathlib import Path

from skrl.envs.wrappers.torch import wrap_env
from skrl.memories.torch import RandomMemory
from skrl.multi_agents.torch.ippo import IPPO, IPPO_CFG
from skrl.trainers.torch import SequentialTrainer
from skrl.utils import set_seed
from skrl.utils.model_instantiators.torch import categorical_model, deterministic_model

from marl_hpo_env import RecordEpisodes, parallel_env

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("task", help="such as digits-convnet")
parser.add_argument("folder", type=Path, help="for the recorded run")
parser.add_argument("--episodes", type=int, default=500)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
set_seed(args.seed)

env = parallel_env(args.task, evaluator="table", observations="flat", masks=None)
env = wrap_env(RecordEpisodes(env, args.folder / f"{os.getpid()}.jsonl"), wrapper="pettingzoo")

hidden = [{"name": "net", "input": "OBSERVATIONS", "layers": [64, 64], "activations": "tanh"}]
models = {}
for agent in env.possible_agents:
    spaces = {"observation_space": env.observation_spaces[agent], "action_space": env.action_spaces[agent]}
    models[agent] = {
        "policy": categorical_model(**spaces, network=hidden, output="ACTIONS"),
        "value": deterministic_model(**spaces, network=hidden, output="ONE"),
    }

empty: dict = {agent: {} for agent in env.possible_agents}  # skrl 2.1.1 refuses its own empty defaults
cfg = IPPO_CFG(
    observation_preprocessor_kwargs=empty,
    state_preprocessor_kwargs=empty,
    value_preprocessor_kwargs=empty,
    learning_rate_scheduler_kwargs=dict(empty),
)
cfg.experiment.write_interval = cfg.experiment.checkpoint_interval = 0
team = IPPO(
    possible_agents=env.possible_agents,
    models=models,
    memories={agent: RandomMemory(memory_size=cfg.rollouts) for agent in env.possible_agents},
    observation_spaces=env.observation_spaces,
    state_spaces=env.state_spaces,
    action_spaces=env.action_spaces,
    cfg=cfg,
)
trainer = {"timesteps": args.episodes, "headless": True, "disable_progressbar": True}  # an episode is one step of all
SequentialTrainer(env=env, agents=team, cfg=trainer).train()
print(f"{args.episodes} episodes of {env.num_agents} agents")
