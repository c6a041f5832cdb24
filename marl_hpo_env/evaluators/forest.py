"""An ensemble of regression trees as arrays: fitted by scikit-learn, evaluated by NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

PARTS = ("feature", "threshold", "left", "right", "value", "roots", "base")


class Forest:
    """Trees whose leaves are added up.

    Args:
        parts: by the names in `PARTS`. Of every node, shape (nodes,): the `feature` that is compared, the `threshold` up to which
            the node `left` is next, and else the node `right`; a leaf is next itself, and has a `value`. The nodes at which the
            trees begin are `roots`, shape (trees,). What is added to the leaves is `base`, shape (1,).

    Attributes:
        features: so many at least has a row to have.

    Raises:
        ValueError: if these are no trees.
    """

    def __init__(self, parts: Mapping[str, Array]) -> None:
        self.parts = {name: np.asarray(parts[name], dtype=np.float64) for name in PARTS}
        self._threshold, self._value, self._base = (self.parts[name] for name in ("threshold", "value", "base"))
        self._feature, self._left, self._right, self._roots = (
            self.parts[name].astype(np.int64) for name in ("feature", "left", "right", "roots")
        )
        nodes = np.arange(len(self._value))
        roots = ((self._roots >= 0) & (self._roots < len(nodes))).all()
        whole = {len(self.parts[name]) for name in PARTS[:5]} == {len(nodes)}
        if not (whole and roots and (self._feature >= 0).all()) or not all(
            ((nodes <= n) & (n < len(nodes))).all() for n in (self._left, self._right)
        ):
            raise ValueError("its trees do not lead from their roots to their leaves")
        self.features = 1 + int(self._feature.max(initial=-1))

    @classmethod
    def of(cls, fitted: Any) -> Forest:
        """The same as a fitted random forest, extra trees or gradient boosting of scikit-learn's, of one output."""
        trees = [estimator.tree_ for estimator in np.ravel(fitted.estimators_)]
        share = getattr(fitted, "learning_rate", 1 / len(trees))
        roots = np.cumsum([0, *(tree.node_count for tree in trees)])[:-1]
        nodes: dict[str, list[Array]] = {name: [] for name in PARTS[:5]}
        for tree, root in zip(trees, roots, strict=True):
            leaf, own = tree.children_left < 0, np.arange(tree.node_count)
            nodes["feature"].append(np.where(leaf, 0, tree.feature))
            nodes["threshold"].append(np.where(leaf, 0.0, tree.threshold))
            nodes["left"].append(root + np.where(leaf, own, tree.children_left))
            nodes["right"].append(root + np.where(leaf, own, tree.children_right))
            nodes["value"].append(np.where(leaf, share * tree.value[:, 0, 0], 0.0))
        base = fitted.init_.constant_.ravel() if hasattr(fitted, "init_") else np.zeros(1)
        return cls({name: np.concatenate(arrays) for name, arrays in nodes.items()} | {"roots": roots, "base": base})

    def predict(self, features: npt.ArrayLike) -> Array:
        """What is predicted, shape (n,), from features of shape (n, features)."""
        seen = np.asarray(features, dtype=np.float32)  # as scikit-learn compares them
        rows = np.arange(len(seen))[:, None]
        at = np.broadcast_to(self._roots, (len(seen), len(self._roots)))
        while True:
            lower = seen[rows, self._feature[at]] <= self._threshold[at]
            after = np.where(lower, self._left[at], self._right[at])
            if np.array_equal(after, at):
                return self._base + self._value[at].sum(axis=1)
            at = after
