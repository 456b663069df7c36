"""Options of the group level about participants: labels, sites, covariates and how their maps are prepared."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bids_app import values
from bids_app.options.declaration import declare

cohort = partial(declare, topic="group: participants")


@dataclass(frozen=True)
class Cohort:
    """Which participants are learnt from, and what is done to their maps. None means what each map asks for."""

    analysis: str | None = cohort(
        None, "name of the analysis and of its folder (the label column unless given)", metavar="NAME"
    )
    label: str | None = cohort(None, "column of `participants.tsv` with the diagnosis", metavar="COLUMN", common=True)
    classes: dict[str, tuple[str, ...]] = cohort(
        {},
        "classes and their values of the label; the first is the reference",
        "`control=HC patient=MA,MO`; a bare value is a class of that name. Unless given, the reference is the class "
        "whose name reads like controls (`HC`, `control`, `CN` and others), else the first of the alphabet",
        metavar="NAME=VALUE,VALUE",
        parse=values.classes,
        common=True,
    )
    max_per_class: int | None = cohort(
        None,
        "maximum number of participants per class, drawn at random, for testing",
        "The others are listed in `samples.tsv`",
        metavar="N",
        minimum=2,
        former=("people_per_class",),
    )
    label_from_id: str | None = cohort(
        None,
        "regular expression that finds the diagnosis in the participant label",
        "It is applied to the label without `sub-`. The class is what the group `(?P<label>...)`, the only group, or "
        "the whole expression matches; or the name of the one group that matches, as in "
        r"`^(?P<patient>P\d+)$|^(?P<control>C\d+)$`. `participants.tsv` may then be missing",
        metavar="REGEX",
    )
    phenotype: Path | None = cohort(
        None,
        "TSV with `participant_id` and the diagnosis",
        "With a column `session_id` values may differ between sessions. Its columns are added to those of "
        "`participants.tsv`; `sub-*/sub-*_sessions.tsv` are always read. With `--maps-from`, `{site}` in the path is "
        "the name of the site, or the file has `SITE:sub-01`",
        metavar="FILE",
    )
    groups: str | None = cohort(
        None,
        "column of groups (families, say) that are never divided between training and test set",
        metavar="COLUMN",
        former=("keep_together",),
    )
    sessions: str | None = cohort(
        None,
        "which sessions of a participant to use",
        "Several sessions of a participant are an error unless it is given",
        metavar="first|all|mean",
        choices=("first", "all", "mean"),
    )
    site: str | None = cohort(
        None,
        "column of the site or scanner",
        "Unless given, a column of such a name, or else the scanner named in the sidecars. Where it is given, labels "
        "are permuted within sites",
        metavar="COLUMN",
        common=True,
    )
    maps_from: dict[str, Path] = cohort(
        {},
        "pool the maps of several sites: the OUT_DIR of the participant level of each",
        "`BIDS_DIR/SITE/participants.tsv` is its table, or else that in its OUT_DIR. Participants are called "
        "`SITE:sub-01`, and labels are permuted within sites; see [pooling sites](sites.md)",
        metavar="SITE=OUT_DIR",
        parse=values.sites,
    )
    covariates: tuple[str, ...] | None = cohort(
        None,
        "covariates to regress out (`tiv` for `gm` and `wm`); `none` for none",
        (
            "The regression is fitted on training participants. Categorical columns (`sex`, and `site` even if its "
            "values are numbers) are dummy-coded; participants without a value are excluded and listed"
        ),
        metavar="COLUMN",
        former=("adjust_for",),
        common=True,
    )
    combat_covariates: tuple[str, ...] = cohort(
        (),
        "covariates whose effects ComBat preserves",
        "The label cannot be one",
        metavar="COLUMN",
        former=("combat_keep",),
    )
    harmonize: str | None = cohort(
        None,
        "remove site effects",
        "ComBat removes differences of location and scale between sites in each voxel; it is fitted on the training "
        "participants of each fold. Participants of a site without training participants stay unchanged, and the "
        "report names the site",
        metavar="combat",
        choices=("combat",),
        common=True,
    )
    map_scaling: str | None = cohort(
        None,
        "scaling of each participant's map by its own values; unless given, each map has its own",
        "`mean` divides by the mean, `zscore` makes z-scores. [Defaults](parts.md#maps)",
        metavar="raw|mean|zscore",
        choices=("raw", "mean", "zscore"),
        former=("map_form",),
    )
    no_crop: bool = cohort(
        False,
        "do not crop maps to the box around the brain before they enter a network",
        "Outside the mask they are zero. A published network then has all its weights, at the cost of memory and time",
        former=("whole_grid",),
    )
    smoothing: float | None = cohort(
        None,
        "full width at half maximum of the smoothing kernel; unless given, each map has its own",
        metavar="MM",
        minimum=0,
        maximum=40,
    )
    ica_components: int = cohort(
        20, "for `ica`: components of the ICA that is fitted in each fold ({default})", metavar="N", minimum=2
    )
