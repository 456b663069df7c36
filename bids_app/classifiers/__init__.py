"""One classifier a file: a torch network to be trained, or a linear model or forest that fits itself.

Each file has `TAKES` and `build(channels, classes, shape, *, voxel_mm, seed) -> torch.nn.Module`; the module has
`.takes`, the same text:

- "volumes": the input is (batch, channels, X, Y, Z), zero outside the mask, and `shape` is (X, Y, Z);
- "vectors": the input is (batch, channels * voxels), the voxels in the mask, one channel after the other, and `shape`
  is (voxels,).

A 2D network takes volumes too: it is a `_slices.OfSlices`, which cuts them itself and gives the mean over slices.

What `OPTIONS`, a literal, names with its default, `build` takes besides, and `--tune NAME.OPTION=VALUE` sets; the
option that `VARIANT` names may follow the name of the part: `wang_a-24` is `wang_a` with `width` 24.

Values are scaled voxel by voxel (over the training people mean 0, SD 1), and the output is logits (batch, classes),
whose softmax is the probability. A network names its last spatial layer `.cam_layer`, and its file gives the training
defaults `EPOCHS`, `LEARNING_RATE`, `WEIGHT_DECAY` and `BATCH_SIZE`, and if it wants them `OPTIMISER`, `SCHEDULE`,
`PATIENCE`, `VALIDATION`, `OVERSAMPLE`, `INSTANCES` (which needs the method `instances`), `ACCUMULATE` and `AUGMENT`, as
`training.regimen` says. Of a batch that `ACCUMULATE` cuts, batch normalisation sees one part at a time.

A model that fits itself has `fit(x, y, *, seed, groups, places) -> None`, whose inner folds keep rows of a group
together; `places` says where the voxels lie, and, where the file names a parcellation as `ATLAS`, in which of its
regions. One without a gradient says so: `.differentiable` is False. A linear one has also `.linear` (torch.nn.Linear)
and the buffer `.centre`, and its logits are linear(x - centre). Its file has `products(training, held_out, *, places)`,
all that it needs of people whatever their labels, and `decide(products, labellings)`: its decisions on those held out
(labellings, held out, classes) under each of many labellings of those who train, by which permutations are judged.
The saved state is `state_dict()` alone.
"""
