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


def paragraphs(*, checked: bool, reference: str | None) -> list[str]:
    """The paragraphs; reference: the name of the reference's file, None without one."""
    parts = [REGIONS, *([CHECKS] if checked else [])]
    if reference is not None:
        coordinates = reference.endswith((".tsv", ".json"))
        parts.append(OVERLAP.format(reference=reference) + (ALE if coordinates else ""))
    return parts
