"""How a network is trained, as its file in the catalogue says."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import ModuleType
from typing import Any

OPTIMISERS = ("adamw", "adam")
SCHEDULES = ("cosine", "none")


@dataclass(frozen=True)
class TrainingConfig:
    """What a classifier's file may state, in capitals, with what holds where it does not.

    batch_size: people a step; accumulate: so many parts a batch is cut into, which go through one after the other and
    are one step together. validation: the share of the training people who are set aside (1 or more: so many of each
    class), and whose loss is told.
    patience: stop after so many epochs without a better loss of theirs, and keep the best weights; None: all epochs,
    and nobody set aside unless `validation` says so. oversample: classes are drawn equally often, not weighted.
    instances: the loss of a network of slices is of each slice. augment: what is done to training people
    (`augment.KINDS`).
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
            raise ValueError(f"OPTIMISER is one of {', '.join(OPTIMISERS)}, not {self.optimiser!r}")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"SCHEDULE is one of {', '.join(SCHEDULES)}, not {self.schedule!r}")
        counts = (self.epochs, self.batch_size, self.accumulate, 1 if self.patience is None else self.patience)
        if min(counts) < 1:
            raise ValueError("EPOCHS, BATCH_SIZE, ACCUMULATE and PATIENCE are at least 1")
        if (
            self.validation_size < 0
            or (self.validation_size > 1 and self.validation_size % 1)
            or (self.patience is not None and self.validation_size == 0)
        ):
            raise ValueError(
                f"VALIDATION is a share below 1 or a whole number of people of each class, not {self.validation}; "
                "with PATIENCE it is above 0"
            )

    @property
    def validation_size(self) -> float:
        """The share of the training people who do not train, or how many of each class."""
        return (0.0 if self.patience is None else 0.2) if self.validation is None else self.validation

    @property
    def micro_batch_size(self) -> int:
        """People who go through the network together, at most."""
        return -(-self.batch_size // self.accumulate)


TRAINING_KEYS = tuple(entry.name for entry in fields(TrainingConfig))


def config_from_module(part: ModuleType, options: Mapping[str, Any] | None = None) -> TrainingConfig:
    """What a part of the catalogue states, and options (of which others than KEYS are not looked at) in its place."""
    values = {name: getattr(part, name.upper()) for name in TRAINING_KEYS if hasattr(part, name.upper())}
    return TrainingConfig(**values | {name: value for name, value in (options or {}).items() if name in TRAINING_KEYS})


def select_model_options(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """The options that are of the classifier itself."""
    return {name: value for name, value in (options or {}).items() if name not in TRAINING_KEYS}
