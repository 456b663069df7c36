"""The folders of --derivatives, checked before anything is looked for in them."""

from bids_app.bids.other_pipelines import identify_pipeline
from bids_app.errors import MissingInputError, UsageError
from bids_app.planning import excluded_regions
from bids_app.settings import Settings


def check(settings: Settings) -> None:
    """Raise UsageError for what is not read, MissingInputError for a folder that does not exist."""
    unknown = sorted(set(settings.select.derivatives) - {"fmriprep", "freesurfer"})
    if unknown:
        raise UsageError(f"--derivatives {unknown[0]}: only fmriprep=PATH and freesurfer=PATH are supported")
    for name, path in settings.select.derivatives.items():
        if not path.is_dir() and not excluded_regions.is_switched_off(name, path):
            raise MissingInputError(f"--derivatives {name}: there is no folder {path}")
    root = settings.select.derivatives.get("fmriprep")
    if root is not None and (tool := identify_pipeline(root)):
        raise UsageError(
            f"--derivatives fmriprep: {root.name} holds outputs of {tool}, which are not read; specify the output "
            "folder of fMRIPrep itself"
        )
