"""Average of sparse and dense linear models: weighted within the fold by how well each explains the training data.

Four hypotheses: the classes differ in one 6 mm cube (prior 1/2), in one region of Neuromorphometrics, in all regions a
little, or in all voxels a little (1/6 each). Each has an expected difference and an evidence in closed form; the
classifier is their average, weighted by prior times evidence (Bayesian model averaging), and stays linear.

Hoeting et al. 1999, Statistical Science 14:382-401; Wang et al. 2020, J R Stat Soc B 82:1273-1300 (single effects);
Hoerl & Kennard 1970, Technometrics 12:55-67 (dense ones); Liang et al. 2008, J Am Stat Assoc 103:410-423 (the
evidence).
"""

from functools import partial

from bids_app.classifiers._evidence import Dense, Hypothesis, Single, average_hypotheses
from bids_app.classifiers._linear import GRAM, linear_contract
from bids_app.classifiers._voxel_grid import CUBES, REGIONS

INPUT_FORMAT = "vectors"
ATLAS = "neuromorphometrics"  # whose regions are averaged over; the region tables use other atlases
PRIOR: dict[Hypothesis, float] = {
    Single(CUBES): 1 / 2,
    Single(REGIONS): 1 / 6,
    Dense(REGIONS): 1 / 6,
    Dense(GRAM): 1 / 6,
}
SETS = (CUBES, REGIONS)
build, gram_matrix, decision_function = linear_contract(partial(average_hypotheses, prior=PRIOR), sets=SETS)
