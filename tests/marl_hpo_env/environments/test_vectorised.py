"""Many games side by side are what `SyncVectorEnv` makes of as many single ones, and on a table without any of them."""

from __future__ import annotations

import json

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space

import marl_hpo_env
from marl_hpo_env import InputError, PaperReward, RecordEpisodes, TableEvaluator, WeightedReward
from marl_hpo_env.environments.registration import single_controller_env, vector_env

IDENTIFIER = "marl_hpo_env/digits-convnet-v1"
WAYS = [
    {},
    {"observations": "dict", "masks": "observation"},
    {"observations": "flat", "masks": None},
    {"observations": "padded", "masks": "observation"},
]


def assert_same(ours, theirs):
    """Of arrays, and dictionaries of them."""
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            assert_same(ours[key], value)
    else:
        assert np.asarray(ours).dtype == np.asarray(theirs).dtype
        np.testing.assert_array_equal(ours, theirs)


def assert_plays_alike(ours, theirs, steps=40, most=None):
    """Random actions, some of which the layers do not have."""
    rng = np.random.default_rng(0)
    for seed in (3, None):
        assert_same(ours.reset(seed=seed)[0], theirs.reset(seed=seed)[0])
        for _ in range(steps):
            actions = rng.integers(most or ours.single_action_space.n, size=ours.num_envs)
            for mine, other in zip(ours.step(actions), theirs.step(actions), strict=True):
                assert_same(mine, other)


@pytest.fixture(scope="module")
def evaluator(table_of, spaces, formula_evaluator):
    """By the space's shape, one on a table in which a design is terminated and one fails."""

    def of(space):
        statuses = {space.design_at(5): "terminated", space.design_at(7): "failed"} if space.size > 9 else {}
        return TableEvaluator(table_of(space, formula_evaluator(space, statuses=statuses), epochs=10))

    return {shape: of(space) for shape, space in spaces.items()}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", ["chain", "unequal", "single", "one design", "dotted names"])
def test_it_plays_what_gymnasium_makes_of_single_ones(evaluator, shape, way):
    way = {"epochs": 10, **way}
    ours = vector_env("digits-convnet", evaluator[shape], num_envs=5, **way)
    theirs = SyncVectorEnv([lambda: single_controller_env("digits-convnet", evaluator[shape], **way)] * 5)
    assert ours.single_observation_space == theirs.single_observation_space
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    assert ours.metadata["autoreset_mode"] == theirs.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    assert_plays_alike(ours, theirs)


@pytest.mark.parametrize(
    "reward", [None, PaperReward(), WeightedReward({"flops / original": 1}, ["parameters <= 1500"])]
)
@pytest.mark.parametrize("settings", [{}, {"seed": 1}, {"epochs": 2}, {"epochs": "running"}])
def test_with_every_reward_seed_and_number_of_epochs(evaluator, reward, settings):
    settings = {"epochs": 10, **settings, "reward": reward}
    ours = vector_env("digits-convnet", evaluator["unequal"], num_envs=1, **settings)
    theirs = SyncVectorEnv([lambda: single_controller_env("digits-convnet", evaluator["unequal"], **settings)])
    assert_plays_alike(ours, theirs)
    assert ours.regret == theirs.envs[0].unwrapped.regret
    assert np.isfinite(ours.regret) or settings["epochs"] == "running"  # which knows none at the epochs to come


@pytest.mark.parametrize("status", ["terminated", "failed"])
def test_without_a_table_all_designs_of_a_step_are_evaluated_at_once_each_once(spaces, formula_evaluator, status):
    space = spaces["unequal"]
    batches = []

    class Batches(formula_evaluator):
        def evaluate(self, requests):
            batches.append([request.design for request in requests])
            return reversed(list(super().evaluate(requests)))

    def made():
        return Batches(space, statuses={(1, 1, 0, 2): status})

    ours = vector_env("digits-convnet", made(), num_envs=4)
    ours.reset()
    for actions in ((0, 1, 1, 1), (1, 1, 1, 4), (0, 0, 0, 0), (0, 2, 2, 0)):
        _, rewards, terminations, _, infos = ours.step(np.array(actions))
    designs = [batch for batch in batches if None not in batch]
    assert designs == [[(0, 1, 0, 0), (1, 1, 0, 2), (1, 4, 0, 0)]]
    assert terminations.all()
    assert rewards[1] == rewards[2] == ours.reward.penalty
    assert infos["terminated"].tolist() == [0, 1, 1, 0]
    theirs = SyncVectorEnv([lambda: single_controller_env("digits-convnet", made())] * 4)
    assert_plays_alike(ours, theirs, steps=20)


def test_the_reward_sees_each_design_of_a_table_once(evaluator, spaces):
    seen = []

    class Counting(PaperReward):
        def __call__(self, trial, original=None):
            seen.append(trial.design)
            return super().__call__(trial, original)

    envs = vector_env("digits-convnet", evaluator["chain"], num_envs=64, epochs=10, reward=Counting())
    envs.reset()
    for _ in range(40):
        envs.step(envs.action_space.sample())
    assert envs.regret >= 0
    assert len(seen) == len(set(seen)) == spaces["chain"].size


def test_gymnasium_makes_it_by_its_name():
    for mode in ("vector_entry_point", None):
        envs = gymnasium.make_vec(IDENTIFIER, num_envs=3, vectorization_mode=mode, evaluator="table", masks=None)
        assert isinstance(envs, VectorEnv)
        assert envs.unwrapped.task.name == "digits-convnet"
        assert envs.reset()[0].shape == (3, 13)
        assert envs.spec.kwargs["num_envs"] == 3
    wrapped = {"evaluator": "table", "wrappers": [gymnasium.wrappers.RecordEpisodeStatistics]}
    same_step = {"autoreset_mode": AutoresetMode.SAME_STEP}
    envs = gymnasium.make_vec(IDENTIFIER, 3, "sync", vector_kwargs=same_step, **wrapped)
    envs.reset()
    for _ in range(5):
        info = envs.step(np.zeros(3, dtype=int))[4]
    assert info["final_info"]["episode"]["l"].tolist() == [5, 5, 5]
    with pytest.raises(gymnasium.error.Error, match="vector_entry_point"):  # Gymnasium's: it chooses the mode first
        gymnasium.make_vec(IDENTIFIER, 3, **wrapped)


def test_gymnasiums_vector_wrappers_take_it():
    envs = gymnasium.make_vec(IDENTIFIER, num_envs=4, evaluator="table")
    envs = gymnasium.wrappers.vector.RecordEpisodeStatistics(envs)
    envs.reset(seed=0)
    for _ in range(5):
        _, rewards, _, _, infos = envs.step(np.zeros(4, dtype=int))
    assert infos["episode"]["r"].tolist() == pytest.approx(rewards.tolist(), rel=1e-6)
    assert infos["episode"]["l"].tolist() == [5] * 4
    envs.close()


def test_its_episodes_are_recorded_as_those_of_single_ones(evaluator, tmp_path):
    settings = {"epochs": 10, "observations": "flat"}
    ours = RecordEpisodes(vector_env("digits-convnet", evaluator["unequal"], num_envs=3, **settings), tmp_path / "a")
    single = [
        RecordEpisodes(single_controller_env("digits-convnet", evaluator["unequal"], **settings), tmp_path / "b")
        for _ in range(3)
    ]
    theirs = SyncVectorEnv([lambda env=env: env for env in single])
    assert isinstance(ours, VectorEnv)
    assert_plays_alike(ours, theirs, most=4)
    recorded = [
        sorted(
            (str(line.get("design")), line.get("reward")) for line in map(json.loads, path.read_text().splitlines()[1:])
        )
        for path in (tmp_path / "a", tmp_path / "b")
    ]
    assert recorded[0] == recorded[1]
    assert ("None", ours.unwrapped.reward.penalty) in recorded[0]


def test_bad_input_is_one_sentence_and_changes_nothing(evaluator, refused):
    with refused("number of environments", "0"):
        vector_env("digits-convnet", evaluator["chain"], num_envs=0)
    envs = vector_env("digits-convnet", evaluator["chain"], num_envs=2, epochs=10, render_mode="ansi")
    with refused("reset"):
        envs.step([0, 0])
    for seed in (-1, "0", [1, 2, 3], [0, -1]):
        with pytest.raises(InputError, match="seed"):
            envs.reset(seed=seed)
    envs.reset(seed=[1, None])
    envs.reset(seed=1)
    before = envs.render()
    for actions in ([0], [0, 4], [0, -1], [0.0, 1.0], 0, [[0, 0]], [True, False]):
        with pytest.raises(InputError, match=r"[Aa]ction"):
            envs.step(actions)
    assert envs.render() == before
    assert len(before) == 2
    assert "picks next" in before[0]


def test_its_masks_are_the_single_one_s(evaluator):
    envs = vector_env("digits-convnet", evaluator["unequal"], num_envs=2, epochs=10)
    _, info = envs.reset()
    for _ in range(6):
        assert info["action_mask"].tolist() == envs.action_masks().tolist()
        assert info["action_mask"].dtype == np.int8
        info = envs.step([0, 1])[4]
    assert envs.observation_space == batch_space(envs.single_observation_space, 2)
    assert marl_hpo_env.task("digits-convnet").name == "digits-convnet"
