"""Published studies as settings: `models/<name>/recipe.toml` beside a README, or a file of the user's own."""

from pathlib import Path

from bids_app.errors import UsageError

FILE = "recipe.toml"


def folder() -> Path:
    """Where the recipes are: in the package where it was installed, beside it in a checkout."""
    inside = Path(__file__).parent / "models"
    return inside if inside.is_dir() else Path(__file__).parents[1] / "models"


def names() -> list[str]:
    """The recipes that come with Pellucid, sorted."""
    return sorted(file.parent.name for file in folder().glob(f"*/{FILE}"))


def find(name: str) -> Path:
    """The file of a recipe, by its name or its path. Raises UsageError with the names that exist."""
    own = folder() / name / FILE
    if own.is_file():
        return own
    if Path(name).is_file():
        return Path(name)
    raise UsageError(f"--recipe: there is no {name}; choose from {', '.join(names())}, or give a file")


def title(name: str) -> str:
    """What an analysis by this recipe is called unless it is named: the recipe's name, or its file's."""
    file = find(name)
    return file.parent.name if file.name == FILE else file.stem
