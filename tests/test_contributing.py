"""The examples in CONTRIBUTING.md are working plugins."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from bids_app import explainers, maps, settings

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()

# the files of the examples
FILES = {
    "a map": "maps/density",
    "a classifier": "classifiers/minimal",
    "an explainer": "explainers/gradient_times_input",
}
CONTRACT = [
    f"tests/test_{name}.py" for name in ("contracts", "maps", "classifiers", "explainers", "explainers_contract")
]
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
    cell="minimal/gm", classifier="minimal", maps=("gm",), arrays={"gm": here / "gm.npy"}, grid_file=here / "grid.npz",
    people=here / "people.tsv", classes=("control", "patient"), split=folds.stratified_folds(classes, folds=2)[0],
    explainers=("gradient_times_input",), adjust={}, seed=1, device="cpu", options={"epochs": 1}, folder=here / "fold",
    settings={},
)
print(np.load("fold/heatmap_gradient_times_input.npy").shape)
"""


def code(kind: str) -> str:
    """The code under the heading `Adding a KIND`."""
    block = re.search(r"^```(?:python|toml)\n(.*?)^```", TEXT.split(f"## Adding {kind}\n")[1], re.MULTILINE | re.DOTALL)
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
    explainers.check_contract("gradient_times_input", explainer)
    assert explainer.check(linear).startswith("gradient_times_input is for networks")
    linear.input_format = "volumes"
    assert explainer.check(linear) is None
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 6, 5, 4)).astype(np.float32))
    heatmap = explainer.explain(linear, x, 1, mask=np.ones((6, 5, 4), bool))
    assert heatmap.shape == (6, 5, 4)
    np.testing.assert_allclose(heatmap.sum(), linear(x[None])[0, 1].item(), rtol=1e-4)


@pytest.mark.parametrize(("sloppy", "expected"), [(False, (1.5, 10)), (True, (3.0, 2))])
def test_example_recipe_sets_what_it_states(tmp_path, sloppy, expected):
    (tmp_path / "study.toml").write_text(code("a recipe"))
    options = {"recipe": [str(tmp_path / "study.toml")], "sloppy": sloppy}
    (chosen,) = settings.each("group", tmp_path / "BIDS", tmp_path / "OUT", options=options)
    assert (chosen.participant.resolution, chosen.group.folds) == expected
    assert (chosen.participant.maps, chosen.group.classifiers) == (("gm",), ("regional", "svm"))


@pytest.fixture
def with_examples(tmp_path):
    """A copy of the program in which the examples are parts of the catalogue."""
    for name in ("bids_app", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name)  # with compiled files
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for kind, file in FILES.items():
        (tmp_path / "bids_app" / f"{file}.py").write_text(code(kind))
    return tmp_path


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command, environment = [sys.executable, *words], {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_examples_pass_the_contract_tests_of_the_catalogue(with_examples):
    names = [Path(file).name for file in FILES.values()]
    done = run(with_examples, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-k", " or ".join(names), *CONTRACT)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    for test in (
        "test_maps.py::test_docstrings_give_summary_array_axes_and_citation[density]",
        "test_contracts.py::test_t1w_map_does_not_depend_on_the_grid_origin[density]",
        "test_contracts.py::test_every_printed_citation_has_a_reference[classifiers-minimal]",
        "test_classifiers.py::test_classifier_declares_input_format_and_training_settings[minimal]",
        "test_explainers.py::test_explainer_declares_sign_unit_scope_and_source[gradient_times_input]",
        "test_explainers.py::test_maps_are_finite_nonzero_and_on_the_image_grid[gradient_times_input-cnn3d]",
    ):
        assert f"{test} PASSED" in done.stdout


def test_example_classifier_and_explainer_files_give_a_trained_and_explained_fold(with_examples):
    done = run(with_examples, "-c", TRAIN)
    assert done.stdout.strip() == "(4, 2, 216)", done.stderr  # held-out participants, classes, voxels
