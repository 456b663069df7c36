"""One way of showing what a trained classifier uses a file.

Each file has a docstring with the citation, `SIGN` ("both", or "positive" where only the positive part speaks for the
class), `UNIT` (the colour bar's text), `OF` ("person", "model" or "both") and `check(classifier) -> str | None`, the
reason why it does not suit a classifier.

- Of a person: `explain(classifier, x, target, *, mask) -> float32 array`. For a classifier that takes "volumes" x is
  (channels, X, Y, Z) and the map (X, Y, Z), zero outside the mask; for one that takes "vectors" x is (channels *
  voxels,) and the map (voxels,), summed over channels. One that names a keyword `parcels` gets the regions of the
  map's first atlas too, (X, Y, Z), 0 where there is none.
- Of a model: `describe(classifier, x_train) -> float32 array (classes, channels * voxels)`, x_train (n, channels *
  voxels) being the scaled training people.

`OPTIONS`, a literal of names and defaults: what `explain` takes besides, and `--tune NAME.OPTION=VALUE` sets.

`CELLS = True`: the values are those of the cells of `cam_layer`, which are larger than voxels; `SLOPE = True`: they are
changes of the logit per change of a voxel, not contributions to it; `WHOLE = True`: each voxel of a region has the
value of the whole region.

- What a map has to fulfil may be measured by `checks(classifier, x, target, values) -> dict of numbers`, `values` being
  the map (voxels in the mask,) of that person and class; it stands in the sidecar.

Maps are raw and signed, in the unit given, never scaled per person. Hooks are removed afterwards; mode, weights and
gradients are as before.
"""
