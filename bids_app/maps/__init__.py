"""Voxelwise maps: one file a map, pure functions on arrays.

A map states `SOURCE` (which array in template space `compute` takes), `UNIT`, `ENTITIES` and `SUFFIX` (BIDS), and for
the group level `REGION` (prior whose territory is analysed), `SMOOTHING_MM`, `ADJUST_FOR`, `ATLASES`. `REGISTRATION` is
what it needs by default. The keyword-only names of `compute` say what else it takes; the workflow supplies that.
"""
