"""What was done with heatmaps, in words: regions, checks, and overlap with a reference map."""

REGIONS = (
    "Regions were ranked by the mean of the mean map. p (size) is the share of 999 compact patches of the region's "
    "size, round voxels drawn from the brain, whose mean is as strong; it is not corrected for the number of regions. "
    "Agreement of folds on regions is ICC(2,1) (Shrout & Fleiss 1979) of region means."
)
CHECKS = (
    "Each method was checked in each fold, on four people held out and for the class that was called. Maps were made "
    "again after all parameters had been shuffled, from the head downwards (Adebayo 2018), by a model trained on "
    "shuffled labels and, of networks, by one from another start; likeness is the rank correlation of absolute values "
    "over voxels. Regions were set to the training mean in the order of what the map gave them, and in its reverse "
    "(deletion and insertion; Petsiuk 2018), against 19 random orders. Infidelity is the share of the squared changes "
    "of the logit, when random halves of the regions go, that the map at its best scale does not foretell, and "
    "sensitivity the most that a map changes with uniform noise of 0.1 SD, as a share of its norm (Yeh 2019)."
)
OVERLAP = (
    "Mean maps, their absolute values or, of methods of one sign, their positive part, were compared with {reference}: "
    "area under precision and recall (AUPRC), AUROC, the largest Dice over all thresholds and Dice at the region's "
    "volume, smoothed by 0 to 8 mm; what is reported as smoothed was smoothed as was best for the maps of the other "
    "folds. p is the share of 99 surrogates of the map's own values and smoothness (after Burt 2020), itself among "
    "them, whose AUPRC is as large."
)
ALE = " The coordinates became a map of activation likelihood (Eickhoff 2009; Turkeltaub 2012)."


VOXELWISE = (
    "Without any classifier, each class was compared with the reference in every voxel of every map, as the maps were"
    " prepared for the classifiers but not scaled, in a linear model with an intercept, the other classes and the "
    "covariates that the map was adjusted for. The t of each comparison was enhanced by TFCE (Smith 2009: extent to "
    "the power of 0.5, height to that of 2, neighbours by faces, 100 steps up to the map's largest |t|), both signs, "
    "and people were permuted {permutations} times after Freedman and Lane (Winkler 2014), in the same orders for all"
    " maps. p is corrected for all voxels of all comparisons by the largest |TFCE| of each permutation "
    "(Nichols 2002), the true order counted in (Phipson & Smyth 2010); nilearn (Abraham 2014) did the computing. A "
    "person with several images counted once, by their mean. Mean heatmaps were held against the voxels "
    "with p < 0.05, or the tenth of voxels with the largest |t| where there was none, by the measures and surrogates "
    "(after Burt 2020) that Pellucid has for reference maps; test and heatmaps rest on the same people, so that "
    "agreement confirms neither."
)


def paragraphs(*, checked: bool, reference: str | None, voxelwise: int | None = None) -> list[str]:
    """The paragraphs; reference: the name of the reference's file, None without one; voxelwise: its permutations."""
    parts = [REGIONS, *([CHECKS] if checked else [])]
    if reference is not None:
        coordinates = reference.endswith((".tsv", ".json"))
        parts.append(OVERLAP.format(reference=reference) + (ALE if coordinates else ""))
    if voxelwise:
        parts.append(VOXELWISE.format(permutations=voxelwise))
    return parts
