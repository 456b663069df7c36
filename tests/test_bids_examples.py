"""The table of bids-examples in docs/layouts.md: what is planned for each of its data sets, row by row."""

import os
import re
from collections import Counter
from pathlib import Path

import pytest
from bids_examples import describe_dataset

DOCUMENT = Path(__file__).parents[1] / "docs" / "layouts.md"


def read_table() -> dict[str, tuple[str, ...]]:
    """Data set -> the cells that describe it. A row of several, NAME (PARTICIPANTS), is repeated for each."""
    lines = DOCUMENT.read_text(encoding="utf-8").split("\n## bids-examples\n")[1].splitlines()
    rows = [line.strip()[1:-1].split("|") for line in lines if line.startswith("|")][2:]
    table: dict[str, tuple[str, ...]] = {}
    for names, people, gm, bold, why in ([cell.strip() for cell in row] for row in rows):
        for name, count in re.findall(r"([\w-]+)(?: \((\d+)\))?", names):
            assert name not in table
            table[name] = (count or people, count if gm == "all" else gm, bold, why)
    return table


TABLE = read_table()


@pytest.fixture(scope="module")
def examples() -> Path:
    """The checkout of bids-examples; skips without one."""
    if not (folder := os.environ.get("PELLUCID_BIDS_EXAMPLES")):
        pytest.skip("set PELLUCID_BIDS_EXAMPLES to a checkout of github.com/bids-standard/bids-examples")
    return Path(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLE)
def test_each_row_is_what_planning_gives(examples, tmp_path, name):
    assert describe_dataset(examples / name, tmp_path) == TABLE[name]


@pytest.mark.slow
def test_each_data_set_has_a_row(examples):
    assert sorted(TABLE) == sorted(file.parent.name for file in examples.glob("*/dataset_description.json"))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row[1:3] != ("0", "0")])
def test_numbers_are_those_of_the_file_names(examples, name):
    images = {suffix: list((examples / name).glob(f"sub-*/**/sub-*_{suffix}.nii*")) for suffix in ("T1w", "bold")}
    participants = {suffix: {path.name.split("_")[0] for path in paths} for suffix, paths in images.items()}
    people, gm, bold, _ = TABLE[name]
    assert people == str(len(list((examples / name).glob("sub-*/"))))
    assert gm.split()[0] == str(len(participants["T1w"]))
    if bold != "0":
        tasks = Counter(re.findall(r"_task-([0-9A-Za-z]+)", " ".join(path.name for path in images["bold"])))
        runs = sorted({min(tasks.values()), max(tasks.values())})
        assert bold.split(" (")[1] == f"{' to '.join(map(str, runs))} runs)"
