"""The simultaneous environment as TorchRL's `EnvBase` with a batch size."""

from __future__ import annotations

import json

import numpy as np
import pytest

torchrl = pytest.importorskip("torchrl", reason="TorchRL is not installed")

import torch  # noqa: E402
from torchrl.envs.utils import check_env_specs  # noqa: E402

import marl_hpo_env  # noqa: E402
from marl_hpo_env import RecordEpisodes, TableEvaluator  # noqa: E402
from marl_hpo_env.environments.batched_teams import BatchedTeams  # noqa: E402


@pytest.mark.parametrize("batch_size", [1, 5, (2, 3), ()])
@pytest.mark.parametrize("shape", ["unequal", "dotted names", "one design"])
def test_torchrl_takes_it(spaces, formula_evaluator, shape, batch_size):
    env = BatchedTeams("digits-convnet", formula_evaluator(spaces[shape]), batch_size=batch_size)
    check_env_specs(env)
    agents = len(spaces[shape])
    rollout = env.rollout(3, break_when_any_done=False)
    assert rollout["next", "agents", "reward"].shape == (*env.batch_size, 3, agents, 1)
    assert rollout["next", "done"].all()
    assert rollout["next", "agents", "done"].shape == rollout["next", "agents", "reward"].shape
    assert rollout["next", "agents", "terminated"].all()
    assert env.group_map == {"agents": list(spaces[shape].agents)}


def test_it_plays_the_simultaneous_game(spaces, table_of, simultaneous):
    space = spaces["unequal"]
    evaluator = TableEvaluator(table_of(space))
    env = BatchedTeams("digits-convnet", evaluator, batch_size=64, epochs=4)
    single = simultaneous(space, evaluator=evaluator, epochs=4, observations="padded")
    played = env.rollout(1)
    assert env.games.regret < np.inf
    for game in played[:, 0]:
        begun, _ = single.reset()
        picks = game["agents", "action"].tolist()
        ended, rewards, *_ = single.step(dict(zip(space.agents, picks, strict=True)))
        assert set(game["next", "agents", "reward"].flatten().tolist()) == {np.float32(rewards[space.agents[0]])}
        assert game["next", "state"].tolist() == single.state().tolist()
        for seen, of_all in ((game, begun), (game["next"], ended)):
            for position, agent in enumerate(space.agents):
                for key in ("observation", "action_mask"):
                    assert seen["agents", key][position].tolist() == of_all[agent][key].tolist()


def test_masks_keep_a_random_policy_from_the_padding(spaces, formula_evaluator):
    env = BatchedTeams("digits-convnet", formula_evaluator(spaces["unequal"]), batch_size=50)

    def policy(tensordict):
        mask = tensordict["agents", "action_mask"].float()
        tensordict["agents", "action"] = torch.multinomial(mask.flatten(0, -2), 1).reshape(mask.shape[:-1])
        return tensordict

    assert (env.rollout(1, policy)["next", "agents", "reward"] > env.games.reward.penalty).all()
    assert (env.rollout(1)["next", "agents", "reward"] == env.games.reward.penalty).any()


def test_its_episodes_can_be_recorded(tmp_path):
    path = tmp_path / "run.jsonl"
    env = BatchedTeams("digits-convnet", "table", batch_size=3)
    RecordEpisodes(env.games, path)
    env.rollout(1)
    assert len(list(map(json.loads, path.read_text().splitlines()))) == 4
    assert marl_hpo_env.task("digits-convnet").name == env.games.task.name
