"""How a network is trained, as declared by its file in the catalogue."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import ModuleType
from typing import Any

OPTIMISERS = ("adamw", "adam")
SCHEDULES = ("cosine", "none")


@dataclass(frozen=True)
class TrainingConfig:
    """Training settings that a classifier's file may declare, in capitals, and their defaults.

    batch_size: samples per step; accumulate: the number of micro-batches whose gradients are accumulated in a step.
    validation: the share of training samples set aside for validation (1 or more: the number of each class).
    patience: stop after so many epochs without a better validation loss, and use the best weights; None: run all
    epochs, with no validation set unless `validation` is given. oversample: classes are sampled equally often instead
    of weighted. instances: a network of slices has a loss for each slice. augment: the augmentation of training
    samples (`augment.KINDS`).
    """

    epochs: int
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    batch_size: int = 8
    optimiser: str = "adamw"
    schedule: str = "cosine"
    patience: int | None = None
    validation: float | None = None
    oversample: bool = False
    instances: bool = False
    accumulate: int = 1
    augment: str | None = None

    def __post_init__(self) -> None:
        if self.optimiser not in OPTIMISERS:
            raise ValueError(f"OPTIMISER must be one of {', '.join(OPTIMISERS)}, not {self.optimiser!r}")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"SCHEDULE must be one of {', '.join(SCHEDULES)}, not {self.schedule!r}")
        counts = (self.epochs, self.batch_size, self.accumulate, 1 if self.patience is None else self.patience)
        if min(counts) < 1:
            raise ValueError("EPOCHS, BATCH_SIZE, ACCUMULATE and PATIENCE must be at least 1")
        if (
            self.validation_size < 0
            or (self.validation_size > 1 and self.validation_size % 1)
            or (self.patience is not None and self.validation_size == 0)
        ):
            raise ValueError(
                "VALIDATION must be a proportion below 1 or a whole number of participants of each class, not "
                f"{self.validation}; with PATIENCE it must be above 0"
            )

    @property
    def validation_size(self) -> float:
        """The share of training samples set aside for validation, or how many of each class."""
        return (0.0 if self.patience is None else 0.2) if self.validation is None else self.validation

    @property
    def micro_batch_size(self) -> int:
        """The largest number of samples that go through the network together."""
        return -(-self.batch_size // self.accumulate)


TRAINING_KEYS = tuple(entry.name for entry in fields(TrainingConfig))


def config_from_module(part: ModuleType, options: Mapping[str, Any] | None = None) -> TrainingConfig:
    """Return the settings of a catalogue module; options override them (keys other than TRAINING_KEYS are ignored)."""
    values = {name: getattr(part, name.upper()) for name in TRAINING_KEYS if hasattr(part, name.upper())}
    return TrainingConfig(**values | {name: value for name, value in (options or {}).items() if name in TRAINING_KEYS})


def select_model_options(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the options that belong to the classifier's `build`, not to its training."""
    return {name: value for name, value in (options or {}).items() if name not in TRAINING_KEYS}
