"""The files of a trained model are those that training wrote, all of them and no others."""

import shutil

import pytest
import tomli_w

from bids_app.errors import DataError
from bids_app.training.model_metadata import CELL_FILE, METADATA_FILE, WEIGHTS_FILE, compute_digests, read_cell_metadata

CLASSES = 'classes = ["control", "patient"]'


@pytest.fixture
def cell(tmp_path):
    """A cell's folder with two folds and its cell.toml."""
    folder = tmp_path / "svm" / "gm"
    for fold in (1, 2):
        model = folder / f"repeat-1_fold-{fold}"
        model.mkdir(parents=True)
        (model / METADATA_FILE).write_text(CLASSES)
        (model / WEIGHTS_FILE).write_bytes(bytes([fold]))
    facts = {"verdict": {"kind": "chance", "claim": False, "text": ""}, "training": {"people": {"control": 3}}}
    (folder / CELL_FILE).write_text(tomli_w.dumps({**facts, "files": compute_digests(folder)}))
    return folder


def read(folder, root):
    return read_cell_metadata({model: {} for model in sorted(folder.glob("repeat-*"))}, root=root)


def swap_classes(folder):
    for file in folder.rglob(METADATA_FILE):
        file.write_text('classes = ["patient", "control"]')


CHANGES = {
    "swapped classes": (swap_classes, "fold-1/model.toml"),
    "a missing fold": (lambda folder: shutil.rmtree(folder / "repeat-1_fold-2"), "fold-2/model.toml"),
    "other weights": (lambda folder: (folder / "repeat-1_fold-2" / WEIGHTS_FILE).write_bytes(b"x"), "fold-2/weights"),
    "an added fold": (lambda folder: shutil.copytree(folder / "repeat-1_fold-2", folder / "repeat-1_fold-3"), "fold-3"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_models_that_differ_from_what_training_wrote_are_refused(cell, change):
    read(cell, cell.parent)
    alter, named = CHANGES[change]
    alter(cell)
    with pytest.raises(DataError, match=f"repeat-1_{named}.*copy the complete folder of the model again"):
        read(cell, cell.parent)


def test_the_folder_of_one_fold_may_stand_alone_but_unchanged(cell):
    one = cell / "repeat-1_fold-1"
    shutil.rmtree(cell / "repeat-1_fold-2")
    assert read_cell_metadata({one: {}}, root=one)["verdict"]["kind"] == "chance"
    swap_classes(cell)
    with pytest.raises(DataError, match=r"repeat-1_fold-1/model\.toml in .* differs from what training wrote"):
        read_cell_metadata({one: {}}, root=one)
