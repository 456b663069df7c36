"""Write a BIDS data set with a known group difference at a known location."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bids_app.atlases import atlas as atlases
from bids_app.errors import CannotWriteError, UsageError
from bids_app.phantom import description, fluctuations, synthetic
from bids_app.phantom import region as regions
from bids_app.phantom.bold import Plan

MIN_PEOPLE = 4
FINEST_MM, COARSEST_MM = 0.7, 6.0
FINEST_BOLD_MM = 3.0
SHRINKAGE = 0.3  # if there is no other effect
MAX_FACTOR = 10
TR_S = (0.2, 5.0)


def write(
    out: Path,
    *,
    people: int = 24,
    region: str = "Putamen_L",
    atlas: str = "aal",
    effect: float | None = None,
    resolution: float = 3.0,
    random_seed: int = 1,
    base: Path | None = None,
    bold: float | None = None,
    bold_effect: str = "amplitude",
    bold_volumes: int = 120,
    tr: float = 2.0,
    derivatives: Path | None = None,
) -> Path:
    """Write raw BIDS at `out`: T1w images of controls, and of patients lacking a fraction `effect` of a region.

    The region is named as in the atlas; resolution in mm. With `base`, a BIDS folder, the participants are all of those
    with a T1w image there, half of whom become patients; `people` and `resolution` are ignored.
    With `bold`, a number, all have a resting-state run too, in which the patients' region differs by that much in
    `bold_effect` (see fluctuations.effect_shares), and `effect` is 0 unless given, instead of 0.3; `tr` in s.
    `derivatives` is a folder for derivatives in fMRIPrep's layout.
    The same arguments give the same files; another effect gives the same participants, except for the patients' region.
    Everything is checked before anything is written, and the folder appears only when it is complete.
    Raises UsageError, MissingInputError, NotBidsError, DataError, CannotWriteError.
    """
    out = Path(out)
    effect = (SHRINKAGE if bold is None else 0.0) if effect is None else effect
    _check_numbers(people=people, effect=effect, resolution=resolution, random_seed=random_seed)
    plan = _plan_bold(bold, bold_effect, bold_volumes, tr, resolution, base=base, derivatives=derivatives)
    _check_folder(out, base)
    if derivatives is not None:
        _check_tree(Path(derivatives), out)
    source = atlases.load(atlas)
    planted = regions.find(source, region)
    truth: dict[str, object] = {
        "region": planted.name,
        "atlas": source.name,
        "atlas_space": source.space,
        "region_volume_ml": round(planted.volume_ml, 3),
        "region_centre_mm": planted.centre_mm,
        "effect": effect,
        "random_seed": random_seed,
    }
    if base:
        return _write_in_base(out, base, planted, truth, effect=effect, random_seed=random_seed)
    with _stage(out) as folder, _stage_derivatives(derivatives, out, folder) as tree:
        more = synthetic.write_images(
            folder,
            planted,
            count=people,
            effect=effect,
            resolution=resolution,
            random_seed=random_seed,
            plan=plan,
            tree=tree,
        )
        description.describe(folder, truth | more, base=None)
    return out


def _plan_bold(
    size: float | None,
    effect: str,
    volumes: int,
    tr: float,
    resolution: float,
    *,
    base: Path | None,
    derivatives: Path | None,
) -> Plan | None:
    """The BOLD to simulate, if any. Raises UsageError for incompatible options."""
    if size is None and derivatives is not None:
        raise UsageError("--derivatives requires BOLD; add --bold EFFECT_SIZE")
    if size is None:
        return None
    if base:
        raise UsageError("--bold is available for simulated participants only; remove --base or --bold")
    plan = Plan(effect, size, volumes, tr, max(resolution, FINEST_BOLD_MM))
    _check_plan(plan)
    return plan


def _write_in_base(
    out: Path, base: Path, region: regions.Region, truth: dict[str, object], *, effect: float, random_seed: int
) -> Path:
    from bids_app.phantom import base as real

    dataset, scans = real.find(base)
    with _stage(out) as folder:
        more = real.write_images(folder, dataset, scans, region, effect=effect, random_seed=random_seed)
        description.describe(folder, truth | more, base=dataset.name)
    return out


def _check_numbers(*, people: int, effect: float, resolution: float, random_seed: int) -> None:
    if people < MIN_PEOPLE:
        raise UsageError(f"--people {people}: two groups require at least {MIN_PEOPLE} participants")
    if not 0 <= effect < 1:
        raise UsageError(
            f"--effect {effect}: the proportion of the region's volume that patients lack must be at least 0 and "
            "below 1, such as 0.3"
        )
    if not FINEST_MM <= resolution <= COARSEST_MM:
        raise UsageError(f"--resolution {resolution}: choose {FINEST_MM} to {COARSEST_MM} mm")
    if random_seed < 0:
        raise UsageError(f"--random-seed {random_seed}: a seed must be 0 or more")


def _check_plan(plan: Plan) -> None:
    if plan.kind not in fluctuations.KINDS:
        raise UsageError(f"--bold-effect {plan.kind}: choose from {', '.join(fluctuations.KINDS)}")
    if plan.kind == "amplitude" and not -1 <= plan.size <= MAX_FACTOR:
        raise UsageError(
            f"--bold {plan.size}: the amplitude of fluctuations is multiplied by 1 + this number; choose -1 to "
            f"{MAX_FACTOR}, such as 0.5"
        )
    if plan.kind != "amplitude" and not -1 <= plan.size <= 1:
        raise UsageError(f"--bold {plan.size}: a proportion of the variance is moved; choose -1 to 1, such as 0.5")
    if not TR_S[0] <= plan.tr <= TR_S[1]:
        raise UsageError(f"--tr {plan.tr}: choose {TR_S[0]} to {TR_S[1]} seconds")
    fluctuations.bins(plan.volumes, plan.tr)


def _check_tree(tree: Path, out: Path) -> None:
    """Raise CannotWriteError unless `tree` is free, and neither `out` nor a parent of it."""
    _check_folder(tree, None)
    if out.resolve().is_relative_to(tree.resolve()):
        raise CannotWriteError(
            f"{tree} would contain the data set; choose a folder beside or within it for --derivatives"
        )


@contextmanager
def _stage_derivatives(tree: Path | None, out: Path, folder: Path) -> Iterator[Path | None]:
    """The folder of the derivatives until all is complete: within the hidden folder of `out`, or one of their own."""
    if tree is None:
        yield None
    elif tree.resolve().is_relative_to(out.resolve()):
        yield folder / tree.resolve().relative_to(out.resolve())
    else:
        with _stage(tree) as staged:
            yield staged


def _check_folder(out: Path, base: Path | None) -> None:
    """Raise CannotWriteError unless `out` is free, and outside the data set that it is based on."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CannotWriteError(f"{out} already exists and is not an empty folder; choose another name or remove it")
    if base and out.resolve().is_relative_to(base.resolve()):
        raise CannotWriteError(f"{out} is inside the data set of --base; choose a folder outside it")


@contextmanager
def _stage(out: Path) -> Iterator[Path]:
    """A hidden folder beside `out`, renamed to it if the block succeeds and removed if it fails."""
    folder = out.absolute().parent / f".{out.absolute().name}.partial"
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        yield folder
        if out.exists():
            out.rmdir()
        folder.rename(out)
    except OSError as error:
        raise CannotWriteError(
            f"{out} cannot be written ({error}); choose a folder with free space and write permission"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
