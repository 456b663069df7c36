"""Random forest on all voxels: five hundred trees, each grown on people drawn with replacement, its splits chosen among
as many voxels, drawn anew, as the square root of all; the probability of a class is the mean over trees.

Trees are grown until their leaves are pure; classes weigh the same among the people of each tree. It is kept as arrays
of nodes, without scikit-learn's own objects. It steps where a voxel crosses a threshold and is flat elsewhere, so that
there is no gradient: `occlusion` explains it.

Breiman 2001, Machine Learning 45:5-32, doi:10.1023/A:1010933404324; grown by scikit-learn.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from torch import nn

from bids_app.classifiers import _people
from bids_app.classifiers._places import Places

TAKES = "vectors"
TREES = 500
LEAST = 1e-9  # a class that no tree votes for has this probability, as its logit has to be finite


class Forest(nn.Module):
    """Logits (batch, classes), the logarithm of the probabilities, of x (batch, voxels).

    Of a tree and a node, by row and column: `voxel` and `threshold` of its question, whether a value is at most so
    large, and the node to go on with, `left` for yes, `right` for no; `votes` (trees, nodes, classes) of a leaf, which
    goes on with itself. Node 0 is the root, and beyond a tree's last node there are zeros. Untrained, it is one leaf
    that says nothing.
    """

    takes = TAKES
    differentiable = False
    voxel: torch.Tensor
    left: torch.Tensor
    right: torch.Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        for name in ("voxel", "left", "right"):
            self.register_buffer(name, torch.zeros(1, 1, dtype=torch.int64))
        # what is learnt, so that it can be shuffled, but by no gradient
        self.threshold = nn.Parameter(torch.zeros(1, 1, dtype=torch.float64), requires_grad=False)
        self.votes = nn.Parameter(torch.full((1, 1, classes), 1 / classes, dtype=torch.float64), requires_grad=False)
        self.register_load_state_dict_pre_hook(_make_room)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (batch, classes)."""
        trees = torch.arange(len(self.voxel), device=x.device)
        node = torch.zeros(len(x), len(trees), dtype=torch.int64, device=x.device)
        while True:
            value = torch.gather(x, 1, self.voxel[trees, node])
            after = torch.where(value <= self.threshold[trees, node], self.left[trees, node], self.right[trees, node])
            if torch.equal(after, node):
                break
            node = after
        probability = self.votes[trees, node].mean(dim=1)
        return probability.clamp(min=LEAST).log().to(x.dtype)

    def fit(
        self,
        x: NDArray[Any],
        y: NDArray[np.int_],
        *,
        seed: int,
        groups: Sequence[str] | None = None,
        places: Places | None = None,
    ) -> None:
        """Learn from people x (n, voxels) of classes y (n,), 0 to classes - 1. Raises DataError for an empty class."""
        del groups, places
        _people.check(y, self.votes.shape[-1])
        grown = RandomForestClassifier(TREES, class_weight="balanced_subsample", random_state=seed, n_jobs=1).fit(x, y)
        self.load_state_dict(_arrays([one.tree_ for one in grown.estimators_]))


def build(
    channels: int, classes: int, shape: tuple[int, ...], *, voxel_mm: tuple[float, float, float], seed: int
) -> Forest:
    """A forest for vectors of any length; it knows nothing of space, and its random start is that of `fit`."""
    del channels, shape, voxel_mm, seed
    return Forest(classes)


def _arrays(trees: list[Any]) -> dict[str, torch.Tensor]:
    """The state of a forest from scikit-learn's trees, each filled up with zeros to the size of the largest."""
    most = max(tree.node_count for tree in trees)
    made = [{name: _filled(array, most) for name, array in _nodes(tree).items()} for tree in trees]
    return {name: torch.from_numpy(np.stack([one[name] for one in made])) for name in made[0]}


def _nodes(tree: Any) -> dict[str, NDArray[Any]]:
    """The nodes of one tree of scikit-learn's, by the names of `Forest`."""
    leaf, itself = tree.children_left < 0, np.arange(tree.node_count)
    weight = tree.value[:, 0]
    return {
        "voxel": np.where(leaf, 0, tree.feature),
        "threshold": np.where(leaf, 0.0, tree.threshold),
        "left": np.where(leaf, itself, tree.children_left),
        "right": np.where(leaf, itself, tree.children_right),
        "votes": weight / weight.sum(axis=1, keepdims=True),
    }


def _filled(array: NDArray[Any], most: int) -> NDArray[Any]:
    """An array of nodes with zeros after the last one."""
    return np.pad(array, [(0, most - len(array)), *[(0, 0)] * (array.ndim - 1)])


def _make_room(module: nn.Module, state: dict[str, torch.Tensor], prefix: str, *others: object) -> None:
    """Before a state is loaded: tensors as large as those that come, however many trees and nodes there were."""
    del others
    for name, own in (*module.named_parameters(), *module.named_buffers()):
        if (given := state.get(prefix + name)) is not None and given.ndim == own.ndim:
            own.data = own.new_zeros(given.shape)
