"""One classifier a file: a torch network to be trained, or a linear model or forest that fits itself.

Each file has `TAKES` and `build(channels, classes, shape, *, voxel_mm, seed) -> torch.nn.Module`; the module has
`.takes`, the same text:

- "volumes": the input is (batch, channels, X, Y, Z), zero outside the mask, and `shape` is (X, Y, Z);
- "vectors": the input is (batch, channels * voxels), the voxels in the mask, one channel after the other, and `shape`
  is (voxels,).

A 2D network takes volumes too: it is a `_slices.OfSlices`, which cuts them itself and gives the mean over slices.

Values are scaled voxel by voxel (over the training people mean 0, SD 1), and the output is logits (batch, classes),
whose softmax is the probability. A network names its last spatial layer `.cam_layer`, and its file gives the training
defaults `EPOCHS`, `LEARNING_RATE`, `WEIGHT_DECAY` and `BATCH_SIZE`, and where they differ from the first named here:
`OPTIMISER` ("adamw", "adam"), `SCHEDULE` ("cosine", "none"), `PATIENCE` (epochs without a better loss of the share
`VALIDATION`, 0.2, of the training people; no early stopping without it), `OVERSAMPLE` (False: class weights),
`INSTANCES` (False; True: the loss is of each slice's logits) and `ACCUMULATE` (1; the parts a batch goes through in).

A model that fits itself has `fit(x, y, *, seed, groups) -> None`, whose inner folds keep rows of a group together; a
linear one also `.linear` (torch.nn.Linear) and the buffer `.centre`, and its logits are linear(x - centre). One without
a gradient says so: `.differentiable` is False. The saved state is `state_dict()` alone.
"""
