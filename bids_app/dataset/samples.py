"""Which participants are included or excluded, and why: one row per participant, or per session."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bids_app.bids import exclusions
from bids_app.bids.exclusions import Exclusions
from bids_app.dataset import scans
from bids_app.errors import DataError, UsageError

Files = Mapping[str, tuple[Path, ...]]
FilesBySession = Mapping[tuple[str, str | None], Files]
Values = Mapping[str, Mapping[tuple[str, str], Any]]
SCANNER = ("Manufacturer", "ManufacturersModelName", "ManufacturerModelName", "MagneticFieldStrength")
CLASS, PERSON = "class of the analysis", ""
SIDECAR_SCANNER = "scanner_of_sidecar"  # `scanner` may be a column of participants.tsv
ONE_SOURCE = (
    "the source of the excluded regions could be correlated with the diagnosis: use one source for all "
    "participants, and run the participant level again with -d freesurfer=SUBJECTS_DIR that contains all of "
    "them, or with -d freesurfer=none (an atlas)"
)
COVARIATES = {"age": "age", "sex": "sex", "site": "site"}


def collect_samples(
    frame: pd.DataFrame,
    classes: "pd.Series[Any]",
    images: FilesBySession,
    *,
    maps: tuple[str, ...],
    label: str,
    sessions: str | None = None,
    covariates: Mapping[str, str] | None = None,
    excluded: Exclusions | None = None,
    needed: tuple[str, ...] = (),
    max_mean_fd: float | None = None,
    min_minutes: float | None = None,
) -> pd.DataFrame:
    """Return all participants in participants.tsv or with images, with the reason for each exclusion.

    frame: variables indexed by participant without "sub-", or by participant and session ("" for the participant:
    bids/labels.py); classes: class name or NA, same index; images: map files by (participant, session) and map, one per
    run; label: the column of the classes; covariates: output column -> column of frame (default age, sex, site);
    excluded: (participant, session or None) -> reason; needed: columns that every included sample has; max_mean_fd
    (mm), min_minutes: limits of motion and of remaining BOLD. Columns: participant_id, session_id, class, used, reason,
    the covariates, tiv (mL), mean_fd (mm), minutes (of BOLD), source, scanner_of_sidecar, scan (file names), and for
    each map a tuple of files, several when runs or sessions are averaged. If no site is known, the scanner in the
    sidecars takes its place. Raises UsageError for several sessions without `sessions` (first, all, mean), DataError
    when maps of several participants were made with different parameters, or sessions of different classes share one
    anatomy, MissingInputError for a map without sidecar.
    """
    named = COVARIATES if covariates is None else covariates
    out = excluded or {}
    known = _index_values(frame.assign(**{CLASS: classes}))
    rows: list[dict[str, Any]] = []
    differences: list[str] = []
    for person, visits in sorted(_group_by_participant(known, images).items()):
        left = {session: files for session, files in visits.items() if not exclusions.reason(out, person, session)}
        classed = {name: files for name, files in left.items() if not pd.isna(_value_of(known, person, name, CLASS))}
        classes_by_session = {name: _value_of(known, person, name, CLASS) for name in classed}
        differences += scans.describe_differences(person, classed, classes_by_session)
        reason = _exclusion_reason(person, known, label, out, list(left) or [None])
        reason = reason or ("" if left or not visits else _join_exclusions(out, person))
        for part in _session_rows(classed or left or visits, maps, reason, sessions):
            covariate_values = {new: _value_of(known, person, part["session_id"], old) for new, old in named.items()}
            base = {
                "participant_id": person,
                "class": _value_of(known, person, part["session_id"], CLASS),
                "used": False,
            }
            rows.append(base | {"reason": reason} | covariate_values | part)
        if sessions == "mean" and len(set(classes_by_session.values())) > 1:
            rows[-1] |= {"used": False, "reason": "class differs between sessions: use --sessions first or all"}
    scans.refuse_differences(differences)
    _check_sessions(rows, sessions)
    table = _drop_unknown(pd.DataFrame([_add_sidecars(row, maps) for row in rows]), needed)
    table = _drop_moved(table, max_mean_fd, min_minutes)
    if "site" in table and table.loc[table["used"], "site"].isna().all():
        table["site"] = table[SIDECAR_SCANNER]
    _check_parameters(table[table["used"]], maps)
    scans.warn_of_contrast(table[table["used"]])
    first = ["participant_id", "session_id", "class", "used", "reason"]
    return table[[*first, *named, "tiv", "mean_fd", "minutes", "source", SIDECAR_SCANNER, "scan", *maps]]


def limit_per_class(table: pd.DataFrame, *, most: int | None, seed: int) -> pd.DataFrame:
    """The table of `collect_samples` with at most `most` participants of each class, sampled at random; None: all.

    A participant is included or excluded with all sessions.
    """
    if most is None:
        return table
    participants = table[table["used"]].drop_duplicates("participant_id").sort_values("participant_id")
    sampled = participants.sample(frac=1, random_state=seed).groupby("class")["participant_id"].head(most)
    over = table["used"] & ~table["participant_id"].isin(sampled)
    reason = f"not sampled: --max-per-class {most}"
    return table.assign(used=table["used"] & ~over, reason=table["reason"].mask(over, reason))


def _index_values(frame: pd.DataFrame) -> Values:
    """The values of a frame by column, participant and session; PERSON stands for all sessions of a participant."""
    keys = frame.index.to_list() if frame.index.nlevels == 2 else [(participant, PERSON) for participant in frame.index]
    return {str(column): dict(zip(keys, values, strict=True)) for column, values in frame.items()}


def _group_by_participant(known: Values, images: FilesBySession) -> dict[str, dict[str | None, Files]]:
    """The images of each participant by session; none for those without any."""
    by_participant: dict[str, dict[str | None, Files]] = {participant: {} for participant, _ in known[CLASS]}
    for (participant, session), files in images.items():
        by_participant.setdefault(participant, {})[session] = files
    return by_participant


def _value_of(known: Values, person: str, session: Any, column: str) -> Any:
    """Return a session's value of a column, or the participant's where the session has no row."""
    values = known.get(column, {})
    session_key = (person, PERSON if pd.isna(session) else session)
    return values.get(session_key if session_key in values else (person, PERSON), pd.NA)


def _exclusion_reason(
    person: str, known: Values, label: str, excluded: Exclusions, sessions: Sequence[str | None]
) -> str:
    """Return why a participant is excluded whatever their images; empty if included."""
    if (person, PERSON) not in known[CLASS]:
        return "not in participants.tsv"
    if (person, None) in excluded:
        return f"excluded: {excluded[person, None]}"
    if not all(pd.isna(_value_of(known, person, name, CLASS)) for name in sessions):
        return ""
    value = _value_of(known, person, sessions[0], label)
    return f"{label} is n/a" if pd.isna(value) else f"{label} value {value} is not in --classes"


def _join_exclusions(excluded: Exclusions, person: str) -> str:
    """Return the reasons for a participant all of whose sessions are excluded."""
    reasons = [
        f"ses-{session}: {why}" for (participant, session), why in sorted(excluded.items()) if participant == person
    ]
    return f"excluded: {', '.join(reasons)}"


def _drop_unknown(table: pd.DataFrame, needed: tuple[str, ...]) -> pd.DataFrame:
    """Exclude samples with n/a in a needed column."""
    for column in needed:
        lacking = table["used"] & table[column].isna()
        table.loc[lacking, "reason"] = f"covariate {column} is n/a"
        table.loc[lacking, "used"] = False
    return table


def _drop_moved(table: pd.DataFrame, max_mean_fd: float | None, min_minutes: float | None) -> pd.DataFrame:
    """Exclude samples with more motion or less remaining BOLD than the limits; samples without BOLD are unaffected."""
    limits = [("mean_fd", "mean FD", "mm", max_mean_fd, 1), ("minutes", "BOLD left", "minutes", min_minutes, -1)]
    for column, words, unit, limit, sign in limits:
        if limit is None:
            continue
        beyond = table["used"] & (sign * (table[column] - limit) > 0)
        side = "over" if sign > 0 else "under"
        table.loc[beyond, "reason"] = [
            f"{words} {value:.2f} {unit} is {side} {limit:g}" for value in table.loc[beyond, column]
        ]
        table.loc[beyond, "used"] = False
    return table


def _session_rows(
    visits: Mapping[str | None, Files], maps: tuple[str, ...], reason: str, sessions: str | None
) -> list[dict[str, Any]]:
    """Return the rows of one participant: sessions with every map are included as `sessions` requires."""
    complete = {name: files for name, files in visits.items() if all(map_name in files for map_name in maps)}
    nothing: dict[str, Any] = {"session_id": pd.NA} | dict.fromkeys(maps, ())
    if reason or not complete:
        names = [name for name in visits if name is not None]
        lacking = [map_name for map_name in maps if not any(map_name in files for files in visits.values())] or list(
            maps
        )
        why = reason or f"no image for {', '.join(lacking)}" + (
            " in one session" if len(visits) > 1 and len(maps) > 1 else ""
        )
        return [nothing | {"reason": why, "session_id": names[0] if len(names) == 1 else pd.NA}]
    order = sorted(complete, key=_natural_order)
    if sessions == "mean":
        files = {
            map_name: scans.drop_repeats([path for name in order for path in complete[name][map_name]])
            for map_name in maps
        }
        return [nothing | files | {"used": True, "session_id": (order[0] or pd.NA) if len(order) == 1 else pd.NA}]
    selected = order[:1] if sessions == "first" else order
    repeats = scans.find_repeats({name: complete[name] for name in selected}, maps)
    return [
        nothing
        | {"session_id": name or pd.NA}
        | (
            {"reason": f"the same anatomy as ses-{repeats[name]}"}
            if name in repeats
            else {"used": True} | {map_name: complete[name][map_name] for map_name in maps}
        )
        for name in selected
    ]


def _natural_order(name: str | None) -> list[tuple[int, str]]:
    """Return a sort key for natural order: 2 before 10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.findall(r"\d+|\D+", name or "")]


def _check_sessions(rows: list[dict[str, Any]], sessions: str | None) -> None:
    """Raise UsageError when participants have several sessions and --sessions is not given."""
    if sessions not in (None, "first", "all", "mean"):
        raise UsageError(f"--sessions {sessions}: choose from first, all, mean")
    count = Counter(row["participant_id"] for row in rows if row["used"])
    several = [participant for participant, number in count.items() if number > 1]
    if sessions is None and several:
        listed = []
        for participant in several[:3]:
            names = [str(row["session_id"]) for row in rows if row["participant_id"] == participant]
            listed.append(f"{participant} ({', '.join(names)})")
        more = f" and {len(several) - 3} more participants" if len(several) > 3 else ""
        raise UsageError(
            f"several sessions: {'; '.join(listed)}{more}; choose with --sessions: first, all (one sample each, "
            "on the same side of a split) or mean"
        )


def _add_sidecars(row: dict[str, Any], maps: tuple[str, ...]) -> dict[str, Any]:
    """Add what the maps' sidecars contain: brain size in mL (mean over sessions), motion, source, parameters."""
    sidecars = {map_name: [scans.read_sidecar(path) for path in row[map_name]] for map_name in maps}
    parts = [part for of_map in sidecars.values() for part in of_map]
    for of_map in sidecars.values():
        scans.check_contrast(row["participant_id"], of_map)
    sizes = [
        float(part["TotalIntracranialVolume"]) for part in parts if part.get("TotalIntracranialVolume") is not None
    ]
    sources = sorted({str(part["PreprocessingSource"]) for part in parts if part.get("PreprocessingSource")})
    parameters = {
        map_name: [part.get("MapParameters") or {} for part in of_map] for map_name, of_map in sidecars.items()
    }
    size = sum(sizes) / len(sizes) if sizes else float("nan")
    size_and_motion = {"tiv": size, **_summarise_motion(sidecars)}
    origin = {"source": " + ".join(sources) or pd.NA, SIDECAR_SCANNER: _scanner_name(parts)}
    origin["scan"] = " + ".join(scans.name_scans(parts)) or pd.NA
    return row | size_and_motion | origin | {"parameters": parameters}


def _scanner_name(parts: list[dict[str, Any]]) -> Any:
    """Return the scanner's name according to the sidecars; NA without one."""
    named = [
        " ".join(_to_word(part["Scanner"][field]) for field in SCANNER if part["Scanner"].get(field))
        for part in parts
        if part.get("Scanner")
    ]
    return " + ".join(sorted({name for name in named if name})) or pd.NA


def _to_word(value: Any) -> str:
    """A value as in a scanner's name: 3 and 3.0 tesla are the same."""
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _summarise_motion(sidecars: Mapping[str, list[dict[str, Any]]]) -> dict[str, float]:
    """Return the mean FD (mm) over runs, and the total minutes of BOLD left; NaN without BOLD."""
    runs = next(
        (parts for parts in sidecars.values() if any(part.get("MinutesLeft") is not None for part in parts)), []
    )
    moved = [float(part["MeanFramewiseDisplacement"]) for part in runs if part.get("MeanFramewiseDisplacement")]
    minutes = [float(part["MinutesLeft"]) for part in runs if part.get("MinutesLeft") is not None]
    mean = sum(moved) / len(moved) if moved else float("nan")
    return {"mean_fd": mean, "minutes": sum(minutes) if minutes else float("nan")}


def _check_parameters(used: pd.DataFrame, maps: tuple[str, ...]) -> None:
    """Raise DataError, naming a participant of the majority and one who differs, if a map has several parameters."""
    for map_name in maps:
        pairs = zip(used["participant_id"], used["parameters"], strict=True)
        sidecars = [(participant, part) for participant, parameters in pairs for part in parameters[map_name]]
        for key in sorted({key for _, part in sidecars for key in part}):
            values = [(participant, json.dumps(part.get(key), sort_keys=True)) for participant, part in sidecars]
            usual = Counter(value for _, value in values).most_common(1)[0][0]
            others = [(participant, value) for participant, value in values if value != usual]
            if others:
                same = next(participant for participant, value in values if value == usual)
                odd, other = others[0]
                todo = f"run the participant level again with {key} {usual} for {odd}"
                raise DataError(
                    f"the {map_name} maps were computed with different parameters: {key} is {usual} for {same} "
                    f"and {other} for {odd} ({len(others)} of {len(values)} maps differ); "
                    f"{ONE_SOURCE if key == 'WithoutRegionsFrom' else todo}"
                )
