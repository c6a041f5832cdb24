"""Knowledge from other tasks: what is read, what is made of it, and that it helps, or costs little."""

import json
import warnings

import numpy as np
import pytest

from agents import CoordinationGraph, Episode, learner
from agents.coordination_graph import PRIOR_STRENGTHS, _Posterior, _Terms
from agents.episodes_file import EpisodesFile
from agents.prior import TREND_MEAN, TREND_VARIANCE, Learned, OtherTasks, Prior, Source, _shrunk, sources
from agents.testing import LearnerConformance
from marl_hpo_env import InputError, Layer, SearchSpace, Table
from marl_hpo_env.tables.synthetic import SyntheticTable, synthetic_table
from marl_hpo_env.testing import SPACES

CONV = {"out_channels": (16, 8, 32), "kernel_size": (1, 3)}


def space(*layers):
    """A chain of layers, each a kind and its choices."""
    names = [f"layer{k}" for k in range(len(layers))]
    return SearchSpace(
        Layer(n, *of, names[max(0, k - 1) : k]) for k, (n, of) in enumerate(zip(names, layers, strict=True))
    )


def write_run(folder, task, of_space, rewards, penalty=None, **settings):
    """The folder of a run in which each of some designs had its reward; None is a design that was terminated."""
    folder.mkdir(parents=True)
    said = {"task": task, "space": of_space.describe(), "directions": {"accuracy": 1}, "penalty": penalty, **settings}
    (folder / "settings.json").write_text(json.dumps(said))
    with EpisodesFile(folder / "episodes-random.csv", ["accuracy"], of_space.names) as file:
        for design, reward in rewards.items():
            value = float("nan") if reward is None else -reward
            file.write(Episode(design, reward or 0.0, {"accuracy": value}, reward is None), "", None)
    return folder


def relatives(kind="additive", kinship=0.8, number=3, seed=0):
    """Tasks that have a part of their variance in common."""
    common, *own = (synthetic_table(kind, 100 * seed + k) for k in range(number + 1))
    share = np.sqrt([kinship, 1 - kinship])
    return [
        SyntheticTable(
            common.space, tuple(share[0] * a + share[1] * b for a, b in zip(common.terms, one.terms, strict=True))
        )
        for one in own
    ]


def random_run(folder, name, table, sign=1, designs=60):
    rng = np.random.default_rng(7)
    drawn = (table.space.sample(rng) for _ in range(designs))
    return write_run(folder / name, name, table.space, {design: sign * table.value(design) for design in drawn})


def played(table, episodes, prior="", seed=0, task="mine", **settings):
    """The designs that a learner asks for, and the learner."""
    made = CoordinationGraph(prior=prior, **settings)
    made.prepare(task)
    made.reset(table.space, seed)
    designs = []
    for _ in range(episodes):
        designs += made.ask(1)
        made.tell([Episode(designs[-1], table.value(designs[-1]), {}, False)])
    return designs, made


# --- reading -------------------------------------------------------------------------------------------------------------


def test_a_run_is_all_its_learners_distinct_designs(tmp_path):
    of_space = space(("Conv2d", CONV), ("Linear", {"out_features": (4, 8)}))
    folder = write_run(tmp_path / "r", "other", of_space, {(0, 1): 0.5, (5, 0): None, (2, 1): -1.0}, penalty=-1.0)
    with EpisodesFile(folder / "episodes-best.csv", ["accuracy"], of_space.names) as file:
        file.write(Episode((0, 1), 0.5, {"accuracy": -0.5}, False), "", None)
        file.write(Episode((1, 1), 0.7, {"accuracy": -0.7}, False), "", None)
    (source,) = sources(str(folder))
    assert (source.task, source.space) == ("other", of_space)
    told = {each.design: each for each in source.episodes}
    assert {design: each.reward for design, each in told.items()} == {(0, 1): 0.5, (5, 0): 0, (2, 1): -1, (1, 1): 0.7}
    assert [design for design, each in told.items() if each.terminated] == [(5, 0)]
    assert [design for design, each in told.items() if each.broken] == [(2, 1)]
    assert told[0, 1].objectives == {"accuracy": -0.5}
    assert told[0, 1].directions == {"accuracy": 1}


def test_slices_of_shared_weights_are_not_learned_from(tmp_path):
    folder = write_run(tmp_path / "r", "other", space(("Conv2d", CONV)), {(0,): 1.0}, slices={"random": "a-shared"})
    with pytest.raises(InputError, match="no run with an episode"):
        sources(str(folder))
    (folder / "episodes-random.csv").rename(folder / "episodes-confirmed.csv")
    (source,) = sources(f"{tmp_path}/r")
    assert [episode.design for episode in source.episodes] == [(0,)]


def test_a_pattern_names_runs_tables_and_folders_of_runs_and_passes_over_the_rest(tmp_path):
    of_space = space(("Conv2d", CONV))
    for name in ("a/random-seed0", "a/random-seed1", "b"):
        write_run(tmp_path / name, name[0], of_space, {(0,): 1.0})
    write_run(tmp_path / "begun", "begun", of_space, {})
    (tmp_path / "overview.html").write_text("none of these")
    Table.open("digits-branches").save(tmp_path / "t.npz")
    found = sources(f"{tmp_path}/*+digits-convnet")
    assert [source.task for source in found] == ["a", "b", "digits-branches", "digits-convnet"]  # a's runs are equal
    assert len(found[2].episodes) == len({each.design for each in found[2].episodes}) == 300
    assert "model_size_mb / original" in found[2].episodes[0].objectives
    assert [source.digest for source in sources(f"{tmp_path}/*")] == [source.digest for source in found[:3]]
    (tmp_path / "b").rename(tmp_path / "b+b")
    assert [source.task for source in sources(f"{tmp_path}/b+b")] == ["b"]


@pytest.mark.parametrize(
    ("prior", "named"),
    [
        ("runs/*", ("'runs/*'", "nothing that is there")),
        ("digits-convent", ("'digits-convent'", "digits-convnet")),
        ("{0}/empty", ("empty", "no run")),
        ("{0}/broken", ("broken", "cannot be read")),
        ("{0}/other.json", ("other.json", "NAS-Bench-Macro")),
    ],
)
def test_what_is_no_source_is_one_sentence(prior, named, tmp_path, refused, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "settings.json").write_text('{"space": 3}')
    (tmp_path / "other.json").write_text("{}")
    with refused(*named):
        learner("coordination-graph", prior=prior.format(tmp_path))


def test_the_setting_stands_behind_the_name_too(tmp_path):
    write_run(tmp_path / "r", "other", space(("Conv2d", CONV)), {(0,): 1.0})
    made = learner(f"coordination-graph(prior={tmp_path}/*+digits-branches)")
    assert made.learned_from == learner("coordination-graph", prior=f"{tmp_path}/r+digits-branches").learned_from
    assert len(made.learned_from.split()) == 2
    assert learner("coordination-graph").learned_from == ""


# --- the trend -------------------------------------------------------------------------------------------------------------


def prior_of(target, *learned):
    """The prior that sources with these layer tables make; each has a task of its own."""

    given = [Source(f"s{k}", f"t{k}", of, [Episode((k,), 0.0, {}, False)]) for k, (of, _) in enumerate(learned)]
    known = dict(zip(given, (Learned(PRIOR_STRENGTHS, tables) for _, tables in learned), strict=True))
    others = OtherTasks("", lambda source, multi_objective: {"reward": known[source]})
    others._sources = given
    return others.prior(target, "mine", None, PRIOR_STRENGTHS)


def test_values_are_matched_by_rank_and_depth():
    # One layer there, three actions of which wider is better: 8 < 16 < 32.
    there = space(("Conv2d", {"out_channels": (16, 8, 32)}))
    here = space(
        ("Conv2d", {"out_channels": (1, 2, 3, 4, 5)}), ("Conv2d", {"out_channels": (7, 6)}), ("Linear", {"out": (1, 2)})
    )
    trend = prior_of(here, (there, [np.array([0.0, -1.0, 1.0])])).trend
    np.testing.assert_allclose(trend[0] / trend[0][-1], [-1, -0.5, 0, 0.5, 1])
    np.testing.assert_allclose(trend[1], [trend[0][-1], trend[0][0]])
    np.testing.assert_allclose(trend[2], 0)
    assert sum(table.var() for table in trend) == pytest.approx(1)
    # Wider is better at the beginning there, and worse at the end: here, the layer in the middle has no say.
    two = space(*[("Conv2d", {"out_channels": (1, 2)})] * 2)
    three = space(*[("Conv2d", {"out_channels": (1, 2)})] * 3)
    trend = prior_of(three, (two, [np.array([-1.0, 1.0]), np.array([1.0, -1.0])])).trend
    np.testing.assert_allclose(np.array(trend) / trend[0][1], [[-1, 1], [0, 0], [1, -1]], atol=1e-12)


def test_values_that_are_no_numbers_are_matched_by_what_they_are():
    there = space(("Act", {"type": ("relu", "tanh", "gelu")}))
    here = space(("Act", {"type": ("gelu", "elu", "relu", "tanh")}))
    (trend,) = prior_of(here, (there, [np.array([2.0, -1.0, -1.0])])).trend
    assert trend.argmax() == 2
    assert trend[0] == pytest.approx(trend[3])
    assert trend.mean() == pytest.approx(0)
    # A type among the choices is its name in a table or a run.
    there = SearchSpace.described(space(("Act", {"type": (int, float)})).describe())
    (trend,) = prior_of(space(("Act", {"type": (float, str, int)})), (there, [np.array([-1.0, 1.0])])).trend
    np.testing.assert_allclose(trend / trend[0], [1, 0, -1], atol=1e-12)


def test_hyperparameters_of_one_layer_do_not_disturb_each_other():
    of = space(("Conv2d", CONV))
    wide = np.array([{8: -1.0, 16: 0.0, 32: 1.0}[action[0]] for action in of.layers[0].actions])
    (trend,) = prior_of(of, (of, [wide])).trend
    np.testing.assert_allclose(trend, wide / wide.std(), atol=1e-12)


def test_what_tasks_do_not_agree_on_counts_less():
    same = np.array([1.0, -2.0, 1.0])
    np.testing.assert_allclose(_shrunk(np.array([same, same])), same)
    np.testing.assert_allclose(_shrunk(same[None]), same)
    np.testing.assert_allclose(_shrunk(np.array([same, -same])), 0)
    # Nothing in common: right-angled and as long.
    np.testing.assert_allclose(_shrunk(np.array([[1.0, -1.0, 0, 0], [0, 0, 1.0, -1.0]])), 0, atol=1e-12)


def test_strengths_are_shrunk_toward_those_of_nobody():
    of = space(("Conv2d", CONV))
    prior = prior_of(of, (of, [np.arange(6.0)]), (of, [np.arange(6.0)]))
    np.testing.assert_allclose(prior.medians[[0, -1]], PRIOR_STRENGTHS[[0, -1]])
    assert len(prior.medians) == len(PRIOR_STRENGTHS) + 1
    assert prior.medians[-2] == TREND_VARIANCE


# --- the learner ---------------------------------------------------------------------------------------------------------


def test_the_posterior_with_a_trend_is_that_of_a_dense_regression():
    of, rng = space(("Conv2d", CONV), ("Conv2d", CONV), ("Linear", {"out": (1, 2, 3)})), np.random.default_rng(0)
    terms = _Terms(of)
    designs = [of.sample(rng) for _ in range(20)]
    for design in designs:
        terms.add(design)
    trend = [table - table.mean() for table in map(rng.standard_normal, of.sizes)]
    for made, given in zip(terms.tables(terms.of_actions(trend)).layers, trend, strict=True):
        np.testing.assert_allclose(made, given, atol=1e-12)
    scores, variance = rng.standard_normal(20), 0.4
    posterior = _Posterior(terms, prior=Prior(np.array([*PRIOR_STRENGTHS[:-1], variance, PRIOR_STRENGTHS[-1]]), trend))
    posterior.scores = scores
    posterior.inverse = np.linalg.inv(posterior._covariance())

    features = np.stack([terms.values(terms.tables(weight)) for weight in np.eye(terms.count)], axis=1)
    values = np.array([sum(table[action] for table, action in zip(trend, design, strict=True)) for design in designs])
    columns = np.column_stack([features, values, np.ones(20)])
    variances = np.concatenate([PRIOR_STRENGTHS[:-1][terms.group] * terms.share, [variance, 1.0]])
    precision = columns.T @ columns / PRIOR_STRENGTHS[-1] + np.diag(1 / variances)
    mean = np.linalg.solve(precision, columns.T @ (scores - TREND_MEAN * values) / PRIOR_STRENGTHS[-1])
    expected = mean[: terms.count] + (TREND_MEAN + mean[-2]) * terms.of_actions(trend)
    np.testing.assert_allclose(posterior.draw(0.0, rng)[: terms.count], expected, atol=1e-9)
    deviations = np.stack([posterior.draw(1.0, rng)[: terms.count] for _ in range(1000)]) - expected
    of_trend = np.append(np.eye(terms.count), terms.of_actions(trend)[:, None], axis=1)
    covariance = of_trend @ np.linalg.inv(precision)[:-1, :-1] @ of_trend.T
    # Variances of 1000 have a standard error of 0.045.
    assert np.abs((deviations**2).mean(axis=0) / np.diag(covariance) - 1).max() < 4.5 * 0.045

    inverse = posterior.inverse
    posterior.inverse = np.zeros((0, 0))
    for new in range(20):
        posterior._append(new)
    np.testing.assert_allclose(posterior.inverse, inverse, atol=1e-9)


def test_what_is_of_the_task_itself_is_left_out_and_that_is_said(tmp_path):
    table, other, _ = relatives()
    random_run(tmp_path, "mine", table)
    with pytest.warns(UserWarning, match="leaves out what is of the task 'mine' itself: .*mine'"):
        alone, _ = played(table, 6, f"{tmp_path}/*")
    assert alone == played(table, 6)[0]
    random_run(tmp_path, "other", other)
    with pytest.warns(UserWarning, match="'mine'"):
        both, _ = played(table, 6, f"{tmp_path}/*")
    assert both == played(table, 6, f"{tmp_path}/other")[0] != alone


def test_that_nothing_is_in_common_is_said(tmp_path):
    write_run(tmp_path / "r", "other", space(("Linear", {"out": (1, 2)})), {(0,): 1.0, (1,): 2.0})
    made = CoordinationGraph(prior=f"{tmp_path}/r")
    with pytest.warns(UserWarning, match="not which values are good"):
        made.reset(space(("Conv2d", {"out": (1, 2)})), 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.reset(space(("Linear", {"out": (1, 2, 3)})), 0)


@pytest.mark.parametrize("kind", ["additive", "widths"])
def test_tasks_of_one_kind_help_and_misleading_ones_cost_little(kind, tmp_path):
    gained, lost = [], []
    for seed in range(3):
        table, *others = relatives(kind, seed=seed)
        for sign, name in ((1, "true"), (-1, "false")):
            for number, other in enumerate(others):
                random_run(tmp_path / name / str(seed), f"t{number}", other, sign)
        priors = "", f"{tmp_path}/true/{seed}/*", f"{tmp_path}/false/{seed}/*"
        designs = [played(table, 20, prior, seed)[0] for prior in priors]
        none, true, false = (np.maximum.accumulate(list(map(table.value, of))) for of in designs)
        gained.append(true - none)
        lost.append(none - false)
    gain, loss = np.mean(gained, axis=0), np.mean(lost, axis=0)
    print(gain, loss)
    # In standard deviations of all designs' values.
    assert gain[:5].mean() > 0.5
    assert gain[-1] > -0.2
    assert loss[-1] < 0.3


def test_the_coefficient_of_a_misleading_trend_is_turned_round(tmp_path):
    table, other, _ = relatives(kinship=0.95)
    random_run(tmp_path, "other", other, sign=-1)
    _, made = played(table, 30, f"{tmp_path}/*")
    posterior = made._posteriors["reward"]
    trend = posterior._trend_values()
    alpha = posterior.inverse @ (posterior.scores - TREND_MEAN * trend)
    assert TREND_MEAN > 0 > TREND_MEAN + posterior.strengths[-2] * trend @ alpha


def test_a_reward_of_one_metric_goes_with_that_metric_elsewhere(tmp_path):
    of = space(("Conv2d", {"out_channels": (1, 2, 3)}))
    # Rewards fall with the width, and the metric, which the file has as the reward's negative, rises.
    write_run(tmp_path / "r", "other", of, {(0,): 3.0, (1,): 2.0, (2,): 1.0})

    def wider_is_better(posterior):
        (table,) = posterior._terms.tables(posterior._trend).layers
        return table[2] > table[0]

    made = CoordinationGraph(prior=f"{tmp_path}/r")
    made.reset(of, 0)
    assert not wider_is_better(made._begun(None))
    made.tell([Episode((1,), 2.0, {"accuracy": 2.0}, False, {"accuracy": 1})])
    assert wider_is_better(made._posteriors["reward"])
    both = CoordinationGraph(multi_objective=True, prior=f"{tmp_path}/r")
    both.reset(of, 0)
    both.tell([Episode((1,), 2.0, {"accuracy": 2.0, "mb": 1.0}, False, {"accuracy": 1, "mb": -1})])
    assert wider_is_better(both._posteriors["accuracy"])
    assert both._posteriors["mb"]._trend is None


def test_one_seed_gives_one_result(tmp_path):
    table, *others = relatives("pairwise")
    for number, other in enumerate(others):
        random_run(tmp_path, f"t{number}", other)
    assert played(table, 12, f"{tmp_path}/*")[0] == played(table, 12, f"{tmp_path}/*")[0]


@pytest.mark.filterwarnings("ignore:No task of the prior")  # most of the suite's spaces
class TestWithAPrior(LearnerConformance):
    @pytest.fixture(autouse=True)
    def _stored(self, tmp_path):
        designs = [SPACES["chain"].design_at(number) for number in range(0, SPACES["chain"].size, 3)]
        self.folder = write_run(tmp_path / "r", "other", SPACES["chain"], {each: float(sum(each)) for each in designs})

    def make(self):
        return CoordinationGraph(prior=str(self.folder))
