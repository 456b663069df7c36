"""Pretrained weights of classifiers, located before anything is computed."""

from pathlib import Path

from bids_app import catalogue
from bids_app.errors import MissingInputError, UsageError
from bids_app.settings import Settings

NONE = "none"


def find_weights(settings: Settings) -> dict[str, str]:
    """The folder of weights of each selected classifier that accepts them (it has `load_weights`, `HUB` and `FILES`).

    That of --weights, else in the hub's cache; none with `--weights none`. Raises MissingInputError with the command
    that downloads them, UsageError if no classifier accepts the given ones.
    """
    weights = settings.group.weights
    takers = [name for name in settings.group.classifiers if catalogue.has("classifiers", name, "load_weights")]
    if weights not in (None, NONE) and not takers:
        raise UsageError("--weights: none of the selected classifiers uses pretrained weights; remove the option")
    return {} if weights == NONE else {name: str(_folder(name, weights)) for name in takers}


def _folder(name: str, weights: str | None) -> Path:
    hub, files = (catalogue.constant("classifiers", name, constant) for constant in ("HUB", "FILES"))
    if weights is not None:
        folder = Path(weights).absolute()
        if any((folder / file).is_file() for file in files):
            return folder
        where = f"--weights {weights} has none of {', '.join(files)}"
    else:
        from huggingface_hub import try_to_load_from_cache

        for file in files:
            if isinstance(cached := try_to_load_from_cache(hub, file), str):
                return Path(cached).parent
        where = "the cache of the hub has none"
    raise MissingInputError(
        f"{name} uses pretrained weights, and {where}. Download them with\n  hf download {hub} {files[-1]}\nor "
        "train from scratch with --weights none"
    )
