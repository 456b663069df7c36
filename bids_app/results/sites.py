"""sites.tsv: one row per site of --maps-from."""

import pandas as pd

from bids_app.bids.names import split_site
from bids_app.dataset.samples import SIDECAR_SCANNER
from bids_app.planning.group import GroupPlan
from bids_app.settings import Settings


def tabulate_sites(analysis: GroupPlan, settings: Settings) -> pd.DataFrame | None:
    """The participants, scanners and settings of the maps of each site; None without --maps-from.

    Columns: site, participants and excluded (numbers), n_<class>, age_mean and age_sd (years), sex, mean_fd (mm),
    scanner, source, version, map_parameters. All but `excluded` are of the participants included.
    """
    if not settings.group.maps_from:
        return None
    samples = analysis.samples
    places = samples["participant_id"].map(lambda participant: split_site(participant)[0])
    rows = []
    for site in settings.group.maps_from:
        everybody = samples[places == site]
        included = everybody[everybody["used"]].drop_duplicates("participant_id")
        ages = pd.to_numeric(included["age"], errors="coerce")
        rows.append(
            {
                "site": site,
                "participants": len(included),
                "excluded": everybody["participant_id"].nunique() - len(included),
                **{f"n_{name}": int((included["class"] == name).sum()) for name in analysis.classes},
                "age_mean": ages.mean(),
                "age_sd": ages.std(),
                "sex": _count(included["sex"]),
                "mean_fd": pd.to_numeric(included["mean_fd"], errors="coerce").mean(),
                "scanner": _count(included[SIDECAR_SCANNER]),
                "source": _count(included["source"]),
                # the plan has refused sites that differ in these
                "version": _versions(analysis),
                "map_parameters": _describe_maps(analysis),
            }
        )
    return pd.DataFrame(rows)


def _count(values: "pd.Series[str]") -> str:
    """How often each value occurs: "F 10, M 12"."""
    counts = values.astype("object").where(values.notna(), "n/a").astype(str).value_counts()
    return ", ".join(
        f"{value} {count}" for value, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )


def _versions(analysis: GroupPlan) -> str:
    """The versions of Pellucid that computed the maps."""
    versions = {str(parameters.get("Version", "n/a")) for parameters in analysis.map_parameters.values()}
    return ", ".join(sorted(versions))


def _describe_maps(analysis: GroupPlan) -> str:
    """The parameters of each map: "gm: Registration nonlinear, ResolutionMm 2"."""
    texts = []
    for name, parameters in analysis.map_parameters.items():
        shown = {key: value for key, value in parameters.items() if key not in ("Map", "Version", "TaskName")}
        texts.append(f"{name}: " + ", ".join(f"{key} {value}" for key, value in shown.items()))
    return "; ".join(texts)
