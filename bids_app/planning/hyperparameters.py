"""The options of --set for classifiers and explainers, checked before anything is computed."""

import math
from typing import Any, get_type_hints

from bids_app import catalogue
from bids_app.errors import UsageError
from bids_app.settings import Settings
from bids_app.training.training_config import TRAINING_KEYS, TrainingConfig
from bids_app.values import ALL


def classifier_options(settings: Settings) -> dict[str, dict[str, Any]]:
    """The options of each chosen classifier: those of all networks, its own, and that in the suffix of its name.

    Raises UsageError for an invalid name, option or value.
    """
    tuned, classifiers = settings.group.set, settings.group.classifiers
    known = {ALL, *classifiers, *catalogue.names("classifiers"), *catalogue.names("explainers")}
    if strange := sorted(set(tuned) - known):
        raise UsageError(f"--set: there is no {', '.join(strange)}; choose from {', '.join(sorted(known))}")
    return {name: options for name in classifiers if (options := _options_of(name, tuned))}


def explainer_options(settings: Settings) -> dict[str, dict[str, Any]]:
    """The options of each chosen explainer, by name. Raises UsageError for invalid ones."""
    return {
        name: _typed_options("explainers", name, settings.group.set.get(name, {})) for name in settings.group.explainers
    }


def _options_of(name: str, tuned: dict[str, dict[str, Any]]) -> dict[str, Any]:
    base, dash, variant = name.partition("-")
    network = catalogue.has("classifiers", base, "EPOCHS")
    options = {**(tuned.get(ALL, {}) if network else {}), **tuned.get(base, {}), **tuned.get(name, {})}
    if dash:
        if not catalogue.has("classifiers", base, "NAME_SUFFIX"):
            raise UsageError(f"--classifiers: {base} has no variants, so there is no {name}")
        options[catalogue.constant("classifiers", base, "NAME_SUFFIX")] = int(variant) if variant.isdigit() else variant
    options = _typed_options("classifiers", base, options, network=network)
    if network:
        _check_training(base, options)
    return options


def _typed_options(room: str, base: str, options: dict[str, Any], *, network: bool = False) -> dict[str, Any]:
    """The options, converted to their types."""
    kinds = _option_types(room, base, network=network)
    if strange := sorted(set(options) - set(kinds)):
        choice = f"choose from {', '.join(sorted(kinds))}" if kinds else "it has no options"
        raise UsageError(f"--set: {base} has no {', '.join(strange)}; {choice}")
    return {option: _typed_value(f"{base}.{option}", value, *kinds[option]) for option, value in options.items()}


def _option_types(room: str, base: str, *, network: bool) -> dict[str, tuple[type, bool]]:
    """The type of each option, and whether it may be none."""
    hints = get_type_hints(TrainingConfig) if network else {}
    kinds = {
        option: (kind, False) if isinstance(kind, type) else (kind.__args__[0], True) for option, kind in hints.items()
    }
    if catalogue.has(room, base, "OPTIONS"):
        defaults = catalogue.constant(room, base, "OPTIONS")
        kinds |= {option: (int if value is None else type(value), value is None) for option, value in defaults.items()}
    return kinds


def _typed_value(key: str, value: Any, kind: type, optional: bool) -> Any:
    if optional and value == "none":
        return None
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is float and not math.isfinite(value):
        raise UsageError(f"--set {key}: {value!r} is not a finite number")
    if type(value) is not kind:
        raise UsageError(f"--set {key}: {value!r} is not of type {kind.__name__}" + (", or none" if optional else ""))
    return value


def _check_training(base: str, options: dict[str, Any]) -> None:
    """Raise UsageError for an invalid training configuration."""
    defaults = {
        option: catalogue.constant("classifiers", base, option.upper())
        for option in TRAINING_KEYS
        if catalogue.has("classifiers", base, option.upper())
    }
    try:
        TrainingConfig(**defaults | {option: value for option, value in options.items() if option in TRAINING_KEYS})
    except ValueError as error:
        raise UsageError(f"--set {base}: {error}") from error
