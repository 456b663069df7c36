"""The examples in CONTRIBUTING.md are working plugins."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from bids_app import maps

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()

TRAIN = """
import numpy as np, pandas as pd
from pathlib import Path
from bids_app.dataset import folds
from bids_app.dataset.grid import Grid
from bids_app.training import fold

random, here = np.random.default_rng(0), Path(".")
grid = Grid(np.ones((6, 6, 6), bool), np.diag([3.0, 3.0, 3.0, 1.0]))
grid.write(here / "grid.npz")
np.save("gm.npy", random.normal(size=(8, grid.voxels)).astype(np.float32))
classes = ["control", "patient"] * 4
people = pd.DataFrame({"participant_id": list("abcdefgh"), "session_id": "n/a", "class": classes})
people.to_csv("people.tsv", sep="\\t", index=False)
fold.train_fold(
    cell="toy/gm", classifier="toy", maps=("gm",), arrays={"gm": here / "gm.npy"}, grid_file=here / "grid.npz",
    people=here / "people.tsv", classes=("control", "patient"), split=folds.stratified_folds(classes, folds=2)[0],
    explainers=("toy",), adjust={}, seed=1, device="cpu", options={"epochs": 1}, folder=here / "fold", settings={},
)
print(np.load("fold/heatmap_toy.npy").shape)
"""


def code(kind: str) -> str:
    """The code under the heading `Adding a KIND`."""
    block = re.search(r"^```python\n(.*?)^```", TEXT.split(f"## Adding {kind}\n")[1], re.MULTILINE | re.DOTALL)
    assert block is not None
    return block[1]


def example(kind: str) -> ModuleType:
    module = ModuleType(f"example_{kind.split()[-1]}")
    exec(compile(code(kind), "CONTRIBUTING.md", "exec"), module.__dict__)
    return module


def test_example_map_is_an_array_of_the_input_shape():
    density = np.random.default_rng(0).random((6, 5, 4))
    part = example("a map")
    maps.check_contract("density", part)
    np.testing.assert_allclose(part.compute(density, threshold=0.0), density, rtol=1e-6)
    assert (part.compute(density, threshold=0.5) > 0).mean() < 0.7


def test_example_classifier_gives_logits_and_a_cam_layer():
    part = example("a classifier")
    network = part.build(2, 3, (6, 5, 4), voxel_mm=(3.0, 3.0, 3.0), seed=1)
    assert network(torch.zeros(4, 2, 6, 5, 4)).shape == (4, 3)
    assert isinstance(network.cam_layer, torch.nn.Module)
    assert network.input_format == part.INPUT_FORMAT == "volumes"


def test_example_explainer_sums_to_the_logit_of_a_linear_network():
    linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2 * 6 * 5 * 4, 2, bias=False))
    explainer = example("an explainer")
    assert "networks" in explainer.check(linear)
    linear.input_format = "volumes"
    assert explainer.check(linear) is None
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 6, 5, 4)).astype(np.float32))
    heatmap = explainer.explain(linear, x, 1, mask=np.ones((6, 5, 4), bool))
    assert heatmap.shape == (6, 5, 4)
    np.testing.assert_allclose(heatmap.sum(), linear(x[None])[0, 1].item(), rtol=1e-4)


def test_example_classifier_and_explainer_files_give_a_trained_and_explained_fold(tmp_path: Path):
    shutil.copytree(ROOT / "bids_app", tmp_path / "bids_app", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "bids_app" / "classifiers" / "toy.py").write_text(code("a classifier"))
    (tmp_path / "bids_app" / "explainers" / "toy.py").write_text(code("an explainer"))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", TRAIN], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "(4, 2, 216)", done.stderr  # held-out participants, classes, voxels
