"""Linear model of regional means: one region of Neuromorphometrics differs, or all a little, weighted by evidence.

Single-effect regression and ridge regression on the means, averaged by prior (one half each) and evidence. What a
region shares with the rest of the brain is regressed out first.

Servin & Stephens 2007, PLoS Genetics 3:e114; Hoerl & Kennard 1970, Technometrics 12:55-67; Hoeting et al. 1999,
Statistical Science 14:382-401; Liang et al. 2008, J Am Stat Assoc 103:410-423 (the evidence).
"""

from functools import partial

from bids_app.classifiers._evidence import Dense, Hypothesis, Single, average_hypotheses
from bids_app.classifiers._linear import linear_contract
from bids_app.classifiers._voxel_grid import REGIONS

INPUT_FORMAT = "vectors"
ATLAS = "neuromorphometrics"  # whose regions are averaged over; the region tables use other atlases
PRIOR: dict[Hypothesis, float] = {Single(REGIONS): 0.5, Dense(REGIONS): 0.5}
SETS = (REGIONS,)
build, gram_matrix, decision_function = linear_contract(partial(average_hypotheses, prior=PRIOR), sets=SETS)
