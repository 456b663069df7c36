"""One heatmap method per file: what a trained classifier uses.

Each file has a docstring with the citation (printed into reports: its first paragraph, and the names and years of its
last), `SIGN` ("both", or "positive" if only positive values speak for the class), `UNIT` (the text of the colour bar),
`SCOPE` ("sample", "model" or "both") and `check(classifier) -> str | None`, why the method does not suit a classifier.

- Of a sample: `explain(classifier, x, target, *, mask) -> float32 array`. For a classifier of "volumes" x is (channels,
  X, Y, Z) and the map (X, Y, Z), zero outside the mask; for one of "vectors" x is (channels * voxels,) and the map
  (voxels,), summed over channels. A method with the keyword `parcels` also gets the regions of the map's first atlas,
  (X, Y, Z), 0 where there is none.
- Of a model: `describe(classifier, x_train) -> float32 array (classes, channels * voxels)`, with x_train (n, channels *
  voxels) the scaled training samples.

`OPTIONS`, a dictionary of names and defaults, are further keywords of `explain`, set by `--set NAME.OPTION=VALUE`.

`COARSE = True`: the values belong to units of `cam_layer`, which are larger than voxels. `SENSITIVITY = True`: they are
changes of the logit per change of a voxel, not contributions to it. `REGIONWISE = True`: all voxels of a region have
the region's value.

`checks(classifier, x, target, values) -> dict of numbers` may measure what a map has to fulfil, `values` being the map
(voxels in the mask,) of that sample and class; the numbers are written to the sidecar.

Maps are unscaled and signed, in the unit given, never scaled per participant. Hooks are removed afterwards; mode,
weights and stored gradients are unchanged.
"""
