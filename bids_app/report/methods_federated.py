"""How a federated analysis was done, as paragraphs."""

from collections.abc import Sequence

from bids_app.report.methods import describe_part

CUBES = (
    "Variance shared with the whole image, and the hypothesis that all voxels differ a little, were computed from the "
    "mean of the map in each 6 mm cube instead of its voxels, of which there are too many for a matrix of products."
)


def describe_federated(
    *, classifiers: Sequence[str], sites: int, folds: int, permutations: int, harmonised: bool, version: str
) -> str:
    """The methods; sites: those whose participants are in the results; harmonised: whether ComBat was used."""
    averaged = [name for name in classifiers if name != "logistic"]
    harmonising = "ComBat removed the shift and scale of each site in every voxel. " if harmonised else ""
    parts = [
        f"Images of {sites} sites were analysed without leaving them. A coordinator asked all sites the same "
        "questions, which they answered with sums over their participants; sums were added in the order of site names.",
        f"Folds ({folds}) were drawn within each site. {harmonising}Covariates were regressed out of each voxel, and "
        "voxels were scaled by their mean and SD over the training participants of all sites, from sums.",
        "The classifiers:",
        "\n".join(f"- {name}: {describe_part('classifiers', name)}" for name in classifiers),
        *([CUBES] if averaged else []),
        "The balanced accuracy is that of the summed confusion matrices of the held-out participants; the AUROC is the "
        "sum of the sites' Mann-Whitney U within folds over the sum of pairs. A site with fewer than ten participants "
        "of a class sent no scores.",
    ]
    if permutations and averaged:
        parts.append(
            f"Labels were permuted {permutations} times within the folds of each site; p is the proportion of the best "
            "scores of the permuted classifiers that reached the observed score, the observed labelling included."
        )
    parts.append(f"The analysis was run with Pellucid {version} and NVIDIA FLARE.")
    return "\n\n".join(parts)
