"""How a network is trained, as its file in the catalogue says."""

from dataclasses import dataclass, fields
from types import ModuleType

OPTIMISERS = ("adamw", "adam")
SCHEDULES = ("cosine", "none")


@dataclass(frozen=True)
class Regimen:
    """What a classifier's file may state, in capitals, with what holds where it does not.

    batch_size: people a step; accumulate: so many parts a batch is cut into, which go through one after the other and
    are one step together. patience: stop after so many epochs without a better loss on the share `validation` of the
    training people (1 or more: on so many of each class), and keep the best weights; None: all epochs, nobody set
    aside. oversample: classes are drawn equally often, in place of class weights. instances: the loss of a network of
    slices is of each slice. augment: what is done to training people (`augment.KINDS`).
    """

    epochs: int
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    batch_size: int = 8
    optimiser: str = "adamw"
    schedule: str = "cosine"
    patience: int | None = None
    validation: float = 0.2
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
        if not (0 < self.validation < 1 or (self.validation >= 1 and self.validation % 1 == 0)):
            raise ValueError(f"VALIDATION is a share below 1 or a whole number of people, not {self.validation}")

    @property
    def at_once(self) -> int:
        """People who go through the network together, at most."""
        return -(-self.batch_size // self.accumulate)


def of(part: ModuleType, *, epochs: int | None = None) -> Regimen:
    """What a part of the catalogue states; epochs: so many in place of its own."""
    stated = {one.name: getattr(part, one.name.upper()) for one in fields(Regimen) if hasattr(part, one.name.upper())}
    return Regimen(**stated | ({} if epochs is None else {"epochs": epochs}))
