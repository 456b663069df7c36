"""Random forest on all voxels: five hundred trees, each grown on a bootstrap sample, with splits selected among random
subsets of as many voxels as the square root of all; the probability of a class is the mean over trees.

Trees are grown until their leaves are pure; classes have equal weight in the bootstrap sample of each tree. The forest
is stored as arrays of nodes, without scikit-learn's objects. It is a step function of the voxels without a gradient:
`occlusion` explains it.

Breiman 2001, Machine Learning 45:5-32, doi:10.1023/A:1010933404324; grown by scikit-learn.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from torch import nn

from bids_app.classifiers._class_check import check_classes
from bids_app.classifiers._voxel_grid import VoxelGrid

INPUT_FORMAT = "vectors"
TREES = 500
MIN_PROBABILITY = 1e-9  # of a class that no tree votes for, as its logit has to be finite


class Forest(nn.Module):
    """Logits (batch, classes), the logarithm of the probabilities, of x (batch, voxels).

    Arrays (trees, nodes): a node asks whether the value of `voxel` is at most `threshold`, and its children are `left`
    for yes and `right` for no; a leaf is its own child and has `votes` (trees, nodes, classes). Node 0 is the root;
    after a tree's last node there are zeros. Untrained, it is one leaf with equal votes.
    """

    input_format = INPUT_FORMAT
    differentiable = False
    voxel: torch.Tensor
    left: torch.Tensor
    right: torch.Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        for name in ("voxel", "left", "right"):
            self.register_buffer(name, torch.zeros(1, 1, dtype=torch.int64))
        # learnt, so that weight randomisation can shuffle it, but without a gradient
        self.threshold = nn.Parameter(torch.zeros(1, 1, dtype=torch.float64), requires_grad=False)
        self.votes = nn.Parameter(torch.full((1, 1, classes), 1 / classes, dtype=torch.float64), requires_grad=False)
        self.register_load_state_dict_pre_hook(_resize_tensors)

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
        return probability.clamp(min=MIN_PROBABILITY).log().to(x.dtype)

    def fit(
        self,
        x: NDArray[Any],
        y: NDArray[np.int_],
        *,
        seed: int,
        groups: Sequence[str] | None = None,
        voxel_grid: VoxelGrid | None = None,
    ) -> None:
        """Fit to samples x (n, voxels) of classes y (n,), 0 to classes - 1. Raises DataError for an empty class."""
        del groups, voxel_grid
        check_classes(y, self.votes.shape[-1])
        grown = RandomForestClassifier(TREES, class_weight="balanced_subsample", random_state=seed, n_jobs=1).fit(x, y)
        self.load_state_dict(_arrays([tree.tree_ for tree in grown.estimators_]))


def build(
    channels: int, classes: int, shape: tuple[int, ...], *, voxel_mm: tuple[float, float, float], seed: int
) -> Forest:
    """A forest for vectors of any length; the seed is that of `fit`."""
    del channels, shape, voxel_mm, seed
    return Forest(classes)


def _arrays(trees: list[Any]) -> dict[str, torch.Tensor]:
    """The state of a forest of scikit-learn's trees, each padded with zeros to the size of the largest."""
    size = max(tree.node_count for tree in trees)
    padded = [{name: _pad(array, size) for name, array in _nodes(tree).items()} for tree in trees]
    return {name: torch.from_numpy(np.stack([nodes[name] for nodes in padded])) for name in padded[0]}


def _nodes(tree: Any) -> dict[str, NDArray[Any]]:
    """The nodes of one of scikit-learn's trees, by the names of `Forest`."""
    leaf, itself = tree.children_left < 0, np.arange(tree.node_count)
    weight = tree.value[:, 0]
    return {
        "voxel": np.where(leaf, 0, tree.feature),
        "threshold": np.where(leaf, 0.0, tree.threshold),
        "left": np.where(leaf, itself, tree.children_left),
        "right": np.where(leaf, itself, tree.children_right),
        "votes": weight / weight.sum(axis=1, keepdims=True),
    }


def _pad(array: NDArray[Any], size: int) -> NDArray[Any]:
    """An array of nodes with zeros after the last one."""
    return np.pad(array, [(0, size - len(array)), *[(0, 0)] * (array.ndim - 1)])


def _resize_tensors(module: nn.Module, state: dict[str, torch.Tensor], prefix: str, *others: object) -> None:
    """Give the tensors the size of those that are loaded, which may have other numbers of trees and nodes."""
    del others
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if (loaded := state.get(prefix + name)) is not None and loaded.ndim == tensor.ndim:
            tensor.data = tensor.new_zeros(loaded.shape)
