"""Slices of a volume as the images of a 2D network, and the way from them back to the volume.

A network of slices takes volumes as any other: it cuts them itself, by operations that are differentiable, so that
whoever explains it sees voxels.
"""

import math

import torch
from torch import nn
from torch.nn.functional import interpolate, log_softmax, pad

from bids_app.errors import UsageError

NEIGHBOURS, REPEATED = "neighbours", "repeated"
LOGITS, PROBABILITIES = "logits", "probabilities"


class Slices(nn.Module):
    """Cuts volumes (batch, channels, X, Y, Z) into images (batch * slices, 3 * channels, size, size).

    Slices lie across `axis`, at `first`, `first + step`, ... up to `last`; the other two axes are rows and columns, in
    their order. `content`: "neighbours", a slice between the two beside it as the three channels of an image, or
    "repeated", the same slice three times; maps follow one another, three channels each. Beyond the volume is 0.

    Unless told otherwise the slices are three apart and centred, so that with their neighbours they stand side by side
    and each slice of the volume is seen once. Images are padded to a square, the volume in the middle, and resized to
    `size` (bilinear; shrunk ones smoothed before).
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        size: int,
        axis: int = 2,
        first: int | None = None,
        last: int | None = None,
        step: int = 3,
        content: str = NEIGHBOURS,
    ) -> None:
        super().__init__()
        if axis not in (0, 1, 2) or size < 1 or step < 1:
            raise UsageError(f"slices need an axis of 0, 1 or 2, a size and a step, not {axis}, {size} and {step}")
        last = shape[axis] - 1 if last is None else last
        first = last % step // 2 if first is None else first
        if not 0 <= first <= last < shape[axis]:
            raise UsageError(f"there are no slices {first} to {last} of {shape[axis]} along axis {axis}")
        if content not in (NEIGHBOURS, REPEATED):
            raise UsageError(f"the content of a slice is {NEIGHBOURS} or {REPEATED}, not {content!r}")
        self.axis, self.step, self.size, self.content = axis, step, size, content
        self.positions = range(first, last + 1, step)
        self.plane = tuple(edge for one, edge in enumerate(shape) if one != axis)
        self.side = max(self.plane)
        self.before = tuple((self.side - edge) // 2 for edge in self.plane)

    def forward(self, volumes: torch.Tensor) -> torch.Tensor:
        """Images (batch * slices, 3 * channels, size, size), one person's slices after one another."""
        planes = volumes.movedim(2 + self.axis, 2)
        if self.content == NEIGHBOURS:
            planes = pad(planes, (0, 0, 0, 0, 1, 1))
        offsets = (0, 1, 2) if self.content == NEIGHBOURS else (0, 0, 0)
        ends = self.positions[0], self.positions[-1] + 1
        shown = [planes[:, :, ends[0] + offset : ends[1] + offset : self.step] for offset in offsets]
        # (batch, channels, three, slices, rows, columns) -> (batch, slices, channels, three, rows, columns)
        images = torch.stack(shown, dim=2).permute(0, 3, 1, 2, 4, 5).flatten(2, 3).flatten(0, 1)
        room = [(low, self.side - edge - low) for low, edge in zip(self.before, self.plane, strict=True)]
        images = pad(images, (*room[1], *room[0]))
        if self.side == self.size:
            return images
        smaller = self.size < self.side
        return interpolate(images, (self.size, self.size), mode="bilinear", align_corners=False, antialias=smaller)

    def place(
        self, start: tuple[float, ...], step: tuple[float, ...]
    ) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """Where cells of the images lie in the volume: voxel of the first one and voxels between them, by X, Y, Z.

        start, step: the same in pixels of an image, by rows and columns. Pixels are taken as areas, as the resizing
        does: pixel p has its centre at (p + 1/2) side / size - 1/2.
        """
        scale = self.side / self.size
        starts = [(one + 0.5) * scale - 0.5 - low for one, low in zip(start, self.before, strict=True)]
        steps = [one * scale for one in step]
        starts.insert(self.axis, self.positions[0])
        steps.insert(self.axis, self.step)
        return (starts[0], starts[1], starts[2]), (steps[0], steps[1], steps[2])

    def seen(self) -> range:
        """The places along the axis from the first slice that an image shows to the last."""
        beside = 1 if self.content == NEIGHBOURS else 0
        return range(max(self.positions[0] - beside, 0), self.positions[-1] + 1 + beside)


class OfSlices(nn.Module):
    """Logits (batch, classes) of volumes (batch, channels, X, Y, Z): the mean of those of their slices.

    `backbone` gives logits (images, classes) of what `slices` cuts; `cam` is the name of its last spatial layer, `last`
    that of the linear layer after a mean over space, where it ends so. `pool`: "logits", or "probabilities", whose
    mean over slices is the person's (multiple-instance averaging); the logits then are that mean's logarithm.
    """

    takes = "volumes"

    def __init__(
        self, slices: Slices, backbone: nn.Module, *, cam: str, last: str | None = None, pool: str = LOGITS
    ) -> None:
        super().__init__()
        self.slices, self.backbone, self.cam, self.last, self.pool = slices, backbone, cam, last, pool

    @property
    def cam_layer(self) -> nn.Module:
        """A name for a layer of the backbone, not a second one: the state holds it once."""
        return self.backbone.get_submodule(self.cam)

    @property
    def head(self) -> nn.Module | None:
        """The linear layer after the mean over space, None where there is no such mean."""
        return None if self.last is None else self.backbone.get_submodule(self.last)

    def instances(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (batch, slices, classes) of each slice."""
        logits: torch.Tensor = self.backbone(self.slices(x))
        return logits.reshape(len(x), len(self.slices.positions), -1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (batch, classes)."""
        each = self.instances(x)
        if self.pool == LOGITS:
            return each.mean(dim=1)
        return log_softmax(each, dim=-1).logsumexp(dim=1) - math.log(each.shape[1])

    def grid(self, values: torch.Tensor) -> torch.Tensor:
        """What a layer gives, as (images, channels, rows, columns); here it is so already."""
        return values
