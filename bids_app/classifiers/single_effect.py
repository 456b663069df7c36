"""Sparse linear model: single-effect regression on means over 6 mm cubes, weighted by their evidence of a difference.

What a cube shares with the rest of the brain is regressed out first; its weight is its Bayes factor against no
difference times its expected slope, so that few cubes count if the evidence is strong and many if it is weak. The
evidence is computed anew for each training set, including inner folds.

Servin & Stephens 2007, PLoS Genetics 3:e114; Wang et al. 2020, J R Stat Soc B 82:1273-1300; Liang et al. 2008, J Am
Stat Assoc 103:410-423 (the evidence).
"""

from functools import partial

from bids_app.classifiers._evidence import Hypothesis, Single, average_hypotheses
from bids_app.classifiers._linear import linear_contract
from bids_app.classifiers._voxel_grid import CUBES

INPUT_FORMAT = "vectors"
PRIOR: dict[Hypothesis, float] = {Single(CUBES): 1.0}
SETS = (CUBES,)
build, gram_matrix, decision_function = linear_contract(partial(average_hypotheses, prior=PRIOR), sets=SETS)
