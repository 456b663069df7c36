"""The plugin contract: keywords and options of maps, grids, image sizes, documentation."""

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest
import torch
from small_networks import NEEDED, QUICK, part_of, shape_of

from bids_app import catalogue, maps
from bids_app.errors import DataError, UsageError
from bids_app.nodes.anatomical import make_map
from bids_app.nodes.bold_maps import describe_map, make_bold_map
from bids_app.options import parts
from bids_app.report.methods import describe_part
from bids_app.report.references import CITATION, cited_keys

ROOT = Path(__file__).parents[1]
SHAPE = (9, 8, 7)
AFFINE = np.array([[-3.0, 0, 0, 14], [0, 3, 0, -13], [0, 0, 3, -7], [0, 0, 0, 1]])
FUNC = [name for name in catalogue.names("maps") if maps.datatype(catalogue.load("maps", name)) == "func"]
ANAT = [name for name in catalogue.names("maps") if name not in FUNC]


def defaults(part):
    return {keyword: option["default"] for keyword, option in getattr(part, "OPTIONS", {}).items()}


def a_map(compute, **constants):
    module = ModuleType("toy")
    vars(module).update({"INPUT": "gm", "compute": compute, **constants})
    return module


class TestKeywords:
    def test_unknown_keyword_is_refused_by_name(self):
        def compute(density, *, afine):
            return density * afine

        with pytest.raises(UsageError, match=r"maps/toy.py: compute asks for afine, which is neither .*, affine"):
            maps.check_contract("toy", a_map(compute))

    def test_unknown_input_and_unused_option_are_refused_by_name(self):
        def compute(density, *, mask):
            return density * mask

        with pytest.raises(UsageError, match=r"maps/toy.py needs .* INPUT, one of t1w, gm"):
            maps.check_contract("toy", a_map(compute, INPUT="grey"))
        with pytest.raises(UsageError, match="OPTIONS declares width, which compute does not take"):
            maps.check_contract("toy", a_map(compute, OPTIONS={"width": {"default": 1, "summary": "x"}}))

    def test_caption_may_ask_for_what_describes_the_series_and_for_options(self):
        def compute(series, *, width):
            return series * width

        def caption(mask, *, affine, width):
            return f"{mask.sum()} {affine} {width}"

        def of_regions(mask, *, parcels):
            return f"{mask.sum()} {parcels}"

        options = {"width": {"default": 1, "summary": "x"}}
        maps.check_contract("toy", a_map(compute, INPUT="filtered", OPTIONS=options, caption=caption))
        with pytest.raises(UsageError, match=r"caption asks for parcels; it may have affine, tr, .*, width"):
            maps.check_contract("toy", a_map(compute, INPUT="filtered", OPTIONS=options, caption=of_regions))
        with pytest.raises(UsageError, match="caption is for maps of BOLD"):
            maps.check_contract("toy", a_map(compute, OPTIONS=options, caption=caption))

    def test_all_keywords_of_captions_are_supplied(self, tmp_path):
        def caption(mask, *, affine, tr, band, sample_mask, width):
            return f"{int(mask.sum())} {affine[0, 3]} {tr} {band} {int(sample_mask.sum())} {width}"

        nib.Nifti1Image(np.ones(SHAPE, np.float32), AFFINE).to_filename(tmp_path / "mask.nii.gz")
        np.save(tmp_path / "sample_mask.npy", np.array([True, False, True]))
        run = {
            name: str(tmp_path / file) for name, file in (("mask", "mask.nii.gz"), ("sample_mask", "sample_mask.npy"))
        }
        run |= {"tr": 2.5, "band": (0.01, 0.08)}
        options = {"width": {"default": 1, "summary": "x"}}
        part = a_map(lambda series, *, width: series * width, INPUT="filtered", OPTIONS=options, caption=caption)
        assert {*maps.caption_keywords(part)} == {*maps.CAPTION_KEYWORDS, "width"}
        assert describe_map(part, run, {"width": 4}) == "504 14.0 2.5 (0.01, 0.08) 2 4"
        assert describe_map(a_map(len), run, {}) == ""

    def test_every_registered_map_passes_the_contract_check(self):
        for name in catalogue.names("maps"):
            maps.check_contract(name, catalogue.load("maps", name))

    def test_all_keywords_of_t1w_maps_are_supplied(self, tmp_path, monkeypatch):
        sources = {name: tmp_path / f"{name}.nii.gz" for name in ("t1w", "gm", "wm", "csf", "mask", "jacobian")}
        for number, path in enumerate(sources.values()):
            nib.Nifti1Image(np.full(SHAPE, number, np.float32), AFFINE).to_filename(path)
        received = received_by("anat", monkeypatch, tmp_path)
        make_map(map_name="toy", sources={name: str(path) for name, path in sources.items()}, parameters={})
        assert set(received) == {*maps.KEYWORDS["anat"]}
        assert np.array_equal(received["affine"], AFFINE)
        assert (received["csf"] == 3).all()

    def test_all_keywords_of_bold_maps_are_supplied(self, tmp_path, monkeypatch):
        inside = np.zeros(SHAPE, np.float32)
        inside[2:7, 2:7, 1:6] = 1
        labels, networks = np.arange(inside.size, dtype=np.int32).reshape(SHAPE), np.stack([inside, 2 * inside], axis=3)
        for name, values in {"mask": inside, "labels": labels, "networks": networks}.items():
            nib.Nifti1Image(values, AFFINE).to_filename(tmp_path / f"{name}.nii.gz")
        (tmp_path / "atlas.json").write_text(json.dumps({"name": "toy", "names": {"1": "one"}, "note": ""}))
        np.save(tmp_path / "filtered.npy", np.ones((125, 10), np.float32))
        np.save(tmp_path / "sample_mask.npy", np.ones(10, bool))
        files = {"mask": "mask.nii.gz", "denoised": "filtered.npy", "filtered": "filtered.npy"}
        files["sample_mask"] = "sample_mask.npy"
        run = {name: str(tmp_path / file) for name, file in files.items()} | {"tr": 2.0, "band": None}
        received = received_by("func", monkeypatch, tmp_path)
        parameters = {"network_maps": str(tmp_path / "networks.nii.gz")}
        make_bold_map(map_name="toy", run=run, parameters=parameters, parcels=str(tmp_path))
        assert set(received) == {*maps.KEYWORDS["func"]}
        assert np.array_equal(received["affine"], AFFINE)
        assert np.array_equal(received["mask"], inside > 0)
        assert np.array_equal(received["parcels"], labels[inside > 0])
        assert received["network_maps"].shape == (125, len(received["network_names"]))


def received_by(datatype, monkeypatch, folder):
    """The keywords received by a map that requests every keyword of its datatype."""
    received: dict = {}

    def compute(array, **keywords):
        received.update(keywords)
        return np.zeros(len(array) if datatype == "func" else array.shape, np.float32)

    array = inspect.Parameter("array", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    asked = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in maps.KEYWORDS[datatype]]
    compute.__signature__ = inspect.Signature([array, *asked])
    part = a_map(compute, INPUT={"anat": "gm", "func": "filtered"}[datatype])
    maps.check_contract("toy", part)
    monkeypatch.setattr(catalogue, "load", lambda *_: part)
    monkeypatch.chdir(folder)
    return received


# A map that declares an option, as one file.
TOY = '''
"""Grey matter to the left of a plane (Nobody 1999)."""

import numpy as np

INPUT = "gm"
UNIT = "probability"
ENTITIES = {"label": "GM", "desc": "left{edge_mm}"}
SUFFIX = "probseg"
REGISTRATION = "nonlinear"
ANALYSIS_MASK = "gm"
SCALING = "raw"
SMOOTHING_MM = 0.0
ADJUST_FOR = ()
ATLASES = ("aal",)
REFERENCES = {"Nobody 1999": "Nobody N. A plane. 1999. https://doi.org/10.1/plane"}
OPTIONS = {"edge_mm": {"setting": "toy_edge", "default": 0, "minimum": -50, "summary": "X of the plane ({default})"}}


def compute(density: np.ndarray, *, affine: np.ndarray, edge_mm: int) -> np.ndarray:
    """Density (X, Y, Z) where x is below the edge, 0 elsewhere."""
    x = (affine[:3, :3] @ np.indices(density.shape).reshape(3, -1) + affine[:3, 3:])[0].reshape(density.shape)
    return np.where(x < edge_mm, density, 0).astype(np.float32)
'''
USES = """
import sys
from pathlib import Path
from types import SimpleNamespace
from bids_app import cli, settings
from bids_app.errors import UsageError
from bids_app.nodes.anatomical_outputs import map_stem, sidecar_parameters
from bids_app.options import parts, usage
from bids_app.options.maps import map_parameters
from bids_app.planning import settings_from_model
from bids_app.report.methods import describe_part
from bids_app.report.references import cited_references

def build(*words):
    given = cli.parse(["IN", "OUT", "participant", *words])
    given = {name: value for name, value in given.items() if name not in ("bids_dir", "output_dir", "level")}
    return settings.build("participant", Path("/IN"), Path("/OUT"), options=given)

chosen = build("--maps", "toy", "--toy-edge", "6")
values = map_parameters(chosen.participant, "toy")
assert values == {"edge_mm": 6}, values
assert map_parameters(build().participant, "toy") == {"edge_mm": 0}
assert "toy_edge = 6" in settings.to_toml(chosen)
assert "`--toy-edge N` | X of the plane (0)" in usage.format_table("participant: anatomy")
row = "`toy` | Grey matter to the left of a plane (Nobody 1999). | T1w | `raw` | `--toy-edge`"
assert row in parts.format_table("maps")
stem = map_stem("toy", ("01", None), space="MNI", resolution=2.0, parameters=values)
assert "desc-left6_" in stem, stem
common = {"output_space": "MNI152NLin2009cAsym", "resolution": 2.0, "bounding_box": ()}
common |= {"anatomy": "fast", "sloppy": False}
job = SimpleNamespace(kinds={"toy": "nonlinear"})
sidecar = sidecar_parameters(SimpleNamespace(settings=common | {"parameters": {"toy": values}}, job=job), "toy")
assert sidecar["EdgeMm"] == 6, sidecar
grid = {"shape": [1, 1, 1], "affine": [[0.0] * 4] * 4}
assert cited_references(describe_part("maps", "toy")) == ["Nobody N. A plane. 1999. https://doi.org/10.1/plane"]
assert "torch" not in sys.modules
fields = settings_from_model.participant_settings("toy", {"map_parameters": sidecar, "grid": grid})
assert fields["toy_edge"] == 6, fields
try:
    build("--toy-edge", "-90")
except UsageError as error:
    print(error)
"""


def test_map_option_and_reference_are_declared_only_in_the_map_file(tmp_path):
    shutil.copytree(ROOT / "bids_app", tmp_path / "bids_app", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "bids_app" / "maps" / "toy.py").write_text(TOY)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", USES],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "--toy-edge must be at least -50, not -90" in done.stdout, done.stderr


def test_two_maps_cannot_declare_different_options_with_the_same_name(tmp_path):
    shutil.copytree(ROOT / "bids_app", tmp_path / "bids_app", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "bids_app" / "maps" / "toy.py").write_text(TOY.replace("toy_edge", "fcs_measure"))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", "import bids_app.settings"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "maps/toy.py: another option is called fcs_measure" in done.stderr


@pytest.mark.parametrize(
    ("key", "message"),
    [("Good 2001", "another file has a different text for Good 2001"), ("Nobody", "Nobody is no author and year")],
)
def test_reference_that_is_another_files_or_has_no_year_is_refused_by_name(key, message, tmp_path):
    shutil.copytree(ROOT / "bids_app", tmp_path / "bids_app", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "bids_app" / "maps" / "toy.py").write_text(TOY.replace('{"Nobody 1999"', f'{{"{key}"'))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", "from bids_app.report import references; references.all_references()"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert f"maps/toy.py: REFERENCES: {message}" in done.stderr


# Adding planes to the left, front and bottom of a grid leaves all world coordinates unchanged.
ADDED = (3, 1, 2)


def pad(values):
    return np.pad(values, [(number, 0) for number in ADDED])


def padded_affine():
    affine = AFFINE.copy()
    affine[:3, 3] -= AFFINE[:3, :3] @ ADDED
    return affine


def anat():
    """The brain, of random values, is nearer to one end of the grid than to the other."""
    random = np.random.default_rng(1)
    mask = np.zeros(SHAPE, np.float32)
    mask[1:6, 2:7, 1:5] = 1
    arrays = {name: (random.random(SHAPE) + 0.1).astype(np.float32) * mask for name in ("t1w", "gm", "wm", "csf")}
    return arrays | {"mask": mask, "jacobian": random.random(SHAPE).astype(np.float32) + 0.5}


def compute_anat(part, arrays, affine):
    supplied = {**arrays, **defaults(part), "affine": affine}
    return part.compute(arrays[part.INPUT], **{key: supplied[key] for key in maps.keywords(part)})


def moves_with_the_grid(part):
    """Whether a map of T1w is the same in the world on the grid and on the padded one."""
    before = compute_anat(part, anat(), AFFINE)
    after = compute_anat(part, {name: pad(values) for name, values in anat().items()}, padded_affine())
    return np.allclose(after, pad(before), atol=1e-5)


@pytest.mark.parametrize("name", ANAT)
def test_t1w_map_does_not_depend_on_the_grid_origin(name):
    assert moves_with_the_grid(catalogue.load("maps", name))


def test_map_that_assumes_a_centred_grid_is_detected():
    def mirrored(density):
        return density - density[::-1]

    def mirrored_in_mm(density, *, affine):
        column = np.rint((-affine[0, 3] - (affine[0, 0] * np.arange(len(density)) + affine[0, 3])) / affine[0, 0])
        there = (column >= 0) & (column < len(density))
        other = density[np.where(there, column, 0).astype(int)] * there[:, None, None]
        return density - other

    assert not moves_with_the_grid(a_map(mirrored))
    assert moves_with_the_grid(a_map(mirrored_in_mm))


@pytest.mark.parametrize("name", FUNC)
def test_bold_map_does_not_depend_on_the_grid_origin(name):
    part, mask, random = catalogue.load("maps", name), anat()["mask"] > 0, np.random.default_rng(2)
    voxels = int(mask.sum())
    series = (random.standard_normal((voxels, 60)).cumsum(axis=1) + 1000).astype(np.float32)
    supplied = {**defaults(part), "tr": 2.0, "band": (0.01, 0.08), "sample_mask": np.ones(60, bool)}
    supplied |= {"parcels": (np.arange(voxels) % 5).astype(np.int32), "network_names": ("a", "b")}
    supplied |= {"network_maps": random.standard_normal((voxels, 2)).astype(np.float32)}
    results = []
    for inside, affine in ((mask, AFFINE), (pad(mask), padded_affine())):
        given = {**supplied, "mask": inside, "affine": affine}
        result = part.compute(series, **{key: given[key] for key in maps.keywords(part)})
        results.append(result if isinstance(result, dict) else {name: result})
    for key, values in results[0].items():
        np.testing.assert_array_equal(values, results[1][key])


# Networks: small images


@pytest.mark.parametrize("name", [name for name in QUICK if part_of(name).INPUT_FORMAT == "volumes"])
def test_network_accepts_small_images_or_names_the_minimum_size(name):
    shape = shape_of(name, (17, 20, 16))
    part = part_of(name)
    network = part.build(1, 2, shape, voxel_mm=(3.0, 3.0, 3.0), seed=0).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 1, *shape)).shape == (1, 2)
    for edge in (4, 8, 12):
        if min(shape_of(name, (edge, 20, 20))) < edge + 1:
            small = part.build(1, 2, (edge, 20, 20), voxel_mm=(3.0, 3.0, 3.0), seed=0).eval()
            with torch.no_grad():
                assert small(torch.zeros(1, 1, edge, 20, 20)).shape == (1, 2)


def test_network_needing_64_voxels_is_tested_at_64_and_refuses_smaller_images():
    assert shape_of("needs_64", (17, 20, 16)) == (NEEDED,) * 3 == (64,) * 3
    with pytest.raises(DataError, match=r"needs_64 requires maps of at least 64 voxels along each axis.* 63 x 80 x 80"):
        part_of("needs_64").build(1, 2, (63, 80, 80), voxel_mm=(3.0, 3.0, 3.0), seed=0)


@pytest.mark.parametrize("name", catalogue.names("explainers"))
@pytest.mark.parametrize("kind", [name for name in QUICK if shape_of(name, (17, 20, 16)) != (17, 20, 16)])
def test_network_for_large_images_is_explained_at_the_minimum_size(name, kind):
    explainer, shape = catalogue.load("explainers", name), shape_of(kind, (17, 20, 16))
    network = part_of(kind).build(1, 2, shape, voxel_mm=(3.0, 3.0, 3.0), seed=0).eval()
    if explainer.check(network) is not None:
        return
    mask = np.ones(shape, bool)
    mask[: shape[0] // 8] = False
    x = torch.from_numpy((np.random.default_rng(0).standard_normal((1, *shape)) * mask).astype(np.float32))
    slabs = np.broadcast_to((np.arange(shape[0]) // 16)[:, None, None], shape)
    given = {"parcels": slabs} if "parcels" in inspect.signature(explainer.explain).parameters else {}
    given |= {"steps": 4} if "steps" in getattr(explainer, "OPTIONS", {}) else {}
    heatmap = explainer.explain(network, x, 1, mask=mask, **given)
    assert heatmap.shape == shape
    assert np.isfinite(heatmap).all()
    assert not heatmap[~mask].any()


# Documentation


@pytest.mark.parametrize("kind", catalogue.KINDS)
def test_every_plugin_is_in_the_documentation_tables(kind):
    text = (ROOT / "docs" / "parts.md").read_text(encoding="utf-8")
    assert parts.write_tables(text) == text, "run scripts/options"
    assert set(re.findall(r"^\| `(\w+)` \|", parts.format_table(kind), re.MULTILINE)) == set(catalogue.names(kind))
    assert f"<!-- parts: {kind} -->" in text


def test_tables_state_scaling_weights_and_which_explainer_suits_which_classifier():
    rows = {kind: parts.format_table(kind).splitlines() for kind in catalogue.KINDS}
    (alff,) = (row for row in rows["maps"] if row.startswith("| `alff` |"))
    assert alff.endswith("| BOLD | `mean` | `--alff-definition` |")
    weights = {row.split("`")[1]: row.split(" | ")[2] for row in rows["classifiers"][2:]}
    assert weights["resnet18_3d"] == "33 million"
    assert weights["ng2018"] == "49 million"  # 48.6 of them in the first dense layer
    assert weights["svm"] == "one per voxel and class"
    suited = {row.split("`")[1]: row.split(" | ")[2] for row in rows["explainers"][2:]}
    assert suited["occlusion"] == "all"
    assert suited["saliency"] == "all but `forest`"
    assert suited["attention"] == "`biomedclip`, `vit_b16`"


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in catalogue.KINDS for name in catalogue.names(kind)])
def test_every_printed_citation_has_a_reference(kind, name):
    text = describe_part(kind, name)
    missing = {match[0] for match in CITATION.finditer(text) if not cited_keys(match[0])}
    missing -= {"Ng et al. 2018"}  # its title is not known here, so that it is printed in full
    assert missing == set(), f"add them to REFERENCES in bids_app/{kind}/{name}.py"


def test_variants_in_one_file_are_separately_documented_plugins():
    first, second = (catalogue.load("classifiers", name) for name in ("wang_a", "wang_d"))
    assert first.__doc__ == catalogue.docstring("classifiers", "wang_a")
    assert first.__doc__.splitlines()[0] != second.__doc__.splitlines()[0]
    assert "wang" not in catalogue.names("classifiers")
    assert {"wang_a", "wang_b", "wang_c", "wang_d"} <= set(catalogue.names("classifiers"))
    with pytest.raises(UsageError, match="there is no wang; choose from"):
        catalogue.load("classifiers", "wang")
