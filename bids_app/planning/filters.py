"""The entities that select images: --bids-filter-file."""

import logging
from collections.abc import Iterable
from pathlib import Path

from bids_app.bids.inputs import ENTITIES, IMAGES, list_names, passes, session_folders
from bids_app.bids.json_files import read_object
from bids_app.bids.matching import describe_unmatched, list_some
from bids_app.bids.names import BidsFile
from bids_app.errors import DataError, MissingInputError, UsageError
from bids_app.settings import Settings

log = logging.getLogger("pellucid")

# The images that filters select here, by datatype and suffix; the other kinds are those of fMRIPrep's filter files.
KINDS = {"t1w": ("anat", "T1w"), "bold": ("func", "bold")}
OTHER_KINDS = ("asl", "dwi", "flair", "fmap", "m0scan", "pet", "roi", "sbref", "t2w")
ANY = (None, "*", "Query.NONE", "Query.ANY", "Query.OPTIONAL")


def read_filters(settings: Settings, kind: str) -> dict[str, object]:
    """The entities that --bids-filter-file requires for a kind of image ("t1w", "bold"); empty without a file.

    Raises UsageError for a file that cannot be read, a kind that does not exist, and what is no list of entities.
    """
    path = settings.select.bids_filter_file
    if path is None:
        return {}
    if not path.is_file():
        raise MissingInputError(f"--bids-filter-file: there is no file {path}")
    title = f"--bids-filter-file {path.name}"
    try:
        content = read_object(path, title)
    except DataError as error:
        raise UsageError(str(error)) from error
    if unknown := describe_unmatched(content, (*KINDS, *OTHER_KINDS), prefix=""):
        raise UsageError(f"{title}: no kind of image is named {unknown}; filters are written under t1w and bold")
    filters = content.get(kind, {})
    if not isinstance(filters, dict):
        raise UsageError(
            f'{title}: "{kind}" is {filters!r}; write the entities and their values, as in '
            f'{{"{kind}": {{"acquisition": "mprage"}}}}'
        )
    return filters


def name_unmatched_filters(root: Path, participants: Iterable[str], settings: Settings, kind: str) -> None:
    """Log every value of a filter that no image of the `participants` in the folder `root` has, with those they have.

    `root` is the data set, or the derivatives from which the images of this kind are taken.
    """
    filters = read_filters(settings, kind)
    if not filters:
        return
    datatype, suffix = KINDS[kind]
    images = [
        {**file.fields, "datatype": datatype}
        for participant in participants
        for _, folder in session_folders(root, participant, (), datatype)
        for name in list_names(folder)
        if (file := BidsFile.parse(name)) is not None and file.suffix == suffix and file.extension in IMAGES
    ]
    for entity, wanted in filters.items():
        labels = {image[short] for image in images if (short := ENTITIES.get(entity, entity)) in image}
        values = wanted if isinstance(wanted, list) else [wanted]
        required = [value for value in values if value not in ANY]
        unmatched = [str(value) for value in required if not any(passes(label, value) for label in labels)]
        if unmatched:
            log.warning(
                "--bids-filter-file: no %s image has %s %s; there is %s",
                suffix,
                entity,
                describe_unmatched(unmatched, labels, prefix=""),
                list_some(sorted(labels)) or "none with this entity",
            )
