"""The methods as text."""

import re
from collections.abc import Mapping, Sequence

from bids_app import catalogue
from bids_app.report.methods_heatmaps import describe_heatmaps
from bids_app.report.page import format_number
from bids_app.report.references import CITATION, cited_keys

SLOPPY = "This mode tests that the software works; its maps are not suitable for analysis."
MEASURES = (
    "Scores are computed over participants from out-of-fold predictions. Balanced accuracy is the mean of the "
    "per-class recalls; its interval combines those of the recalls (Wilson 1927) by variance estimates recovery (Zou & "
    "Donner 2008). AUROC is computed over pairs of participants who were predicted by the same fold model; its "
    "interval is from a bootstrap of participants within class or, where all pairs or none are in the correct order, "
    "a score interval (Newcombe 2006). All intervals are 95 % intervals. Participants who share a training set are not "
    "independent, which the intervals do not take into account."
)
SIMULATIONS = (
    "In each simulated study, class labels were permuted among participants as in the permutation test, and the maps "
    "of one class were reduced at a location drawn at random from the first atlas (a sphere of 8 mm radius, one "
    "region, or 20 regions at once; smoothed as the maps are). Covariates were regressed out and voxels scaled again, "
    "and the linear classifiers were trained on the result in the same folds. A difference was detected if the "
    "balanced accuracy of one of them reached the critical value. Its size is Cohen's d of the mean at the location, "
    "with covariates regressed out. The size detected in 80 % of the studies is read from an isotonic regression; its "
    "95 % interval is from a bootstrap of studies."
)
ATLAS_CITATIONS = (
    ("aal", "Tzourio-Mazoyer 2002; Rolls 2015"),
    ("harvard", "Desikan 2006"),
    ("juelich", "Eickhoff 2005"),
)


def describe_participant(
    *,
    maps: Sequence[str],
    registration: str | Mapping[str, str],
    resolution: float,
    space: str,
    mask_method: str,
    source: str,
    anatomy: str,
    sloppy: bool,
    without: str = "",
) -> str:
    """How the maps of one participant were computed, as paragraphs.

    `registration` is 'affine' or 'nonlinear', for all maps or by map (and for BOLD, where it is there); `resolution` is
    in mm; `mask_method` states where the mask came from; `source` is 'pellucid' or 'fmriprep'; `anatomy` is the
    option; `without`: a sentence on what was removed from maps. Raises UsageError for a map that does not exist.
    """
    kinds = registration if isinstance(registration, Mapping) else dict.fromkeys(maps, registration)
    from_fmriprep = source == "fmriprep"
    parts = [
        _describe_fmriprep_anatomy(kinds, space, anatomy)
        if from_fmriprep
        else (_describe_fast_anatomy if anatomy == "fast" else _describe_ants_anatomy)(kinds, space, mask_method)
    ]
    if maps:
        lines = [f"- {name} ({_registration_name(kinds[name])}): {describe_part('maps', name)}" for name in maps]
        parts.append(f"Maps were written at {format_number(resolution)} mm in {space}, not smoothed or scaled further:")
        parts.append("\n".join(lines))
    if without:
        parts.append(without)
    if sloppy:
        parts.append(
            "Maps were computed in low-precision mode (--sloppy): bias correction, registration and segmentation "
            f"stopped early and ran on coarse grids. {SLOPPY}"
        )
    parts.append(
        "Inputs and outputs follow BIDS (Gorgolewski 2016); processing steps were run with Nipype (Gorgolewski 2011)."
    )
    return "\n\n".join(parts)


def describe_group(
    *,
    cells: Sequence[str],
    classes: Mapping[str, int],
    split: str,
    smoothing: Mapping[str, float],
    adjust: Mapping[str, Sequence[str]],
    forms: Mapping[str, str] | None = None,
    keep: Sequence[str] | None = None,
    permutations: Mapping[str, int] | None = None,
    baselines: Sequence[str] = (),
    left_out: Sequence[str] = (),
    explainers: Sequence[str],
    checked: bool = False,
    reference: str | None = None,
    voxelwise: int | None = None,
    ica: str | None = None,
    version: str,
    atlases: Sequence[str] = (),
    sloppy: bool = False,
) -> str:
    """How classifiers were trained, evaluated and explained, as paragraphs. Raises UsageError for an unknown part.

    `cells` are 'classifier/map+map'; `classes` counts participants, the reference first; `split`: a sentence on how
    folds were formed; `smoothing` (FWHM in mm), `adjust` (covariates) and `forms` (raw, mean, zscore) are by map;
    `keep`: what ComBat preserved, None without ComBat; `permutations` (by model), `baselines`, `left_out`: as for
    `describe_permutations`; `checked`, `reference`, `voxelwise`: as for `describe_heatmaps`; `ica`: a paragraph.
    """
    participants = ", ".join(f"{count} {name}" for name, count in classes.items())
    chance = describe_permutations(permutations or {}, baselines, left_out)
    parts = [
        f"{sum(classes.values())} participants ({participants}) were included. {split} All images of one participant "
        "are on the same side of each split. Each fold model predicted only participants on whom it was not trained.",
        *([f"Maps were computed in low-precision mode (--sloppy). {SLOPPY}"] if sloppy else []),
        *([ica] if ica else []),
        describe_preparation(smoothing, adjust, forms or {}, keep),
        "The models, all of which are reported:",
        "\n".join(f"- {cell}: {describe_part('classifiers', cell.partition('/')[0])}" for cell in cells),
        MEASURES,
        *([chance] if chance else []),
    ]
    if explainers:
        parts += [
            "Heatmaps are of held-out participants, or of each fold model. Before averaging over folds, the heatmaps "
            "of each fold model were divided by one number per model (the SD over its training participants); no "
            "heatmap was scaled per participant:",
            "\n".join(f"- {name}: {describe_part('explainers', name)}" for name in explainers),
        ]
    if atlases:
        named = [name + next((f" ({c})" for key, c in ATLAS_CITATIONS if key in name.lower()), "") for name in atlases]
        parts.append(
            f"Regions are those of {', '.join(named)}; voxels without a label in an atlas are counted as outside it."
        )
    if explainers:
        parts += describe_heatmaps(checked=checked, reference=reference, voxelwise=voxelwise)
    parts.append(
        f"The analysis was run with Pellucid {version}; figures were drawn with nilearn (Abraham 2014), and processing "
        "steps were run with Nipype (Gorgolewski 2011)."
    )
    return "\n\n".join(parts)


def _describe_ants_anatomy(kinds: Mapping[str, str], space: str, mask_method: str) -> str:
    nonlinear = (
        ", followed by symmetric diffeomorphic registration (SyN; Avants 2008) for the maps that require it"
        if "nonlinear" in kinds.values()
        else ""
    )
    return (
        f"The T1w image was corrected for intensity non-uniformity within the brain mask (N4; Tustison 2010). Brain "
        f"mask: {mask_method}. The brain was registered to the {space} template (Fonov 2009) with ANTs (Tustison "
        f"2021), by an affine transform{nonlinear}. Grey matter, white matter and CSF were segmented in native space "
        "with Atropos (Avants 2011), using nilearn's template priors (Abraham 2014) of grey and white matter "
        "transformed to native space; the CSF prior is the brain mask minus both. Volumes are sums of these "
        "probabilities; TIV is the sum of the three tissues."
    )


def _describe_fast_anatomy(kinds: Mapping[str, str], space: str, mask_method: str) -> str:
    nonlinear = (
        ", followed by greedy diffeomorphic registration (Yushkevich 2016) with local correlation (Avants 2008) for "
        "the maps that require it"
        if "nonlinear" in kinds.values()
        else ""
    )
    return (
        "The T1w image was corrected for intensity non-uniformity within the brain mask, by sharpening its histogram "
        "(Sled 1998) with a field of cosines of at least 60 mm (Ashburner & Friston 2005). Brain mask: "
        f"{mask_method}. The brain was registered to the {space} template (Fonov 2009) by an affine transform that "
        f"maximises global correlation{nonlinear}. Fractions of grey matter, white matter and CSF were estimated in "
        "native space by a mixture of Gaussians with partial-volume classes (Tohka 2004) and a Markov random field "
        "(Zhang 2001), using nilearn's template priors (Abraham 2014) of grey and white matter transformed to native "
        "space; the CSF prior is the brain mask minus both. Volumes are sums of these fractions; TIV is the sum of the "
        "three tissues. Images were resampled with ANTs (Tustison 2021)."
    )


def _describe_fmriprep_anatomy(kinds: Mapping[str, str], space: str, anatomy: str) -> str:
    means = "by maximising global correlation" if anatomy == "fast" else "with ANTs (Tustison 2021)"
    affine = (
        f" The affine transform, for the maps that require it, was computed {means}."
        if "affine" in kinds.values()
        else ""
    )
    return (
        f"The T1w image, its brain mask, its tissue probabilities and its nonlinear transform to {space} (Fonov 2009) "
        f"were taken from fMRIPrep (Esteban 2019) without modification.{affine} Volumes are sums of the probabilities; "
        "TIV is the sum of the three tissues."
    )


def describe_permutations(permutations: Mapping[str, int], baselines: Sequence[str], left_out: Sequence[str]) -> str:
    """How chance was judged, "" where nothing was permuted.

    permutations: by model; baselines: their names; left_out: sentences on those that were excluded.
    """
    counts = ", ".join(f"{count} for {cell}" for cell, count in permutations.items() if count)
    if not counts:
        return ""
    text = (
        f"Chance was judged by permutation (number of permutations: {counts}). Labels were permuted among the "
        "participants held out by each fold of the first repeat, and among those held out by none, which preserves the "
        "class sizes of each fold and everything that is fitted without labels. p is the proportion of permutations, "
        "including the observed labelling, whose balanced accuracy is at least that of the observed labels (Phipson & "
        "Smyth 2010). For linear models, p is corrected by the maximum over these models under the same labellings, "
        "step-down (after Westfall and Young; Ge 2003); for a network, by the maximum over all permuted models."
    )
    if baselines:
        *others, last = (f"on {name}" for name in baselines)
        named = f"{', '.join(others)} and {last}" if others else last
        text += (
            f" Logistic regression {named} alone was evaluated on the same folds. A model is reported as better than "
            "one of these if the 95 % interval of the difference in balanced accuracy, from a bootstrap of "
            "participants within class, lies above 0."
        )
    return " ".join([text, *left_out])


def describe_power(
    permutations: Mapping[str, int], people: int, *, preparation: str, folds: int, version: str, sloppy: bool
) -> str:
    """How a study was planned, as paragraphs; permutations by model."""
    cells = "\n".join(f"- {cell}: {describe_part('classifiers', cell.partition('/')[0])}" for cell in permutations)
    counts = ", ".join(f"{count} for {cell}" for cell, count in permutations.items())
    parts = [
        f"{people} participants were divided into two groups at random, and split into {folds} folds.",
        *([f"Maps were computed in low-precision mode (--sloppy). {SLOPPY}"] if sloppy else []),
        preparation,
        "The linear models:",
        cells,
        "The critical balanced accuracy is the lowest that reaches p = 0.05 against the maximum over these models when "
        f"group labels are permuted within folds (number of permutations: {counts}; after Westfall and Young; Ge "
        "2003).",
        SIMULATIONS,
        f"The analysis was run with Pellucid {version}; processing steps were run with Nipype (Gorgolewski 2011).",
    ]
    return "\n\n".join(parts)


def describe_preparation(
    smoothing: Mapping[str, float],
    adjust: Mapping[str, Sequence[str]],
    forms: Mapping[str, str],
    keep: Sequence[str] | None,
) -> str:
    """How the maps were processed before training, by map (as in `describe_group`)."""
    scaled = {"mean": "divided by its mean over the brain", "zscore": "standardised to mean 0 and SD 1 over the brain"}
    scalings = [
        f"The {name} map of each participant was {scaled[form]}. " for name, form in forms.items() if form in scaled
    ]
    smoothed = [
        f"{name} was smoothed with a Gaussian kernel of {format_number(mm)} mm FWHM"
        for name, mm in smoothing.items()
        if mm
    ]
    covariates = [f"{', '.join(columns)} ({name})" for name, columns in adjust.items() if columns]
    text = "".join(scalings)
    text += ("; ".join(smoothed) or "No map was smoothed") + ". "
    if keep is not None:
        preserved = f"preserving effects of {', '.join(keep)}" if keep else "without preserving any covariate"
        text += (
            f"Sites were harmonised with ComBat (Johnson 2007; Fortin 2018), {preserved}; participants of a site with "
            "fewer than two training participants were left unchanged. "
        )
    if covariates:
        text += f"Covariates were regressed out of each voxel: {'; '.join(covariates)}. "
    return text + (
        "Each voxel was standardised to mean 0 and SD 1, with a lower limit on the SD. All of these parameters were "
        "fitted to the training participants of each fold only."
    )


def _registration_name(name: str) -> str:
    return {"affine": "affine", "nonlinear": "affine and nonlinear"}.get(name, name)


def describe_part(room: str, name: str) -> str:
    """The first paragraph of a part's docstring and the citations of its last one: by key where known, else in full."""
    # read, not imported: the process that writes reports must not load torch
    catalogue.check(room, (name,))
    first, *others = catalogue.docstring(room, name).strip().split("\n\n")
    rest = others[-1] if others else ""  # the last paragraph has the sources
    first, rest = " ".join(first.split()), " ".join(rest.split())
    already = cited_keys(first)
    sources = [key for key in cited_keys(rest) if key not in already]
    for piece in re.split(r";|\. (?=[A-Z])", rest):
        named = re.search(CITATION, piece)
        if named and not cited_keys(piece):
            sources.append(piece[named.start() :].partition(" (")[0].strip(" .)"))
    return f"{first.rstrip('.')} ({'; '.join(sources)})." if sources else first
