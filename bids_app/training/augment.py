"""Augmentation of training samples by small rotations, translations and scalings, with MONAI's transforms.

Cardoso et al. 2022, arXiv:2211.02701.
"""

from collections.abc import Callable
from typing import Any

import torch

Augment = Callable[[torch.Tensor, torch.Generator], torch.Tensor]

TURN_RAD, MOVE_VOXELS, SCALE = 0.09, 2, 0.05


def _affine() -> list[Any]:
    from monai.transforms.spatial.array import RandAffine

    return [
        RandAffine(
            prob=1.0,
            rotate_range=TURN_RAD,
            translate_range=MOVE_VOXELS,
            scale_range=SCALE,
            mode="bilinear",
            padding_mode="zeros",
        )
    ]


def _affine_flip() -> list[Any]:
    from monai.transforms.spatial.array import RandFlip

    return [*_affine(), RandFlip(prob=0.5, spatial_axis=0)]


# left and right matter: what flips them is chosen by name
KINDS: dict[str, Callable[[], list[Any]]] = {"affine": _affine, "affine_flip": _affine_flip}


def load(name: str | None) -> Augment | None:
    """Return a function of volumes (batch, channels, X, Y, Z) and a generator, which keeps the shape; None for None.

    MONAI is imported here only. All channels of a sample are transformed alike; outside the image is 0.
    """
    if name is None:
        return None
    if name not in KINDS:
        raise ValueError(f"AUGMENT must be one of {', '.join(KINDS)}, not {name!r}")
    from monai.transforms.compose import Compose
    from monai.utils.type_conversion import convert_to_tensor

    transform: Any = Compose(KINDS[name]())

    def augment(x: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
        draw = torch.randint(2**31, (1,), generator=noise, device=noise.device)
        transform.set_random_state(seed=int(draw))
        return torch.stack([convert_to_tensor(transform(sample), track_meta=False) for sample in x])

    return augment
