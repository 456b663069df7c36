"""Write a BIDS data set in which it is known what differs between the groups, and where."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bids_app.atlases import atlas as atlases
from bids_app.errors import CannotWriteError, UsageError
from bids_app.phantom import description, invented
from bids_app.phantom import region as regions

FEWEST = 4
FINEST_MM, COARSEST_MM = 0.7, 6.0


def write(
    out: Path,
    *,
    people: int = 24,
    region: str = "Putamen_L",
    atlas: str = "aal",
    effect: float = 0.3,
    resolution: float = 3.0,
    random_seed: int = 1,
    base: Path | None = None,
) -> Path:
    """Write raw BIDS at `out`: T1w images of controls, and of patients who lack the part `effect` of a region.

    The region is named as in the atlas; resolution in mm. With `base`, a BIDS folder, the people are all of those with
    a T1w image there, half of them made patients, and `people` and `resolution` do not count.
    The same arguments give the same files; another effect gives the same people, but for the patients' region.
    All is checked before anything is written, and the folder stands only when it is complete.
    Raises UsageError, MissingInputError, NotBidsError, DataError, CannotWriteError.
    """
    out = Path(out)
    _check_numbers(people=people, effect=effect, resolution=resolution, random_seed=random_seed)
    _check_place(out, base)
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
        return _in_base(out, base, planted, truth, effect=effect, random_seed=random_seed)
    with _staged(out) as folder:
        more = invented.write_images(
            folder, planted, count=people, effect=effect, resolution=resolution, random_seed=random_seed
        )
        description.describe(folder, truth | more, base=None)
    return out


def _in_base(
    out: Path, base: Path, region: regions.Region, truth: dict[str, object], *, effect: float, random_seed: int
) -> Path:
    from bids_app.phantom import base as real  # antspyx takes seconds to import, and invented people need none of it

    dataset, scans = real.find(base)
    with _staged(out) as folder:
        more = real.write_images(folder, dataset, scans, region, effect=effect, random_seed=random_seed)
        description.describe(folder, truth | more, base=dataset.name)
    return out


def _check_numbers(*, people: int, effect: float, resolution: float, random_seed: int) -> None:
    if people < FEWEST:
        raise UsageError(f"--people {people}: two groups need at least {FEWEST} people")
    if not 0 <= effect < 1:
        raise UsageError(
            f"--effect {effect}: the share of the region's volume that patients lack is from 0 to below 1, as 0.3"
        )
    if not FINEST_MM <= resolution <= COARSEST_MM:
        raise UsageError(f"--resolution {resolution}: voxels of {FINEST_MM} to {COARSEST_MM} mm can be made")
    if random_seed < 0:
        raise UsageError(f"--random-seed {random_seed}: a seed is 0 or more")


def _check_place(out: Path, base: Path | None) -> None:
    """Raise CannotWriteError unless `out` is free, and outside of the data set that it is made from."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CannotWriteError(f"{out} is there already and not an empty folder; give another name or remove it")
    if base and out.resolve().is_relative_to(base.resolve()):
        raise CannotWriteError(f"{out} lies in the data set given as --base; give a place outside of it")


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """A hidden folder beside `out` that takes its name when the block ends well, and is removed when it does not."""
    folder = out.absolute().parent / f".{out.absolute().name}.partial"
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        yield folder
        if out.exists():
            out.rmdir()
        folder.rename(out)
    except OSError as error:
        raise CannotWriteError(f"{out} cannot be written ({error}); give a place with room and permission") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
