"""Voxelwise maps: one file a map, pure functions on arrays.

A map states `SOURCE` (what `compute` takes: an array (X, Y, Z) in template space such as `gm`, or the series of a BOLD
run, (voxels, time), `denoised` or also `filtered`), `UNIT`, `ENTITIES` and `SUFFIX` (BIDS), and for the group level
`REGION` (prior whose territory is analysed), `FORM` (raw, mean or zscore: how a person's image is scaled by its own
values), `SMOOTHING_MM`, `ADJUST_FOR`, `ATLASES`. `REGISTRATION` is what it needs by default. The keyword-only names of
`compute` say what else it takes; the workflow supplies that. A map with `FITTED` is computed at the group level, with
what is fitted on the training people of each fold: the participant level writes the series that it takes.
"""
