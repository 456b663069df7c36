"""The methods in words, and the references that they cite."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from bids_app import catalogue
from bids_app.report import methods_heatmaps
from bids_app.report.page import number

REFERENCES: dict[str, str] = tomllib.loads(Path(__file__).with_name("references.toml").read_text(encoding="utf-8"))

AUTHOR = r"\b([A-Z][\w'-]+)(?: et al\.?| (?:&|and) ([A-Z][\w'-]+))?"
YEAR = r"((?:19|20)\d\d)"
SLOPPY = "That shows that the software works; such maps are not for analysis."
MEASURES = (
    "Scores are of people, out of fold. Balanced accuracy is the mean of the classes' shares that were predicted "
    "rightly; its interval joins those of the shares (Wilson 1927) by variance estimates recovery (Zou & Donner "
    "2008). AUROC is over pairs of people whom the same model predicted; its interval is from a bootstrap of "
    "people within class, or, where all pairs are in order or none is, a score interval (Newcombe 2006). All "
    "intervals are of 95 %; people who share a training set are not independent, which the intervals leave out of "
    "account."
)
SIMULATED = (
    "In each simulated study class labels were exchanged among people as in a permutation, and the maps of one class "
    "were lowered in a place drawn at random from the first atlas (a sphere of 8 mm radius, one region, or 20 regions "
    "at once; smoothed as the maps are). Covariates were regressed out and voxels scaled anew, and the linear "
    "classifiers were trained on the result in the same folds. A difference was found if the balanced accuracy of one "
    "of them reached the critical one. Its size is Cohen's d of the place's mean, covariates regressed out; the "
    "size found in 80 % of the studies is read off an isotonic regression, and its 95 % interval is a bootstrap of "
    "studies."
)
ATLAS_CITATIONS = (
    ("aal", "Tzourio-Mazoyer 2002; Rolls 2015"),
    ("harvard", "Desikan 2006"),
    ("juelich", "Eickhoff 2005"),
)


def participant(
    *,
    maps: Sequence[str],
    registration: str | Mapping[str, str],
    resolution: float,
    space: str,
    mask_method: str,
    source: str,
    sloppy: bool,
    without: str = "",
) -> str:
    """How one person's maps were made, as paragraphs.

    `registration` is 'affine' or 'syn', for all maps or by map (and for what else there is, as BOLD); `resolution` in
    mm; `mask_method` says in words where the mask came from; `source` is 'pellucid' or 'fmriprep'; `without`: in
    words, what was taken out of maps. Raises UsageError for a map that does not exist.
    """
    kinds = registration if isinstance(registration, Mapping) else dict.fromkeys(maps, registration)
    parts = [_borrowed(kinds, space) if source == "fmriprep" else _own(kinds, space, mask_method)]
    if maps:
        parts.append(f"Maps were written at {number(resolution)} mm in {space}, neither smoothed nor scaled further:")
        parts.append("\n".join(f"- {name} ({_kind(kinds[name])}): {about('maps', name)}" for name in maps))
    if without:
        parts.append(without)
    if sloppy:
        parts.append(
            "This run was sloppy: bias correction, registration and segmentation stopped early and ran on coarse "
            f"grids. {SLOPPY}"
        )
    parts.append("Inputs and outputs follow BIDS (Gorgolewski 2016); the steps were run by Nipype (Gorgolewski 2011).")
    return "\n\n".join(parts)


def group(
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
    """How classifiers were trained, judged and explained, as paragraphs. Raises UsageError for an unknown part.

    `cells` are 'classifier/map+map'; `classes` counts people, the reference first; `split`: in a sentence, how folds
    were made; `smoothing` (FWHM in mm), `adjust` (covariates) and `forms` (raw, mean, zscore) are by map; `keep`: what
    ComBat preserved, None without ComBat; `permutations` (by cell), `baselines`, `left_out`: as `chance` has them;
    `checked`, `reference`, `voxelwise`: as `methods_heatmaps.paragraphs` has them; `ica`: `report.ica.words`.
    """
    people = ", ".join(f"{count} {name}" for name, count in classes.items())
    parts = [
        f"{sum(classes.values())} people ({people}) were used. {split} All images of one person lie on one side. Each "
        "model predicted only people whom it was not trained on.",
        *([f"The maps were made sloppily. {SLOPPY}"] if sloppy else []),
        *([ica] if ica else []),
        preparation(smoothing, adjust, forms or {}, keep),
        "The cells, every one of which is reported:",
        "\n".join(f"- {cell}: {about('classifiers', cell.partition('/')[0])}" for cell in cells),
        MEASURES,
        *([judged] if (judged := chance(permutations or {}, baselines, left_out)) else []),
    ]
    if explainers:
        parts += [
            "Heatmaps are of held-out people, or of each fold's model; each model's maps were divided by one number "
            "of that model (the SD over its training people) before the mean was taken over folds, and none was "
            "scaled per person:",
            "\n".join(f"- {name}: {about('explainers', name)}" for name in explainers),
        ]
    if atlases:
        named = [name + next((f" ({c})" for key, c in ATLAS_CITATIONS if key in name.lower()), "") for name in atlases]
        parts.append(
            f"Regions are those of {', '.join(named)}; voxels that an atlas does not name are counted as outside it."
        )
    if explainers:
        parts += methods_heatmaps.paragraphs(checked=checked, reference=reference, voxelwise=voxelwise)
    parts.append(
        f"Made with Pellucid {version}; pictures with nilearn (Abraham 2014); steps run by Nipype (Gorgolewski 2011)."
    )
    return "\n\n".join(parts)


def cited(text: str) -> list[str]:
    """The references whose author and year stand in a text ('Good 2001', 'Good et al. 2001'), alphabetically."""
    return [REFERENCES[key] for key in _keys(text)]


def _keys(text: str) -> list[str]:
    """The keys of what a text cites; where two share first author and year, the second author tells them apart."""
    found = set(re.findall(rf"{AUTHOR},? \(?{YEAR}\b", text))
    pairs = {key: re.findall(rf"{AUTHOR} {YEAR}", key)[0] for key in REFERENCES}
    known = set(pairs.values())
    return [
        key
        for key, (first, second, year) in pairs.items()
        if (first, second, year) in found
        or any(one == first and when == year and (one, other, when) not in known for one, other, when in found)
    ]


def _own(kinds: Mapping[str, str], space: str, mask_method: str) -> str:
    nonlinear = (
        ", then by symmetric diffeomorphic registration (SyN; Avants 2008) for the maps that call for it"
        if "syn" in kinds.values()
        else ""
    )
    return (
        f"The T1w image was corrected for slow changes of intensity within the brain mask (N4; Tustison 2010). Brain "
        f"mask: {mask_method}. The brain was registered to the {space} template (Fonov 2009) with ANTs (Tustison "
        f"2021), by an affine transform{nonlinear}. Grey matter, white matter and CSF were told apart in the person's "
        "own space by Atropos (Avants 2011), with nilearn's template priors (Abraham 2014) of grey and white matter "
        "brought there; the prior of the CSF is the mask less both. Volumes are sums of these probabilities; TIV is "
        "the sum of the three tissues."
    )


def _borrowed(kinds: Mapping[str, str], space: str) -> str:
    affine = (
        " The affine transform, for the maps that call for it, was found with ANTs (Tustison 2021)."
        if "affine" in kinds.values()
        else ""
    )
    return (
        f"The T1w image, its brain mask, its tissue probabilities and its nonlinear transform to {space} (Fonov 2009) "
        f"are those of fMRIPrep (Esteban 2019), taken as they are.{affine} Volumes are sums of the probabilities; TIV "
        "is the sum of the three tissues."
    )


def chance(permutations: Mapping[str, int], baselines: Sequence[str], left_out: Sequence[str]) -> str:
    """How chance was judged, "" where nothing was permuted.

    permutations: by cell; baselines: their names; left_out: sentences about those that were left out.
    """
    ran = "; ".join(f"{cell} {count}" for cell, count in permutations.items() if count)
    if not ran:
        return ""
    text = (
        f"Chance was judged by permutation ({ran}): labels were exchanged among the people whom one fold of the first "
        "repeat held out, and among those whom none did, which leaves the classes of each fold and all that is fitted "
        "without labels as they were. p is the share of permutations whose balanced accuracy reached that of the true "
        "labels, these counted in (Phipson & Smyth 2010); over linear cells it is against the maximum over them under "
        "the same labellings, step by step (after Westfall and Young; Ge 2003), and a network's is against the maximum "
        "over all permuted cells."
    )
    if baselines:
        *others, last = (f"on {name}" for name in baselines)
        named = f"{', '.join(others)} and {last}" if others else last
        text += (
            f" Logistic regression {named} alone was judged on the same folds; a cell is called better than one of "
            "these if the 95 % interval of the difference in balanced accuracy, by a bootstrap of people within class, "
            "lies above 0."
        )
    return " ".join([text, *left_out])


def power(
    permutations: Mapping[str, int], people: int, *, preparation: str, folds: int, version: str, sloppy: bool
) -> str:
    """How a study was planned, as paragraphs; permutations by cell."""
    cells = "\n".join(f"- {cell}: {about('classifiers', cell.partition('/')[0])}" for cell in permutations)
    ran = "; ".join(f"{cell} {count}" for cell, count in permutations.items())
    parts = [
        f"{people} people were divided into two groups at random, and split into {folds} folds.",
        *([f"The maps were made sloppily. {SLOPPY}"] if sloppy else []),
        preparation,
        "The linear classifiers:",
        cells,
        f"The critical balanced accuracy is the least that reaches p = 0.05 against the maximum over them when groups "
        f"are exchanged within folds ({ran} permutations; after Westfall and Young; Ge 2003).",
        SIMULATED,
        f"Made with Pellucid {version}; steps run by Nipype (Gorgolewski 2011).",
    ]
    return "\n\n".join(parts)


def preparation(
    smoothing: Mapping[str, float],
    adjust: Mapping[str, Sequence[str]],
    forms: Mapping[str, str],
    keep: Sequence[str] | None,
) -> str:
    """What was done to maps before training, by map (as `group` has it)."""
    scaled = {"mean": "divided by its mean over the brain", "zscore": "brought to mean 0 and SD 1 over the brain"}
    formed = [f"each person's {name} was {scaled[form]}" for name, form in forms.items() if form in scaled]
    smoothed = [f"{name} was smoothed with a Gaussian of {number(mm)} mm FWHM" for name, mm in smoothing.items() if mm]
    adjusted = [f"{', '.join(columns)} ({name})" for name, columns in adjust.items() if columns]
    text = "".join(f"{one[0].upper()}{one[1:]}. " for one in formed)
    text += ("; ".join(smoothed) or "No map was smoothed") + ". "
    if keep is not None:
        kept = f"what {', '.join(keep)} explain was preserved" if keep else "no covariate was preserved"
        text += (
            f"Sites were harmonised by ComBat (Johnson 2007; Fortin 2018); {kept}, and people of a site without two "
            "training people were left as they were. "
        )
    if adjusted:
        text += f"What the covariates explain linearly of each voxel was taken away: {'; '.join(adjusted)}. "
    return text + (
        "Each voxel was scaled to mean 0 and SD 1, small SDs raised to a floor. All of this was fitted on the "
        "training people of a fold alone."
    )


def _kind(name: str) -> str:
    return {"affine": "affine", "syn": "affine and SyN"}.get(name, name)


def about(room: str, name: str) -> str:
    """The first paragraph of a part's docstring with what the last one cites: by key where known, else whole."""
    # read, not imported: the process that writes reports must not load torch
    catalogue.check(room, (name,))
    first, *others = catalogue.docstring(room, name).strip().split("\n\n")
    rest = others[-1] if others else ""  # the last paragraph has the sources
    first, rest = " ".join(first.split()), " ".join(rest.split())
    already = _keys(first)
    sources = [key for key in _keys(rest) if key not in already]
    for piece in re.split(r";|\. (?=[A-Z])", rest):
        named = re.search(rf"{AUTHOR},? {YEAR}", piece)
        if named and not _keys(piece):
            sources.append(piece[named.start() :].partition(" (")[0].strip(" .)"))
    return f"{first.rstrip('.')} ({'; '.join(sources)})." if sources else first
