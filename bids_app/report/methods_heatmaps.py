"""The methods of the heatmaps as text: regions, checks, overlap with a reference map, and the voxelwise test."""

REGIONS = (
    "Regions were ranked by their mean in the mean heatmap. p (size) is the proportion of 999 compact patches of the "
    "region's size, around voxels drawn from the brain, whose mean is at least as strong; it is not corrected for the "
    "number of regions. Agreement of folds on regions is ICC(2,1) (Shrout & Fleiss 1979) of region means."
)
CHECKS = (
    "Each method was checked in each fold, in four held-out participants and for the predicted class. Heatmaps were "
    "recomputed after all parameters had been shuffled, from the head downwards (Adebayo 2018); from a model trained "
    "on permuted labels; and, for networks, from a model trained from a different initialisation. Similarity is the "
    "rank correlation of absolute values over voxels. Regions were set to the training mean in the order of their "
    "heatmap values, and in reverse order (deletion and insertion; Petsiuk 2018), against 19 random orders. Infidelity "
    "is the proportion of the squared changes of the logit, when random halves of the regions are removed, that is not "
    "explained by the optimally scaled map. Sensitivity is the largest change of a heatmap under uniform noise of "
    "0.1 SD, as a proportion of its norm (Yeh 2019)."
)
OVERLAP = (
    "Mean heatmaps (their absolute values or, for methods of one sign, their positive part), smoothed by 0 to 8 mm, "
    "were compared with {reference}: area under the precision-recall curve (AUPRC), AUROC, the maximum Dice "
    "coefficient over all thresholds, and the Dice coefficient at the region's volume. Results reported as smoothed "
    "use the smoothing that was best for the heatmaps of the other folds. p is the proportion of 99 surrogates with "
    "the map's values and smoothness (after Burt 2020), including the map itself, whose AUPRC is at least as high."
)
ALE = " The coordinates were converted to a map of activation likelihood (Eickhoff 2009; Turkeltaub 2012)."


VOXELWISE = (
    "Without any classifier, each class was compared with the reference at every voxel of every map. The maps were "
    "prepared as for the classifiers but not scaled; the linear model had an intercept, the other classes and the "
    "covariates of the map. The t values of each comparison were enhanced by TFCE (Smith 2009: extent exponent 0.5, "
    "height exponent 2, face connectivity, 100 steps up to the map's largest |t|), for both signs, and participants "
    "were permuted {permutations} times after Freedman and Lane (Winkler 2014), in the same order for all maps. p is "
    "corrected for all voxels of all comparisons by the maximum |TFCE| of each permutation (Nichols 2002), including "
    "the observed order (Phipson & Smyth 2010); computations used nilearn (Abraham 2014). A participant with several "
    "images was included once, with their mean. Mean heatmaps were compared with the voxels with p < 0.05 or, where "
    "there were none, with the 10 % of voxels with the largest |t|, using the measures and surrogates (after Burt "
    "2020) that are used for reference maps. The test and the heatmaps are based on the same participants, so "
    "agreement confirms neither."
)


def describe_heatmaps(*, checked: bool, reference: str | None, voxelwise: int | None = None) -> list[str]:
    """The paragraphs; reference: name of the reference file, None without one; voxelwise: number of permutations."""
    parts = [REGIONS, *([CHECKS] if checked else [])]
    if reference is not None:
        coordinates = reference.endswith((".tsv", ".json"))
        parts.append(OVERLAP.format(reference=reference) + (ALE if coordinates else ""))
    if voxelwise:
        parts.append(VOXELWISE.format(permutations=voxelwise))
    return parts
