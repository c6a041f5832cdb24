"""Our learner: its posterior against dense linear algebra, its maximisation against brute force, and that it learns."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from agents.coordination_graph import (
    DESIGNS_PER_LAYER,
    GROUPS,
    LEAST_NOISE,
    MOST_LAYERS,
    PRIOR_DEVIATION,
    PRIOR_STRENGTHS,
    SCORINGS,
    CoordinationGraph,
    Tables,
    _by_distances,
    _by_ranks,
    _hypervolume_gains,
    _Maximiser,
    _Posterior,
    _Terms,
)
from agents.protocol import Episode
from marl_hpo_env import InputError, Layer, Request, SearchSpace
from marl_hpo_env.tables.synthetic import VALUE, drawing, synthetic_table
from marl_hpo_env.testing import chain, space_of


def mixed_space():
    """A fork and a merge; ordered and unordered choices; choices in common, in part, and none; and a layer without a choice."""
    conv = {"out_channels": (16, 8, 32), "kernel_size": (1, 3)}
    return SearchSpace(
        [
            Layer("a", "Conv2d", conv),
            Layer("b", "Conv2d", conv, ["a"]),
            Layer("c", "Conv2d", {"out_channels": (4, 8, 16), "bias": (True, False)}, ["a"]),
            Layer("d", "Dropout", {"p": (0.5,)}, ["b", "c"]),
            Layer("e", "Act", {"type": ("relu", "tanh", "gelu")}, ["b", "c"]),
        ]
    )


def all_designs(space):
    return list(itertools.product(*map(range, space.sizes)))


def told(design, reward, terminated=False, **objectives):
    directions = {name: -1 if "size" in name else +1 for name in objectives}
    return Episode(design, reward, objectives, terminated, directions)


def started(space, seed=0, **settings):
    learner = CoordinationGraph(**settings)
    learner.reset(space, seed)
    return learner


def played(learner, space, reward, episodes, batch=1):
    """The designs that it asks for when each is rewarded with `reward(design)`."""
    designs = []
    while len(designs) < episodes and (asked := learner.ask(min(batch, episodes - len(designs)))):
        learner.tell([told(design, reward(design)) for design in asked])
        designs += asked
    return designs


# --- the model -------------------------------------------------------------------------------------------------------


def dense(space, designs, strengths):
    """Eqs. 1 to 3 written out: one column per weight that each design's score is a sum of, and each weight's variance."""
    terms = _Terms(space)
    for design in designs:
        terms.add(design)
    features = np.stack([terms.values(terms.tables(weight)) for weight in np.eye(terms.count)], axis=1)
    return terms, features, strengths[:-1][terms.group] * terms.share


def filled(space=None, episodes=25, seed=0):
    space = space or mixed_space()
    rng = np.random.default_rng(seed)
    designs = [space.sample(rng) for _ in range(episodes)]
    scores = rng.standard_normal(episodes)
    terms, features, variances = dense(space, designs, PRIOR_STRENGTHS)
    posterior = _Posterior(terms)
    posterior.scores = scores
    posterior.inverse = np.linalg.inv(posterior._covariance())
    return posterior, terms, features, variances, scores


def dense_covariance(features, variances):
    """Of the scores of the designs told."""
    return features * variances @ features.T + 1 + PRIOR_STRENGTHS[-1] * np.eye(len(features))


def test_the_covariance_is_that_of_the_weights():
    posterior, terms, features, variances, _ = filled()
    np.testing.assert_allclose(posterior._covariance(), dense_covariance(features, variances), atol=1e-12)
    for group in range(len(GROUPS)):
        of_group = np.where(terms.group == group, terms.share, 0)
        np.testing.assert_allclose(terms.grams[group], features * of_group @ features.T, atol=1e-12)


def test_products_with_the_transposed_features():
    _, terms, features, _, scores = filled()
    np.testing.assert_allclose(terms.transposed(scores), features.T @ scores, atol=1e-12)


def test_each_group_explains_its_strength_of_the_variance_over_all_designs():
    space = SearchSpace(
        Layer(f"layer{p}", "Conv2d", {"width": range(3), "type": ("x", "y")}, [f"layer{p - 1}"] if p else [])
        for p in range(3)
    )
    terms, features, _ = dense(space, all_designs(space), PRIOR_STRENGTHS)
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-12)
    explained = np.bincount(terms.group, (features**2).mean(axis=0) * terms.share)
    np.testing.assert_allclose(explained, 1)


def test_pairs_are_connected_or_not_and_in_deep_networks_connected_alone():
    space = mixed_space()
    pairs = _Terms(space).pairs
    assert sorted(pairs) == list(itertools.combinations(range(5), 2))
    assert pairs[: len(space.pairs)] == list(space.pairs)
    assert _Terms(space, distant=False).pairs == list(space.pairs)
    assert len(_Terms(chain(*[2] * MOST_LAYERS)).pairs) == math.comb(MOST_LAYERS, 2)
    assert len(_Terms(chain(*[2] * (MOST_LAYERS + 1))).pairs) == MOST_LAYERS


def test_two_layers_that_are_not_connected_are_known_to_act_together():
    space, rng = chain(4, 2, 2, 4), np.random.default_rng(0)
    designs = sorted({space.sample(rng) for _ in range(30)})
    unseen = [design for design in all_designs(space) if design not in designs]

    def together(design):
        return (design[0] - 1.5) * (design[3] - 1.5)

    def foreseen(**settings):
        learner = started(space, **settings)
        for design in designs:
            learner.tell([told(design, together(design))])
        tables = learner._terms.tables(learner._posteriors["reward"].draw(0.0, learner._rng))
        values = [learner._maximiser.value(tables, design) for design in unseen]
        return np.corrcoef(values, [*map(together, unseen)])[0, 1]

    assert foreseen() > 0.9
    assert foreseen(without="distant_pair") < 0.5


def test_the_posterior_is_that_of_dense_linear_algebra():
    posterior, _, features, variances, scores = filled()
    inverse = np.linalg.inv(dense_covariance(features, variances))
    gain = variances[:, None] * features.T @ inverse
    covariance, mean = np.diag(variances) - gain @ features * variances, gain @ scores
    rng = np.random.default_rng(0)
    np.testing.assert_allclose(posterior.draw(0.0, rng), mean, atol=1e-9)
    for heat in (1.0, 0.5):
        deviations = np.stack([posterior.draw(heat, rng) for _ in range(1000)]) - mean
        deviations /= heat * np.sqrt(np.diag(covariance))
        # Means of 1000 have a standard error of 0.032, variances of 0.045; 4.5 of these over about 100 weights.
        assert np.abs(deviations.mean(axis=0)).max() < 4.5 * 0.032
        assert np.abs(deviations.var(axis=0) - 1).max() < 4.5 * 0.045
        correlation = covariance / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
        assert np.abs(deviations.T @ deviations / 1000 - correlation).max() < 5.5 * 0.045


def test_episodes_appended_one_by_one_give_the_same_inverse():
    posterior, *_ = filled()
    reference = posterior.inverse
    posterior.inverse = np.zeros((0, 0))
    for new in range(len(reference)):
        posterior._append(new)
    np.testing.assert_allclose(posterior.inverse, reference, atol=1e-9)


def test_the_strengths_maximise_the_marginal_likelihood_times_their_prior():
    posterior, terms, features, _, _ = filled(episodes=40)
    effects = np.random.default_rng(1).standard_normal(terms.count)
    posterior.scores = _by_ranks(features @ effects)
    for _ in range(60):
        posterior.inverse = np.linalg.inv(posterior._covariance())
        posterior._newton_step()

    def density(logarithms):
        strengths = np.exp(logarithms)
        covariance = features * (strengths[:-1][terms.group] * terms.share) @ features.T + 1
        covariance += strengths[-1] * np.eye(len(features))
        fit = posterior.scores @ np.linalg.solve(covariance, posterior.scores)
        prior = (((logarithms - np.log(PRIOR_STRENGTHS)) / PRIOR_DEVIATION) ** 2).sum()
        return -(fit + np.linalg.slogdet(covariance)[1] + prior) / 2

    found = np.log(posterior.strengths)
    assert posterior.strengths[-1] > LEAST_NOISE
    for changed in np.eye(len(found)) * 0.1:
        assert density(found) > max(density(found + changed), density(found - changed))
    assert density(found) > density(np.log(PRIOR_STRENGTHS)) + 1


def test_an_ordered_value_is_known_from_its_neighbours_and_an_unordered_one_is_not():
    def told_of_first_and_last(values):
        space = SearchSpace([Layer("a", "Kind", {"choice": values})])
        learner = started(space, without="action+value_pair+action_pair+thompson")
        learner.tell([told((0,), 0.0), told((len(values) - 1,), 1.0)])
        return learner._terms.tables(learner._posteriors["reward"].draw(0.0, learner._rng)).layers[0]

    ordered = told_of_first_and_last((1, 2, 3, 4, 5))
    assert (np.diff(ordered) > 0).all()
    np.testing.assert_allclose(np.diff(told_of_first_and_last(tuple("abcde"))[1:4]), 0, atol=1e-9)


def test_what_was_learned_of_a_value_in_one_layer_is_known_of_it_in_others():
    space = SearchSpace([Layer("a", "Conv2d", {"size": (1, 3, 5)}), Layer("b", "Conv2d", {"size": (1, 3, 5)}, ["a"])])
    learner = started(space, without="action+value_pair+action_pair+distant_pair+thompson")
    learner.tell([told((0, 1), 0.0), told((2, 1), 1.0)])
    tables = learner._terms.tables(learner._posteriors["reward"].draw(0.0, learner._rng))
    np.testing.assert_allclose(tables.layers[0], tables.layers[1])
    assert tables.layers[1][2] > tables.layers[1][0]


def test_scores_by_ranks_by_hand():
    # Four different values: quantiles of 1/8 and 3/8, then distances 0 and 1 over their root mean square.
    expected = [math.sqrt(2), -0.3186, -1.1503, -0.3186, 0]
    for penalty in (-9.0, -1e9, -math.inf):
        np.testing.assert_allclose(_by_ranks(np.array([7.0, 5.0, penalty, 5.0, 6.0])), expected, atol=1e-4)


def test_scores_by_distances_by_hand():
    # Mean 3, root mean square of the distances 2; what is not finite counts as the lowest.
    np.testing.assert_allclose(_by_distances(np.array([1.0, 1.0, 5.0, 5.0, -math.inf])), [-1, -1, 1, 1, -1])


@pytest.mark.parametrize("scores", [_by_ranks, _by_distances])
@pytest.mark.parametrize("value", [2.0, -math.inf])
def test_values_that_are_all_the_same_score_0(scores, value):
    np.testing.assert_array_equal(scores(np.full(3, value)), 0)


def test_penalties_do_not_flatten_the_scores_by_ranks_even_where_they_are_most():
    scores = _by_ranks(np.array([-1e9] * 50 + [0.1, 0.2, 0.3, 0.4]))
    assert (np.diff(scores[50:]) > 0.4).all()
    assert np.abs(scores).max() < 2


def test_foresight_is_the_rank_correlation_of_the_better_half_with_what_is_predicted_from_all_others():
    posterior, _, _, _, scores = filled()
    covariance = posterior._covariance()
    predicted = []
    for left_out in range(len(scores)):
        others = np.delete(np.arange(len(scores)), left_out)
        weights = np.linalg.solve(covariance[np.ix_(others, others)], scores[others])
        predicted.append(covariance[left_out, others] @ weights)
    better = np.argsort(scores)[len(scores) // 2 :]
    expected = spearmanr(np.array(predicted)[better], scores[better]).statistic
    assert posterior.foresight(scores) == pytest.approx(expected)
    assert posterior.foresight(np.zeros(len(scores))) == 0


@pytest.mark.parametrize(("skewed", "expected"), [(False, "distances"), (True, "ranks")])
def test_the_scores_that_are_foreseen_better_count(skewed, expected):
    chosen = []
    for seed in range(8):
        table = synthetic_table("additive", seed, skewed=skewed)
        learner, rng = started(table.space), np.random.default_rng(seed)
        designs = {table.space.sample(rng) for _ in range(100)}
        learner.tell([told(design, table.value(design)) for design in sorted(designs)])
        posterior = learner._posteriors["reward"]
        chosen.append([*SCORINGS][next(k for k, one in enumerate(learner._each["reward"]) if one is posterior)])
    assert chosen.count(expected) >= 6


def test_scores_are_made_in_one_way_at_least(refused):
    with refused("'ranks'", "'distances'"):
        CoordinationGraph(without="ranks+distances")


# --- maximisation ----------------------------------------------------------------------------------------------------


@st.composite
def graphs(draw):
    """A small graph, often with cycles, and tables on it."""
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=6))
    pairs = [pair for pair in itertools.combinations(range(len(sizes)), 2) if draw(st.booleans())]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    space = space_of(*sizes, pairs=pairs)
    layers = [rng.standard_normal(size) for size in sizes]
    return space, Tables(layers, [rng.standard_normal((sizes[i], sizes[j])) for i, j in space.pairs])


def total(space, tables, design):
    layers = sum(table[action] for table, action in zip(tables.layers, design, strict=True))
    return layers + sum(table[design[i], design[j]] for table, (i, j) in zip(tables.pairs, space.pairs, strict=True))


@settings(max_examples=30, deadline=None)
@given(graphs())
def test_elimination_finds_the_best_of_all_designs(graph):
    space, tables = graph
    maximiser = _Maximiser(space.sizes, space.pairs)
    assert maximiser.exact
    start = space.sample(np.random.default_rng(0))
    best = max(all_designs(space), key=lambda design: total(space, tables, design))
    assert maximiser.best(tables, [start]) == best
    assert maximiser.value(tables, best) == pytest.approx(total(space, tables, best))


@settings(max_examples=30, deadline=None)
@given(graphs())
def test_where_the_graph_is_too_wide_no_change_of_one_layer_is_better(graph):
    space, tables = graph
    maximiser = _Maximiser(space.sizes, space.pairs, most_cells=0)
    assert not maximiser.exact
    assert set().union(*maximiser._forests()) == set(range(len(space)))
    found = maximiser.best(tables, [space.sample(np.random.default_rng(0))])
    for layer, size in enumerate(space.sizes):
        for action in range(size):
            changed = (*found[:layer], action, *found[layer + 1 :])
            assert total(space, tables, changed) <= total(space, tables, found) + 1e-6


def test_where_the_graph_is_too_wide_the_best_of_all_is_mostly_found():
    space = space_of(*[3] * 6, pairs=list(itertools.combinations(range(6), 2)))
    rng, found = np.random.default_rng(0), 0
    maximiser = _Maximiser(space.sizes, space.pairs, most_cells=0)
    for _ in range(20):
        tables = Tables([rng.standard_normal(3) for _ in range(6)], [rng.standard_normal((3, 3)) for _ in space.pairs])
        design = maximiser.best(tables, [space.sample(rng) for _ in range(3)])
        best = max(total(space, tables, other) for other in all_designs(space))
        found += total(space, tables, design) > best - 1e-9
    assert found >= 14


def test_a_dense_graph_is_searched_and_a_residual_one_is_maximised_exactly():
    dense_pairs = list(itertools.combinations(range(12), 2))
    assert not _Maximiser([20] * 12, dense_pairs).exact
    residual = [(p, q) for p in range(40) for q in (p + 1, p + 2) if q < 40]
    assert _Maximiser([20] * 40, residual).exact


def test_without_pairs_designs_follow_in_the_order_of_their_values():
    space = space_of(3, 2, 3)
    rng = np.random.default_rng(0)
    tables = Tables([rng.standard_normal(size) for size in space.sizes], [])
    maximiser, known, order = _Maximiser(space.sizes, space.pairs), set(), []
    best = maximiser.best(tables, [(0, 0, 0)])
    for _ in range(space.size):
        order.append(maximiser.best_unknown(tables, best, known))
        known.add(order[-1])
    assert order == sorted(all_designs(space), key=lambda design: -total(space, tables, design))


# --- the learner -----------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=3), st.integers(0, 2**32 - 1), st.integers(1, 7))
def test_every_design_comes_once_and_then_there_is_none(sizes, seed, batch):
    space = chain(*sizes)
    designs = played(started(space, seed), space, lambda design: float(sum(design)), 1000, batch)
    assert sorted(designs) == all_designs(space)


def test_it_is_a_function_of_its_seed_and_what_it_is_told():
    space = mixed_space()

    def designs(seed, sign):
        return played(started(space, seed), space, lambda design: sign * float(sum(design)), 20, batch=3)

    assert designs(0, 1) == designs(0, 1)
    assert designs(0, 1) != designs(1, 1)
    assert designs(0, 1)[:3] == designs(0, -1)[:3]
    assert designs(0, 1) != designs(0, -1)


def test_reset_begins_again():
    space = mixed_space()
    learner = started(space, seed=3)
    first = played(learner, space, lambda design: float(sum(design)), 10)
    learner.reset(space, 3)
    assert played(learner, space, lambda design: float(sum(design)), 10) == first


def test_designs_that_it_was_told_without_asking_are_not_asked():
    space = chain(3, 3)
    learner = started(space)
    learner.tell([told(design, 1.0) for design in all_designs(space)[:-1]])
    assert learner.ask(5) == all_designs(space)[-1:]


def test_repeated_evaluations_of_a_design_are_taken_in():
    space = chain(3, 3)
    learner = started(space)
    learner.tell([told((0, 0), reward) for reward in (1.0, 2.0, 1.5)])
    assert len(set(learner.ask(8))) == 8


def test_the_unit_of_rewards_does_not_count():
    table = synthetic_table("pairwise", 0, layers=3)
    plain = played(started(table.space), table.space, table.value, 15)
    assert played(started(table.space), table.space, lambda design: 128 * table.value(design), 15) == plain


@pytest.mark.parametrize("penalty", [-2.0, -1e9, 1e9, math.nan])
def test_terminated_designs_rank_lowest_whatever_their_penalty(penalty):
    space = chain(4, 4, 4)

    def after(reward):
        learner = started(space)
        for design in all_designs(space)[:20:2]:
            learner.tell([told(design, reward if design[2] == 0 else float(sum(design)), terminated=design[2] == 0)])
        return learner.ask(5)

    assert after(penalty) == after(-1.0)


def test_an_action_that_always_fails_is_avoided():
    table = synthetic_table("additive", 0, layers=4, values=(3,))
    bad = table.best()[0]
    learner, failures = started(table.space), []
    for _ in range(40):
        (design,) = learner.ask(1)
        failures.append(design[0] == bad)
        learner.tell([told(design, -5.0 if failures[-1] else table.value(design), terminated=failures[-1])])
    # Random designs, 0.33 of them; all other 54 of 81 designs are still there.
    assert np.mean(failures[10:]) < 0.15


@pytest.mark.parametrize("reward", [math.nan, -math.inf, 0.0])
def test_rewards_that_are_all_the_same_or_no_numbers_do_no_harm(reward):
    space = chain(3, 3)
    assert len(set(played(started(space), space, lambda design: reward, 9))) == 9
    assert len(set(played(started(space, without="ranks"), space, lambda design: reward, 9))) == 9


def found_after(table, seed, **settings):
    """After how many evaluations the best design is found."""
    best = table.value(table.best())
    learner, rng, episode = started(table.space, seed, **settings), np.random.default_rng(seed), 1
    while table.value(design := learner.ask(1)[0]) < best - 1e-9:
        learner.tell([told(design, table.reward(design, rng))])
        episode += 1
    return episode


@pytest.mark.parametrize("seed", range(3))
def test_the_best_of_an_additive_table_is_found_within_two_evaluations_per_free_term(seed):
    # 6 layers of 6 actions: 46,656 designs, 1 + 6 * 5 = 31 free terms.
    assert found_after(synthetic_table("additive", seed, layers=6, values=(3, 2)), seed) <= 2 * 31


@pytest.mark.parametrize("seed", range(3))
def test_the_best_of_a_pairwise_table_is_found_within_two_evaluations_per_free_term(seed):
    # 6 layers of 4 actions: 4,096 designs, 1 + 6 * 3 + 5 * 9 = 64 free terms.
    assert found_after(synthetic_table("pairwise", seed, layers=6, values=(4,)), seed) <= 2 * 64


def test_in_pure_noise_it_sees_little_else():
    table = synthetic_table("noise", 0, layers=5)
    rng = np.random.default_rng(0)
    learner = started(table.space)
    played(learner, table.space, lambda design: table.reward(design, rng), 80)
    strengths = learner._posteriors["reward"].strengths
    assert strengths[:-1].sum() < strengths[-1]


def test_strengths_tell_an_additive_table_from_a_pairwise_one():
    def share_of_pairs(kind):
        table = synthetic_table(kind, 3, layers=4, values=(3,))
        learner, rng = started(table.space), np.random.default_rng(0)
        for _ in range(60):
            learner.tell([told(design := table.space.sample(rng), table.value(design))])
        strengths = learner._posteriors["reward"].strengths
        return strengths[2:4].sum() / strengths[:-1].sum()

    assert share_of_pairs("additive") < 0.25 < share_of_pairs("pairwise")


def hypervolume(points):
    """Area that points dominate, the higher the better in both, above (-4, -4)."""
    area, right = 0.0, -4.0
    for x, y in sorted(points, key=lambda point: -point[1]):
        if x > right:
            area, right = area + (x - right) * (y + 4), x
    return area


def test_two_objectives_have_more_hypervolume_than_random_designs():
    accuracy, size = (synthetic_table("pairwise", seed, layers=6, values=(3, 2)) for seed in (0, 1))
    space, rng = accuracy.space, np.random.default_rng(0)
    learner = started(space, multi_objective=True)
    points = []
    for _ in range(60):
        (design,) = learner.ask(1)
        points.append((accuracy.value(design), -size.value(design)))
        metrics = {"validation_accuracy": points[-1][0], "model_size_mb / original": -points[-1][1]}
        learner.tell([told(design, 0.0, **metrics)])
    random = [(accuracy.value(d), -size.value(d)) for d in (space.sample(rng) for _ in range(600))]
    assert hypervolume(points) > hypervolume(random)


def test_what_values_add_to_the_hypervolume_by_hand():
    # The front is (0, 2) and (2, 0); the reference lies a tenth of its extent, 0.2, beyond the nadir. Of the box of (1, 1), 1.44,
    # each has 0.24, and both have the 0.04 in the corner. The others are dominated or told.
    told = np.array([[0.0, 2.0], [2.0, 0.0], [0.0, 0.0]])
    np.testing.assert_allclose(
        _hypervolume_gains(np.array([[1.0, 1.0], [0.0, 1.0], [2.0, 0.0]]), told), [1.0, 0, 0], atol=1e-12
    )
    assert _hypervolume_gains(np.array([[1.0, 1.0]]), np.zeros((0, 2)))[0] == 0


def test_the_design_that_adds_most_hypervolume_is_worth_more_than_one_of_random_weights():
    def covered(**settings):
        shares = []
        for seed in range(4):
            drawn = drawing("synthetic-widths-7", seed)
            learner, points = started(drawn.space, seed, multi_objective=True, **settings), []
            for _ in range(40):
                (design,) = learner.ask(1)
                metrics = drawn.trial(Request(design, 0, 1)).metrics
                learner.tell([told(design, 0.0, **{VALUE: metrics[VALUE], "size": metrics["parameters"]})])
                points.append((3 * metrics[VALUE], -metrics["parameters"] / 1e5))
            shares.append(hypervolume(points))
        return np.mean(shares)

    assert covered() > covered(without="gain")


@pytest.mark.parametrize("several", [False, True])
def test_what_is_not_feasible_is_avoided_and_says_nothing_of_the_score(several):
    gained = []
    for seed in range(4):
        table = synthetic_table("pairwise", seed, layers=5, values=(3, 2), penalised=0.25)
        learner, feasible = started(table.space, multi_objective=several), []
        for number in range(60):
            (design,) = learner.ask(1)
            feasible.append(not table.forbidden(design))
            size = math.nan if number % 2 and not feasible[-1] else float(sum(design))
            value = table.value(design) if feasible[-1] else 1e3
            episode = told(design, value if feasible[-1] else -9.0, **{VALUE: value, "size": size})
            learner.tell([episode._replace(broken=not feasible[-1])])
        chance = np.mean([not table.forbidden(design) for design in all_designs(table.space)])
        gained.append(np.mean(feasible[20:]) / chance)
        if not several:
            assert len(learner._posteriors["reward"].scores) == sum(feasible)
            assert len(learner._feasibility.scores) == 60
    assert np.mean(gained) > 1.3


def test_the_first_samples_deviate_less_and_the_first_designs_still_differ():
    learner = started(chain(*[3] * 8))
    assert len(set(learner.ask(20))) == 20  # before anything was told

    def heat(asked):
        learner = started(chain(*[3] * 16))
        learner._known = set(itertools.islice(itertools.product(range(3), repeat=16), asked))
        posterior, heats = learner._begun(None), []
        learner._posteriors["reward"] = posterior
        posterior.draw = lambda heat, _: heats.append(heat) or np.zeros(learner._terms.count)
        learner.ask(1)
        return heats[0]

    # Of the designs that there are to be, one; a quarter; and more than all.
    heats = [heat(asked) for asked in (0, DESIGNS_PER_LAYER * 4 - 1, DESIGNS_PER_LAYER * 20)]
    np.testing.assert_allclose(np.array(heats) / heats[-1], [math.sqrt(1 / (16 * DESIGNS_PER_LAYER)), 0.5, 1])


def test_while_all_are_feasible_there_is_no_model_of_it():
    table = synthetic_table("pairwise", 1, layers=5)
    whole, without = (
        played(started(table.space, **more), table.space, table.value, 20) for more in ({}, {"without": "feasibility"})
    )
    assert whole == without


def test_designs_that_failed_have_no_objectives_and_are_taken_in():
    space = chain(3, 3)
    learner = started(space, multi_objective=True)
    for design in all_designs(space)[:4]:
        learner.tell([told(design, -1.0, terminated=True, validation_accuracy=math.nan, flops=math.nan)])
    assert len(set(learner.ask(5))) == 5


def test_a_thousand_layers():
    space = chain(*[3] * 1000)
    target = space.sample(np.random.default_rng(0))
    designs = played(started(space), space, lambda design: float(np.equal(design, target).sum()), 4)
    assert len(set(designs)) == 4


def test_an_unknown_part_is_refused():
    with pytest.raises(InputError, match="value_pair"):
        CoordinationGraph(without="action+value_pears")


def test_episodes_without_objectives_are_refused_where_there_are_to_be_several():
    learner = started(chain(3, 3), multi_objective=True)
    with pytest.raises(InputError, match="objectives"):
        learner.tell([told((0, 0), 1.0)])
