"""Slices of a volume as the images of a 2D network, and the mapping from images back to the volume.

A network of slices has the same input as a 3D network: it cuts the volumes itself, by differentiable operations, so
that it can be explained in voxels.
"""

import math

import torch
from torch import nn
from torch.nn.functional import interpolate, log_softmax, pad

from bids_app.errors import UsageError

NEIGHBOURS, REPEATED = "neighbours", "repeated"
LOGITS, PROBABILITIES = "logits", "probabilities"
# of every network of slices; axial ones show both hemispheres, so that lateralised effects can be learnt
OPTIONS = {"size": 224, "axis": 2, "first": None, "last": None, "step": 3, "content": "neighbours"}


class Slices(nn.Module):
    """Cuts volumes (batch, channels, X, Y, Z) into images (batch * slices, 3 * channels, size, size).

    Slices lie perpendicular to `axis`, at `first`, `first + step`, ... up to `last`; the other two axes are rows and
    columns, in that order. `content`: "neighbours", a slice and the two adjacent ones as the three channels of an
    image, or "repeated", the same slice three times; maps follow one another, three channels each. Outside the volume
    is 0.

    By default slices are three apart and centred, so that with their neighbours they cover each slice of the volume
    once. Images are padded to a square with the volume in the centre and resized to `size` (bilinear, with
    anti-aliasing if shrunk).
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
            raise UsageError(f"the content of a slice must be {NEIGHBOURS} or {REPEATED}, not {content!r}")
        self.axis, self.step, self.size, self.content = axis, step, size, content
        self.positions = range(first, last + 1, step)
        self.plane = tuple(edge for number, edge in enumerate(shape) if number != axis)
        self.side = max(self.plane)
        self.before = tuple((self.side - edge) // 2 for edge in self.plane)

    def forward(self, volumes: torch.Tensor) -> torch.Tensor:
        """Images (batch * slices, 3 * channels, size, size), with the slices of a sample adjacent."""
        planes = volumes.movedim(2 + self.axis, 2)
        if self.content == NEIGHBOURS:
            planes = pad(planes, (0, 0, 0, 0, 1, 1))
        offsets = (0, 1, 2) if self.content == NEIGHBOURS else (0, 0, 0)
        ends = self.positions[0], self.positions[-1] + 1
        channels = [planes[:, :, ends[0] + offset : ends[1] + offset : self.step] for offset in offsets]
        # (batch, channels, three, slices, rows, columns) -> (batch, slices, channels, three, rows, columns)
        images = torch.stack(channels, dim=2).permute(0, 3, 1, 2, 4, 5).flatten(2, 3).flatten(0, 1)
        margins = [(low, self.side - edge - low) for low, edge in zip(self.before, self.plane, strict=True)]
        images = pad(images, (*margins[1], *margins[0]))
        if self.side == self.size:
            return images
        smaller = self.size < self.side
        return interpolate(images, (self.size, self.size), mode="bilinear", align_corners=False, antialias=smaller)

    def to_volume(
        self, start: tuple[float, ...], step: tuple[float, ...]
    ) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """Start and step in voxels (X, Y, Z) of a feature grid of the images; `start` and `step`: in pixels (rows,
        columns).

        Pixels are areas, as in resizing: pixel p is centred on (p + 1/2) side / size - 1/2.
        """
        scale = self.side / self.size
        starts = [(pixel + 0.5) * scale - 0.5 - low for pixel, low in zip(start, self.before, strict=True)]
        steps = [pixels * scale for pixels in step]
        starts.insert(self.axis, self.positions[0])
        steps.insert(self.axis, self.step)
        return (starts[0], starts[1], starts[2]), (steps[0], steps[1], steps[2])

    def covered(self) -> range:
        """The voxels along the axis from the first to the last slice that an image contains."""
        beside = 1 if self.content == NEIGHBOURS else 0
        return range(max(self.positions[0] - beside, 0), self.positions[-1] + 1 + beside)


class SliceNetwork(nn.Module):
    """Logits (batch, classes) of volumes (batch, channels, X, Y, Z): the mean over their slices.

    `backbone` maps images from `slices` to logits (images, classes); `cam` is the name of its last spatial layer,
    `last` that of the linear layer after global average pooling, if it ends in one. `pool`: "logits", or
    "probabilities", which are averaged over slices (multiple-instance averaging); the logits are then the logarithm.
    """

    input_format = "volumes"

    def __init__(
        self, slices: Slices, backbone: nn.Module, *, cam: str, last: str | None = None, pool: str = LOGITS
    ) -> None:
        super().__init__()
        self.slices, self.backbone, self.cam, self.last, self.pool = slices, backbone, cam, last, pool

    @property
    def cam_layer(self) -> nn.Module:
        """A layer of the backbone; an alias, so that the state holds it once."""
        return self.backbone.get_submodule(self.cam)

    @property
    def head(self) -> nn.Module | None:
        """The linear layer after global average pooling, None if there is no such pooling."""
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
        """The output of a layer as (images, channels, rows, columns), which it is already."""
        return values
