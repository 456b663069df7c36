"""One classifier per file: a torch network to be trained, or a linear model or forest that fits itself.

Each file has a docstring with the citation (printed into reports: its first paragraph, and the names and years of its
last), `INPUT_FORMAT` and `build(channels, classes, shape, *, voxel_mm, seed) -> torch.nn.Module`; the module has the
attribute `input_format` with the same value:

- "volumes": the input is (batch, channels, X, Y, Z), zero outside the mask, and `shape` is (X, Y, Z);
- "vectors": the input is (batch, channels * voxels), the voxels in the mask, one channel after the other, and `shape`
  is (voxels,).

A 2D network takes volumes too: it is a `_slices.SliceNetwork`, which cuts them itself and averages over slices.

`REFERENCES`, a literal dictionary, has the full text of what the docstring cites: "Good 2001" by "Good CD, et al. ...".

`OPTIONS`, a dictionary of names and defaults, are further keywords of `build`, set by `--set NAME.OPTION=VALUE`. The
option that `NAME_SUFFIX` names may follow the classifier's name: `wang_a-24` is `wang_a` with `width` 24. A file that
declares `VARIANTS` stands for several classifiers: by name, a `summary` (first paragraph of the docstring) and the
keywords that `build` gets beside the variant's `name`.

Values are scaled voxel by voxel (mean 0 and SD 1 over the training samples), and the output is logits (batch, classes),
whose softmax is the probability. A network names its last spatial layer `.cam_layer`, raises DataError in `build` for
a `shape` below its minimal input size (`_min_input_size.check_input_size`), and its file has the training defaults
`EPOCHS`, `LEARNING_RATE`, `WEIGHT_DECAY` and `BATCH_SIZE`, optionally `OPTIMISER`, `SCHEDULE`, `PATIENCE`,
`VALIDATION`, `OVERSAMPLE`, `INSTANCES` (which needs the method `instances`), `ACCUMULATE` and `AUGMENT`, all described
in `training.training_config`. If `ACCUMULATE` divides a batch, batch normalisation sees one part at a time.

A model that fits itself has `fit(x, y, *, seed, groups, voxel_grid) -> None`, whose inner folds keep rows of a group
together; `voxel_grid` has the positions of the voxels and, if the file names a parcellation as `ATLAS`, their regions.
One without a gradient has `.differentiable` False. A linear one also has `.linear` (torch.nn.Linear) and the buffer
`.centre`, with logits linear(x - centre). Its file has `gram_matrix(training, held_out, *, voxel_grid)`, everything
that it needs of the samples independent of their labels, and `decision_function(statistics, labellings)`, its decisions
on held-out samples (labellings, held out, classes) under each of many labellings of the training samples, for
permutation tests; `_linear.linear_contract` makes all three functions of a solver. The saved state is `state_dict()`.
"""
