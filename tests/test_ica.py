"""ICA within folds: matching of components and networks, and independence from held-out participants."""

import json

import nibabel as nib
import numpy as np
import pytest

from bids_app.dataset import arrays, folds, ica
from bids_app.dataset.grid import Grid
from bids_app.errors import DataError
from bids_app.graphs.function_node import make_node
from bids_app.graphs.ica import MapSources, training_rows
from bids_app.maps import networks
from bids_app.nodes.ica import EVERYBODY, check_components, dual_regress, fit_ica
from bids_app.planning import ica as planning_ica

SHAPE, TIME, PEOPLE, SOURCES = (16, 16, 12), 40, 12, 5
GRID = Grid(np.ones(SHAPE, bool), np.diag([4.0, 4, 4, 1]))
NAMES = ["A", "B", "C", "D", "E"]
PLAN = {"maps": ["ica-A", "ica-D"], "networks": NAMES, "smoothing": {"ica-A": 6.0, "ica-D": 0.0},
        "forms": {"ica-A": "raw", "ica-D": "raw"}}  # fmt: skip


def blobs():
    """Five places (5, voxels), apart from each other, as smooth as networks are."""
    where = np.indices(SHAPE).reshape(3, -1).T
    centres = np.array([[4, 4, 3], [12, 4, 3], [4, 12, 8], [12, 12, 8], [8, 8, 5]])
    return np.exp(-((where[None] - centres[:, None]) ** 2).sum(axis=2) / 8).astype(np.float32)


def person(seed):
    """Series (voxels, time) in which every blob has a separate time course."""
    rng = np.random.default_rng(seed)
    courses = rng.standard_normal((SOURCES, TIME)) * 4
    return (blobs().T @ courses + rng.standard_normal((GRID.voxels, TIME))).astype(np.float32)


@pytest.fixture(scope="module")
def series():
    return [person(seed) for seed in range(PEOPLE)]


@pytest.fixture(scope="module")
def found(series):
    """The ICA of all participants, with the second reference inverted."""
    signs = np.array([1, -1, 1, 1, 1])
    return ica.fit(series, (blobs() * signs[:, None]).T, GRID, components=6, seed=3)


def test_each_reference_is_matched_to_the_planted_source_with_positive_r(found):
    planted = blobs() * np.array([1, -1, 1, 1, 1])[:, None]
    for number, reference in enumerate(planted):
        every = np.corrcoef(reference, found["components"])[0, 1:]
        assert np.abs(every).argmax() == found["component"][number]
        assert every.max() == pytest.approx(found["r"][number], abs=1e-5)
        assert found["r"][number] > 0.6
    assert len(set(found["component"].tolist())) == SOURCES
    assert set(found["sign"].tolist()) <= {-1, 1}
    assert found["sign"][1] == -1  # CanICA turns the peak upwards, and this reference points down
    assert found["components"].shape == (6, GRID.voxels)


def test_references_are_assigned_to_distinct_components_with_maximal_total_correlation():
    import itertools

    rng = np.random.default_rng(1)
    components = rng.standard_normal((4, 300)).astype(np.float32)
    references = np.stack([components[0], components[0] + 0.5 * components[2], rng.standard_normal(300)], axis=1)
    component, r = ica.match_networks(components, references.astype(np.float32))
    every = np.abs(np.corrcoef(references.T, components)[:3, 3:])
    best = max(itertools.permutations(range(4), 3), key=lambda one: sum(every[row, at] for row, at in enumerate(one)))
    assert tuple(component) == best
    assert len(set(component.tolist())) == 3
    np.testing.assert_allclose(np.abs(r), [every[row, at] for row, at in enumerate(best)], rtol=1e-5)


def test_more_networks_than_components_and_constant_references_are_refused():
    components = np.random.default_rng(1).standard_normal((2, 50)).astype(np.float32)
    with pytest.raises(DataError, match="--ica-components is 2"):
        ica.match_networks(components, np.ones((50, 3), np.float32))
    with pytest.raises(DataError, match="constant or not a number"):
        ica.match_networks(components, np.ones((50, 1), np.float32))


def test_dual_regression_equals_the_networks_map_on_all_components(found, series):
    names = tuple(map(str, range(6)))
    whole = networks.compute(series[2], network_maps=np.ascontiguousarray(found["components"].T), network_names=names)
    made = ica.transform(series[2], found)
    for number, component in enumerate(found["component"]):
        np.testing.assert_array_equal(made[number], whole[f"beta_{component}"])
    one = ica.select_network(found, 3)
    np.testing.assert_array_equal(ica.transform(series[2], one), made[[3]])


@pytest.fixture
def gathered(tmp_path, series):
    """What `fitted.gather` leaves, of these participants; the last has two runs."""
    (tmp_path / "series").mkdir()
    GRID.write(tmp_path / "grid.npz")
    np.save(tmp_path / "references.npy", blobs().T)
    files = [[str(tmp_path / "series" / f"{number}.npy")] for number in range(PEOPLE)]
    files[-1].append(str(tmp_path / "series" / "more.npy"))
    for path, values in zip([path for runs in files for path in runs], [*series, person(99)], strict=True):
        np.save(path, values)
    return {"grid": str(tmp_path / "grid.npz"), "files": files, "references": str(tmp_path / "references.npy")}


def fold(gathered, work, rows=(0, 1, 2)):
    work.mkdir(exist_ok=True)
    folder = fit_ica(series=gathered, rows=list(rows), components=5, seed=7, work=str(work))
    with np.load(f"{folder}/fitted.npz") as stored:
        return folder, dict(stored)


@pytest.mark.slow
def test_components_depend_on_training_but_not_on_held_out_participants(gathered, tmp_path):
    _, before = fold(gathered, tmp_path / "one")
    np.save(gathered["files"][4][0], person(50))
    _, other = fold(gathered, tmp_path / "two")
    for name, values in before.items():
        np.testing.assert_array_equal(values, other[name])
    np.save(gathered["files"][2][0], person(50))
    _, changed = fold(gathered, tmp_path / "three")
    assert (changed["components"] != before["components"]).any()


def test_fold_arrays_are_smoothed_betas_averaged_over_runs(gathered, tmp_path):
    folder, stored = fold(gathered, tmp_path / "work")
    numbers = check_components(plan=PLAN, work=str(tmp_path / "work"), fit_1_1=folder)
    assert numbers == {"ica-A": 0, "ica-D": 3}
    assert dual_regress(series=gathered, fitted=folder, numbers=numbers, plan=PLAN) == folder
    for name, number in numbers.items():
        made = np.load(f"{folder}/{name}.npy")
        assert made.shape == (PEOPLE, GRID.voxels)
        assert made.dtype == np.float32
        for row, runs in enumerate(gathered["files"]):
            betas = []
            for run in runs:
                whole = networks.compute(
                    np.load(run), network_maps=stored["components"].T.copy(), network_names=tuple("abcde")
                )
                beta = GRID.volume(whole[f"beta_{'abcde'[stored['component'][number]]}"])
                image = tmp_path / "beta.nii.gz"
                nib.Nifti1Image(beta, GRID.affine).to_filename(image)
                image.with_name("beta.json").write_text("{}")
                smoothed = arrays.stack_images([image], GRID, tmp_path / f"{name}{row}{len(betas)}",
                                        smoothing_mm=PLAN["smoothing"][name])  # fmt: skip
                betas.append(np.load(smoothed)[0])
            np.testing.assert_allclose(made[row], np.mean(betas, axis=0), rtol=1e-5, atol=1e-6)
        with np.load(f"{folder}/{name}.npz") as own:
            assert own["component"].tolist() == [stored["component"][number]]
            assert own["r"][0] > 0


@pytest.mark.slow
def test_all_unmatched_networks_are_named_with_the_fold_in_one_message(gathered, tmp_path):
    rng = np.random.default_rng(4)
    foreign = blobs().T.copy()
    foreign[:, [0, 3]] = rng.standard_normal((GRID.voxels, 2))
    np.save(gathered["references"], foreign)
    work = tmp_path / "work"
    folders = {f"fit_{name}": fold(gathered, work, rows)[0] for name, rows in
               {"1_1": (0, 1), "2_3": (3, 4), "inner_1_2_1_4": (1, 2)}.items()}  # fmt: skip
    with pytest.raises(DataError) as message:
        check_components(plan=PLAN, work=str(work), **folders)
    for words in ("A in repeat 1, fold 1 (|r| = 0.", "D in repeat 2, fold 3", "inner fold 4 of repeat 1, fold 2",
                  "--network-templates", "--ica-components"):  # fmt: skip
        assert words in str(message.value)
    assert str(message.value).count("(|r| = ") == 6
    assert "\n" not in str(message.value)
    wanted = {**PLAN, "maps": ["ica-B"]}  # if only B is requested, the others are not reported
    assert check_components(plan=wanted, work=str(work), **folders) == {"ica-B": 1}
    rows = json.loads((work / "ica" / "told.json").read_text())
    assert {row["place"] for row in rows} == {"1_1", "2_3", "inner_1_2_1_4"}


def test_ica_fits_use_training_participants_only_and_nodes_get_maps_of_the_right_fold():
    from nipype.pipeline.engine import Workflow

    classes = ["a", "b"] * 9
    splits = folds.stratified_folds(classes, [f"p{row}" for row in range(18)], folds=3, seed=1)
    inner = {planning_ica.inner_prefix(one): folds.inner_folds(one, classes, folds=2, seed=1) for one in splits}
    rows = training_rows(splits, inner)
    assert len(rows) == 3 + 3 * 2
    for split in splits:
        assert rows[planning_ica.fold_key(split)] == list(split.train)
        for one in inner[planning_ica.inner_prefix(split)]:
            seen = set(rows[planning_ica.inner_prefix(split) + planning_ica.fold_key(one)])
            assert seen < set(split.train)
            assert not seen & {*split.test, *one.test}

    fits = {place: make_node(f"maps_{place}", fit_ica, mem_gb=1) for place in (*rows, EVERYBODY)}
    stacks = {name: make_node(f"stack_{name[-2:]}", fit_ica, mem_gb=1) for name in ("gm", "ica-A1")}
    sources = MapSources(stacks, fits, ("ica-A1",))
    graph, second = Workflow("graph"), splits[1]
    outside = planning_ica.inner_prefix(second)
    for name, maps, asked, outer in (("train", ("ica-A1", "gm"), [second], ""), ("null", ("ica-A1",), splits, ""),
                                     ("inner", ("ica-A1",), inner[outside], outside),
                                     ("plain", ("gm",), splits, "")):  # fmt: skip
        one = make_node(name, fit_ica, mem_gb=1, connected=sources.inputs(maps, asked))
        sources.connect(graph, one, maps, asked, outer)
    found = {name: set() for name in ("train", "null", "inner", "plain")}
    for source, target, how in graph._graph.edges(data=True):
        found[target.name] |= {(source.name, entry) for _, entry in how["connect"]}
    key = planning_ica.fold_key(second)
    assert found["train"] == {(f"maps_{key}", f"fitted_{key}"), ("stack_gm", "array_gm")}
    assert found["null"] == {
        (f"maps_{planning_ica.fold_key(one)}", f"fitted_{planning_ica.fold_key(one)}") for one in splits
    }
    assert found["inner"] == {(f"maps_inner_{key}_1_{n}", f"fitted_1_{n}") for n in (1, 2)}
    assert found["plain"] == {("stack_gm", "array_gm")}
