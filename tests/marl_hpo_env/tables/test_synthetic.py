"""Synthetic tables: their optimum is the best of all designs, and their values are what they say."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marl_hpo_env import InputError
from marl_hpo_env.tables.synthetic import PENALTY, SHARES, synthetic_table


def all_values(table):
    return {design: table.value(design) for design in itertools.product(*map(range, table.space.sizes))}


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(sorted(SHARES)),
    st.integers(0, 999),
    st.integers(1, 4),
    st.sampled_from([(3,), (2, 2), (4,)]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0.0, 0.3]),
)
def test_the_best_design_is_the_best_of_all(kind, seed, layers, values, skips, skewed, penalised):
    table = synthetic_table(kind, seed, layers=layers, values=values, skips=skips, skewed=skewed, penalised=penalised)
    known = all_values(table)
    assert table.value(table.best()) == pytest.approx(max(known.values()))
    assert table.space.check(table.best()) in known


@pytest.mark.parametrize("kind", ["additive", "pairwise", "rugged", "cells"])
@pytest.mark.parametrize("skips", [False, True])
def test_values_have_mean_0_and_variance_1(kind, skips):
    values = np.array(list(all_values(synthetic_table(kind, 5, layers=4, values=(3, 2), skips=skips)).values()))
    assert values.mean() == pytest.approx(0, abs=1e-9)
    assert values.var() == pytest.approx(1)


def test_an_additive_table_is_a_sum_over_layers_and_a_pairwise_one_is_not():
    def mixed_difference(kind):
        value = synthetic_table(kind, 1, layers=2, values=(3,)).value
        return value((0, 0)) - value((0, 1)) - value((1, 0)) + value((1, 1))

    assert mixed_difference("additive") == pytest.approx(0, abs=1e-9)
    assert abs(mixed_difference("pairwise")) > 1e-3


def test_only_pairs_in_the_graph_interact_in_a_pairwise_table():
    def mixed_difference(skips):
        value = synthetic_table("pairwise", 1, layers=3, values=(3,), skips=skips).value
        return value((0, 0, 0)) - value((0, 0, 1)) - value((1, 0, 0)) + value((1, 0, 1))

    assert mixed_difference(False) == pytest.approx(0, abs=1e-9)
    assert abs(mixed_difference(True)) > 1e-3


def test_in_cells_any_two_and_any_three_layers_interact():
    value = synthetic_table("cells", 1, layers=4, values=(3,)).value

    def mixed_difference(*layers):
        corners = itertools.product((0, 1), repeat=len(layers))
        return sum(
            (-1) ** sum(c) * value([dict(zip(layers, c, strict=True)).get(p, 2) for p in range(4)]) for c in corners
        )

    for layers in [(0, 1), (0, 3), (0, 1, 3)]:
        assert abs(mixed_difference(*layers)) > 1e-3


def test_rewards_are_values_with_noise_of_the_given_deviation():
    table = synthetic_table("additive", 0, layers=2, noise=0.5)
    rng = np.random.default_rng(0)
    errors = np.array([table.reward((1, 2), rng) for _ in range(2000)]) - table.value((1, 2))
    assert abs(errors.mean()) < 4 * 0.5 / 2000**0.5
    assert errors.std() == pytest.approx(0.5, rel=0.1)
    exact = synthetic_table("additive", 0, layers=2)
    assert exact.reward((1, 2), rng) == exact.value((1, 2))


def test_in_pure_noise_all_designs_are_worth_the_same():
    table = synthetic_table("noise", 0, layers=3, values=(3,))
    assert set(all_values(table).values()) == {0.0}
    assert table.noise == 1.0


def test_a_design_with_a_penalised_pair_has_the_penalty_and_all_others_their_values():
    table, without = (synthetic_table("pairwise", 0, layers=4, values=(4,), penalised=share) for share in (0.1, 0.0))
    assert table.penalised
    for design, value in all_values(table).items():
        broken = any((p, design[p - 1], design[p]) in table.penalised for p in range(1, 4))
        assert value == (PENALTY if broken else without.value(design))


def test_a_skewed_table_keeps_the_order_and_crowds_the_best():
    plain, skewed = (
        np.array(list(all_values(synthetic_table("additive", 2, layers=3, skewed=s)).values())) for s in (0, 1)
    )
    assert (plain.argsort() == skewed.argsort()).all()
    deciles = np.quantile(skewed, [0, 0.1, 0.9, 1])
    assert deciles[3] - deciles[2] < deciles[1] - deciles[0]


def test_a_table_is_a_function_of_its_seed():
    first, again, other = (synthetic_table("rugged", seed, layers=3) for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(first.terms, again.terms, strict=True))
    assert any((a != b).any() for a, b in zip(first.terms, other.terms, strict=True))


def test_an_unknown_kind_is_refused():
    with pytest.raises(InputError, match="pairwise"):
        synthetic_table("pairwize", 0)
