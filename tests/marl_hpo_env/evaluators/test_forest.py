"""Trees as arrays are scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesRegressor, GradientBoostingRegressor, RandomForestRegressor

from marl_hpo_env.evaluators.forest import Forest

KINDS = {
    "extra trees": ExtraTreesRegressor(20, random_state=0),
    "random forest": RandomForestRegressor(20, random_state=0),
    "gradient boosting": GradientBoostingRegressor(n_estimators=30, subsample=0.7, random_state=0),
}


@pytest.fixture
def examples():
    rng = np.random.default_rng(0)
    features = rng.integers(0, 10**9, (200, 6))  # beyond what a float of 32 bits holds exactly
    return features, np.sin(features[:, 0] / 1e8) + features[:, 1] / 1e9 + rng.normal(0, 0.1, 200)


@pytest.mark.parametrize("kind", KINDS)
def test_it_predicts_what_the_library_predicts(kind, examples):
    features, target = examples
    fitted = KINDS[kind].fit(features[:100], target[:100])
    forest = Forest(Forest.of(fitted).parts)
    assert np.abs(forest.predict(features) - fitted.predict(features)).max() < 1e-12
    # Right at a threshold, and one float beyond it, too.
    at = np.float32(forest.parts["threshold"][forest.parts["feature"] == 1])
    edges = np.repeat(features[:1].astype(np.float32), 2 * len(at), axis=0)
    edges[:, 1] = [*at, *np.nextafter(at, np.float32(np.inf))]
    assert np.abs(forest.predict(edges) - fitted.predict(edges)).max() < 1e-12
    assert forest.predict(features[:0]).shape == (0,)


def test_a_single_leaf_is_a_tree():
    forest = Forest.of(RandomForestRegressor(3, random_state=0).fit([[0.0], [1.0]], [5.0, 5.0]))
    assert forest.predict([[0.5]]).tolist() == [5.0]


@pytest.mark.parametrize("part", ["left", "right", "value", "roots", "feature"])
def test_what_goes_in_circles_or_is_cut_off_is_no_forest(part, examples):
    parts = Forest.of(KINDS["random forest"].fit(*examples)).parts
    wrong = {"value": parts["value"][:-1], "roots": parts["roots"] + 1e6, "feature": parts["feature"] - 1}
    wrong = wrong.get(part, np.zeros(len(parts[part])))
    with pytest.raises(ValueError, match="do not lead"):
        Forest({**parts, part: wrong})
