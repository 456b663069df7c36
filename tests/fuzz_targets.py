"""What test_fuzz.py damages: every kind of file that Pellucid reads, and the cheapest run or step that reads it."""

import contextlib
import hashlib
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tomli_w
from fuzz_inputs import GROUP, SPACE, Study

from bids_app.atlases import atlas
from bids_app.bids import outputs
from bids_app.dataset import arrays
from bids_app.dataset.grid import Grid
from bids_app.nodes.bold_maps import clean_series
from bids_app.planning import network_templates
from bids_app.preprocess import conform, timing
from bids_app.settings import read_plugin

Words = tuple[str, ...]
PARTICIPANT = ("participant", "--sloppy", "--resolution", "4", "--nprocs", "1")
BOLD = ("--maps", "alff", "--task-id", "rest")


@dataclass(frozen=True)
class Target:
    """A file of a kind (`fuzz_mutations.KINDS`) and what reads it: a run with these words, or a step of a node.

    `named` is a regular expression of what a message about it has to contain; `after` completes the damage.
    """

    file: Callable[[Study], Path]
    kind: str
    named: str
    words: Callable[[Study], Words] | None = None
    step: Callable[[Study, Path], object] | None = None
    after: Callable[[Study, Path], None] | None = None


def option(name: str, file: str, kind: str, level: Words, *more: str, named: str = "") -> Target:
    """A file of an option."""
    return Target(
        lambda study: study.files / file,
        kind,
        named or f"{name}|{Path(file).stem}",
        words=lambda study: (*level, *more, name, str(study.files / file)),
    )


def dataset(file: str, kind: str, named: str, *words: str, tree: str = "bids") -> Target:
    """A file of the raw data, of fMRIPrep's tree (`fmriprep`) or of OUT (`out`)."""
    return Target(
        lambda study: getattr(study, tree) / file,
        kind,
        named,
        words=lambda study: tuple(word.format(study=study) for word in words),
    )


def step(
    name: str, kind: str, call: Callable[[Study, Path], object], *, tree: str = "files", named: str = ""
) -> Target:
    """A file that a node reads, when other files have been checked."""
    return Target(lambda study: getattr(study, tree) / name, kind, named or Path(name).name.split(".")[0], step=call)


FMRIPREP = ("-d", "fmriprep={study.fmriprep}", "--participant-label", "01", "02")
FUNC, RUN = "sub-01/func/sub-01_task-rest", f"sub-01/func/sub-01_task-rest_space-{SPACE}"
GM = f"sub-01/anat/sub-01_space-{SPACE}_res-4_label-GM_desc-modulated_probseg"
MASKS = "{study.files}/sub-{{participant}}_mask.nii.gz"
WEIGHTS, FOLD = "weights.safetensors", "svm/gm/repeat-1_fold-1"


def _apply(study: Study) -> Words:
    return ("group", "--model", str(study.models), "--sloppy", "--nprocs", "1")


def _renew_digests(study: Study, file: Path) -> None:
    """State the digests of what now stands there, as somebody who means to deceive would."""
    if not file.is_file():
        return
    card, cell = file.with_name("model.toml"), file.parents[1] / "cell.toml"
    if file.name == WEIGHTS:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        card.write_text(tomli_w.dumps({**tomllib.loads(card.read_text()), "weights_sha256": digest}))
    facts = tomllib.loads(cell.read_text())
    for name in facts["files"]:
        facts["files"][name] = hashlib.sha256((cell.parent / name).read_bytes()).hexdigest()
    cell.write_text(tomli_w.dumps(facts))


def _model(study: Study, file: Path) -> object:
    """Load a model and predict with it, as the node does."""
    from bids_app.training import model_metadata, models
    from bids_app.training.feature_pipeline import Samples

    model_metadata.find_models(file.parent)
    model = models.load(file.parent)
    voxels = model.pipeline.grid.voxels
    columns = {name for names in model.pipeline.columns.values() for name in names} | set(model.pipeline.keep or ())
    values = {name: np.zeros((1, voxels), np.float32) for name in model.pipeline.maps}
    return model.predict(Samples(values, {name: np.zeros(1) for name in columns}))


def _clean(study: Study, file: Path) -> object:
    stem = study.fmriprep / RUN
    confounds = study.fmriprep / f"{FUNC}_desc-confounds_timeseries.tsv"
    run = {"bold": f"{stem}_desc-preproc_bold.nii.gz", "mask": f"{stem}_desc-brain_mask.nii.gz"}
    settings = {"denoise": "24p-wm-csf", "band": [0.01, 0.2], "fd_threshold": 0.5}
    return clean_series(run={**run, "confounds": str(confounds), "tr": 2.0, "skipped": 0}, settings=settings, grid=None)


def _networks(study: Study, file: Path) -> object:
    image = study.files / "networks.nii.gz"
    mask = conform.read_image(study.files / "sub-02_mask.nii.gz")
    network_templates.read_labels(image, "networks")
    return network_templates.resample_networks(image, mask, np.asarray(mask.dataobj) > 0)


def _stack(study: Study, file: Path) -> object:
    other = conform.read_image(study.out / f"{GM}.nii.gz".replace("sub-01", "sub-02"))
    grid = Grid(np.asarray(other.dataobj) > 0.5, other.affine)
    return arrays.stack_images([file], grid, Path(), smoothing_mm=4.0)


def _atlas(study: Study, file: Path) -> object:
    return atlas.load(str(study.files / "atlas-Small.nii.gz"))


def _t1w(study: Study, file: Path) -> object:
    return conform.load(file)


def _bold(study: Study, file: Path) -> object:
    return timing.read_timing(file, {"RepetitionTime": 2.0, "SliceTiming": [0.2 * number for number in range(8)]})


TARGETS = [
    dataset("dataset_description.json", "json", "dataset_description", *PARTICIPANT),
    dataset("sub-01/anat/sub-01_T1w.json", "json", "sub-01", *PARTICIPANT),
    dataset("sub-01/anat/sub-01_T1w.nii.gz", "image", "sub-01", *PARTICIPANT),
    dataset("sub-02/anat/sub-02_T1w.nii", "image", "sub-02", *PARTICIPANT),
    dataset("sub-01/log/done.json", "json", "sub-01", *PARTICIPANT, tree="out"),
    dataset(f"{GM}.json", "json", "sub-01", *PARTICIPANT, tree="out"),
    option("--exclude", "exclude.tsv", "table", PARTICIPANT),
    option("--bids-filter-file", "filter.json", "json", PARTICIPANT, named="filter"),
    option("--config-file", "settings.toml", "toml", PARTICIPANT, named="--|setting"),
    option("--recipe", "recipe.toml", "toml", PARTICIPANT, named="--|setting"),
    option("--use-plugin", "plugin.yml", "yaml", PARTICIPANT),
    dataset("sub-01/func/sub-01_task-rest_bold.json", "json", "sub-01", *PARTICIPANT, *BOLD),
    dataset("sub-01/func/sub-01_task-rest_bold.nii.gz", "image", "sub-01", *PARTICIPANT, *BOLD),
    dataset("sub-02/func/sub-02_task-rest_bold.nii", "image", "sub-02", *PARTICIPANT, *BOLD),
    dataset(f"{RUN}_desc-preproc_bold.json", "json", "sub-01", *PARTICIPANT, *BOLD, *FMRIPREP, tree="fmriprep"),
    dataset(f"{RUN}_desc-preproc_bold.nii.gz", "image", "sub-01", *PARTICIPANT, *BOLD, *FMRIPREP, tree="fmriprep"),
    dataset(f"{RUN}_desc-brain_mask.nii.gz", "image", "sub-01", *PARTICIPANT, *BOLD, *FMRIPREP, tree="fmriprep"),
    dataset("dataset_description.json", "json", "dataset_desc", *PARTICIPANT, *BOLD, *FMRIPREP, tree="fmriprep"),
    dataset("sub-01/anat/sub-01_desc-preproc_T1w.nii.gz", "image", "sub-01", *PARTICIPANT, *FMRIPREP, tree="fmriprep"),
    dataset("sub-01/anat/sub-01_label-GM_probseg.nii.gz", "image", "sub-01", *PARTICIPANT, *FMRIPREP, tree="fmriprep"),
    option("--network-templates", "networks.nii.gz", "image", PARTICIPANT, *BOLD[2:], "--maps", "networks"),
    option("--network-templates", "networks.nii.gz", "image", PARTICIPANT, *BOLD[2:], "--maps", "networks"),
    dataset("sub-01_mask.nii.gz", "image", "sub-01", *PARTICIPANT, "--brain-mask", MASKS, tree="files"),
    dataset("participants.tsv", "table", "participants|class|column|sub-|--", *GROUP),
    dataset("participants.tsv", "table", "participants|class|column|sub-|--", *GROUP, "--covariates", "age", "sex"),
    dataset("sub-01/sub-01_sessions.tsv", "table", "sub-01", *GROUP),
    option("--phenotype", "phenotype.tsv", "table", GROUP, named="phenotype|sub-|column"),
    option("--exclude", "exclude.tsv", "table", GROUP),
    option("--folds-file", "folds.tsv", "table", GROUP, named="folds|sub-|fold"),
    option("--reference-map", "reference.nii.gz", "image", GROUP),
    option("--reference-map", "foci.tsv", "table", GROUP),
    option("--reference-map", "studies.json", "json", GROUP),
    option("--reference-map", "dataset.json", "json", GROUP),
    option("--config-file", "settings.toml", "toml", ("group",), named="--|setting|column"),
    option("--recipe", "recipe.toml", "toml", GROUP, named="--|setting"),
    option("--atlas", "atlas-Small.nii.gz", "image", GROUP),
    dataset(f"{GM}.nii.gz", "image", "sub-01|gm", *GROUP, tree="out"),
    dataset(f"{GM}.json", "json", "sub-01|gm|covariate", *GROUP, tree="out"),
    Target(lambda study: study.models / FOLD / "model.toml", "toml", "model", words=_apply),
    Target(lambda study: study.models / FOLD / "model.toml", "toml", "model", words=_apply, after=_renew_digests),
    Target(lambda study: study.models / "svm/gm/cell.toml", "toml", "model|cell.toml", words=_apply),
    Target(lambda study: study.models / FOLD / WEIGHTS, "bytes", "weights|model", words=_apply),
    Target(
        lambda study: study.models.parent / "folds.tsv", "table", "folds.tsv|--training-list",
        words=lambda study: (*_apply(study), "--training-list", str(study.models.parent / "folds.tsv")),
    ),
    Target(lambda study: study.bids / "participants.tsv", "table", "participants|sub-|column|covariate", words=_apply),
    Target(
        lambda study: study.models / FOLD / "model.toml", "toml", "model",
        words=lambda study: (*PARTICIPANT, "--model", str(study.models)), after=_renew_digests,
    ),
    Target(lambda study: study.models / FOLD / WEIGHTS, "bytes", "weights", step=_model, after=_renew_digests),
    Target(lambda study: study.models / FOLD / "model.toml", "toml", "model", step=_model, after=_renew_digests),
    step("atlas-Small.nii.gz", "image", _atlas),
    step("atlas-Small.tsv", "table", _atlas),
    step("atlas-Small.json", "json", _atlas),
    step("networks.nii.gz", "image", _networks),
    step("networks.tsv", "table", _networks),
    step("plugin.yml", "yaml", lambda _, file: read_plugin(file)),
    step(f"{FUNC}_desc-confounds_timeseries.tsv", "table", _clean, tree="fmriprep", named="sub-01|confound"),
    step(f"{FUNC}_desc-confounds_timeseries.tsv", "table", _clean, tree="fmriprep", named="sub-01|confound"),
    step(f"{RUN}_desc-preproc_bold.nii.gz", "image", _clean, tree="fmriprep", named="sub-01|the series|volumes"),
    step(f"{RUN}_desc-brain_mask.nii.gz", "image", _clean, tree="fmriprep", named="sub-01|mask"),
    step(f"{GM}.nii.gz", "image", _stack, tree="out"),
    step("sub-01/anat/sub-01_T1w.nii.gz", "image", _t1w, tree="bids"),
    step("sub-02/anat/sub-02_T1w.nii", "image", _t1w, tree="bids"),
    step("sub-01/func/sub-01_task-rest_bold.nii.gz", "image", _bold, tree="bids"),
]  # fmt: skip


def mark_done(study: Study) -> Callable[..., dict[str, str]]:
    """In place of the participant graph: note all that is planned as done, with the maps that are there."""

    def run(planned, settings) -> dict[str, str]:
        for job in planned.jobs:
            (study.out / f"sub-{job.participant}.html").write_text("a page")
            files = [path.relative_to(study.out) for path in (study.out / f"sub-{job.participant}").rglob("*probseg*")]
            outputs.mark_done(study.out, job.participant, job.session, job.key, files)
        return {}

    return run


@contextlib.contextmanager
def in_empty_folder() -> Iterator[None]:
    """Steps write where they are."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        yield
