"""The entities that select images: --bids-filter-file."""

from bids_app.bids.json_files import read_object
from bids_app.errors import DataError, MissingInputError, UsageError
from bids_app.settings import Settings


def read_filters(settings: Settings, kind: str) -> dict[str, object]:
    """The entities that --bids-filter-file requires for a kind of image ("t1w", "bold"); empty without a file."""
    path = settings.select.bids_filter_file
    if path is None:
        return {}
    if not path.is_file():
        raise MissingInputError(f"--bids-filter-file: there is no file {path}")
    try:
        filters = read_object(path, f"--bids-filter-file {path.name}").get(kind, {})
    except DataError as error:
        raise UsageError(str(error)) from error
    if not isinstance(filters, dict):
        raise UsageError(
            f'--bids-filter-file {path.name}: "{kind}" is {filters!r}; write the entities and their values, as in '
            f'{{"{kind}": {{"acquisition": "mprage"}}}}'
        )
    return filters
