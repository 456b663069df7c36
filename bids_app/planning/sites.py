"""The sites of --maps-from SITE=OUT_DIR as one data set, whose participants have the labels SITE:01.

Without --maps-from, the same functions return what the one data set contains.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from bids_app.bids import inputs, outputs
from bids_app.bids.labels import KEYS
from bids_app.bids.matching import list_some
from bids_app.bids.names import BidsFile, split_site
from bids_app.bids.participants import WRITTEN
from bids_app.errors import CannotWriteError, DataError, MissingInputError, NotBidsError, PellucidError, UsageError
from bids_app.planning import available_maps, cohort, site_settings, site_tables
from bids_app.planning.available_maps import MapFiles
from bids_app.settings import Settings

log = logging.getLogger("pellucid")
OPTION = "--maps-from"
RESERVED = ("group", "logs", "figures")  # folders of OUT_DIR
PLACEHOLDER = "{site}"  # in --phenotype


@dataclass(frozen=True)
class Site:
    """A site: its name, the OUT_DIR of its participant level, and the folder of its tables."""

    name: str
    maps: Path
    tables: Path


def open_dataset(settings: Settings) -> inputs.Dataset:
    """Open BIDS_DIR, or with --maps-from the sites in it, and check that OUT_DIR can be written.

    Raises what `inputs.open_dataset` and `outputs.check_output` raise; UsageError for names or folders of sites that
    cannot be used, MissingInputError for a site without folder or table.
    """
    if not settings.group.maps_from:
        dataset = inputs.open_dataset(settings.bids_dir, validate=not settings.select.skip_bids_validation)
        outputs.check_output(settings.output_dir, settings.bids_dir, settings.work_dir)
        return dataset
    if not settings.bids_dir.is_dir():
        raise NotBidsError(f"{settings.bids_dir} does not exist: specify the folder that has a folder for each site.")
    _check_names(settings)
    _check_folders(settings)
    sites = list_sites(settings)
    outputs.check_output(settings.output_dir, settings.bids_dir, settings.work_dir)
    labels = [f"{site.name}:{label}" for site in sites for label in _list_participants(site)]
    return inputs.Dataset(settings.bids_dir, settings.bids_dir.resolve().name, tuple(sorted(labels)))


def list_sites(settings: Settings) -> list[Site]:
    """The sites of --maps-from. Raises MissingInputError where a site has no participants.tsv and needs one."""
    sites = []
    for name, maps in settings.group.maps_from.items():
        places = [settings.bids_dir / name, maps]
        tables = next((place for place in places if (place / "participants.tsv").exists()), None)
        if tables is None:
            if settings.group.label_from_id is None and settings.group.phenotype is None:
                raise MissingInputError(
                    f"{OPTION}: site {name} has no participants.tsv: neither {places[0]} nor {places[1]} contains one; "
                    "add it to one of these folders"
                )
            tables = next(place for place in places if place.is_dir())
        sites.append(Site(name, maps, tables))
    return sites


def output_folder(participant: str, settings: Settings) -> tuple[Path, str]:
    """The folder in which the participant level wrote a participant's files, and the participant's label there."""
    site, label = split_site(participant)
    return (settings.output_dir if site is None else settings.group.maps_from[site]), label


def map_names(settings: Settings) -> tuple[str, ...]:
    """The names of the maps of the run (`available_maps.map_names`). Raises DataError where sites have others."""
    if not settings.group.maps_from:
        return available_maps.map_names(settings)
    by_site = {site: available_maps.map_names(_of_site(settings, site)) for site in settings.group.maps_from}
    first, names = next(iter(by_site.items()))
    for site, others in by_site.items():
        if others != names:
            raise DataError(
                f"the maps of the sites differ: {first} has {', '.join(names)}, and {site} has {', '.join(others)}; "
                "run the participant level of both with the same --maps and --network-templates"
            )
    return names


def find_maps(settings: Settings, names: tuple[str, ...], people: set[str] | None) -> MapFiles:
    """Files by participant and session, then by map (`available_maps.find_maps`).

    Raises MissingInputError for a site without one of the maps, DataError where their settings differ between sites.
    """
    if not settings.group.maps_from:
        return available_maps.find_maps(settings, names, people)
    by_site: dict[str, MapFiles] = {}
    for site, folder in settings.group.maps_from.items():
        labels = None if people is None else _labels_at(people, site)
        with _naming(site):
            files = available_maps.find_maps(_of_site(settings, site), names, labels)
        lacking = [name for name in names if not any(name in maps for maps in files.values())]
        if lacking and labels != set():
            command = site_settings.participant_command(site, lacking, settings)
            space = settings.participant.output_space
            raise MissingInputError(
                f"site {site}: {folder} has no {', '.join(lacking)} map in space {space}; compute it with\n  {command}"
            )
        by_site[site] = {(f"{site}:{label}", session): maps for (label, session), maps in files.items()}
    site_settings.check_settings(by_site, names, settings)
    _warn_of_tasks(by_site)
    return {key: maps for files in by_site.values() for key, maps in files.items()}


def participant_table(dataset: inputs.Dataset, settings: Settings, *, needed: tuple[str, ...] = ()) -> pd.DataFrame:
    """The table of participants, indexed by participant and session (`cohort.participant_table`).

    With --maps-from it has the site's name as `site`, and the values of such a column as `site_as_written`. needed:
    columns that every site must have, in addition to those that options name.
    """
    if not settings.group.maps_from:
        return cohort.participant_table(dataset, settings)
    tables, selected = {}, set(inputs.select(dataset, settings.select.participant_label))
    for site in list_sites(settings):
        labels = _labels_at(selected, site.name)
        if not labels:
            continue
        everybody = tuple(sorted(_labels_at(set(dataset.participants), site.name)))
        joint = PLACEHOLDER not in str(settings.group.phenotype)
        local = inputs.Dataset(site.tables, site.name, everybody, site.name if joint else None)
        chosen = tuple(sorted(labels)) if settings.select.participant_label else ()
        with _naming(site.name):
            table = cohort.participant_table(local, _of_site(settings, site.name, participants=chosen))
        tables[site.name] = table.rename(columns={"site": f"site{WRITTEN}"})
    site_tables.check_tables(tables, settings, needed)
    parts = []
    for name, table in tables.items():
        index = pd.MultiIndex.from_tuples([(f"{name}:{label}", session) for label, session in table.index], names=KEYS)
        parts.append(table.set_axis(index).assign(site=pd.Series(name, index, dtype="string")))
    return pd.concat(parts)


def describe_dataset(settings: Settings) -> str:
    """A sentence that names the data set."""
    if settings.group.maps_from:
        return f"Data sets of {len(settings.group.maps_from)} sites in {settings.bids_dir.resolve().name}, pooled."
    return f"BIDS data set {inputs.open_dataset(settings.bids_dir, validate=False).name}."


def describe_sites(used: pd.DataFrame) -> str:
    """A sentence on the sites of participants of a pooled analysis; empty for one data set."""
    people = used.drop_duplicates("participant_id")["participant_id"]
    counts = people.map(lambda participant: split_site(participant)[0]).value_counts(sort=False)
    if counts.empty:
        return ""
    named = ", ".join(f"{count} from {site}" for site, count in sorted(counts.items()))
    return f"They were from {len(counts)} sites, which computed their maps separately with the same settings: {named}."


def _of_site(settings: Settings, site: str, *, participants: tuple[str, ...] = ()) -> Settings:
    """The settings of a run on one site alone."""
    phenotype = settings.group.phenotype
    if phenotype is not None:
        phenotype = Path(str(phenotype).replace(PLACEHOLDER, site))
    return replace(
        settings,
        output_dir=settings.group.maps_from[site],
        select=replace(settings.select, participant_label=participants),
        group=replace(settings.group, phenotype=phenotype),
    )


def _list_participants(site: Site) -> list[str]:
    """The participants with a folder in a site's OUT_DIR or beside its tables."""
    folders = {path.name for place in {site.maps, site.tables} for path in place.glob("sub-*") if path.is_dir()}
    return sorted(folder.removeprefix("sub-") for folder in folders if re.fullmatch(r"sub-[0-9A-Za-z+]+", folder))


def _labels_at(participants: set[str], site: str) -> set[str]:
    """The labels, without the site, of those participants who are from it."""
    return {label for place, label in map(split_site, participants) if place == site}


@contextmanager
def _naming(site: str) -> Iterator[None]:
    """Begin the message of an error with the site."""
    try:
        yield
    except PellucidError as problem:
        raise type(problem)(f"site {site}: {problem}") from problem


def _check_names(settings: Settings) -> None:
    if settings.group.site is not None:
        raise UsageError(
            f"--site cannot be combined with {OPTION}: the sites are those named there, which --leave-site-out holds "
            "out one by one; remove --site"
        )
    known: dict[str, str] = {}
    for name in settings.group.maps_from:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise UsageError(f"{OPTION}: the name of site {name!r} may have letters, digits, - and _ only")
        if name.startswith("sub-") or name.lower() in RESERVED:
            raise UsageError(f"{OPTION}: a site cannot be called {name}, which is a folder of OUT_DIR; rename it")
        if (other := known.setdefault(name.lower(), name)) != name:
            raise UsageError(f"{OPTION}: the sites {other} and {name} differ in case only; rename one")


def _check_folders(settings: Settings) -> None:
    """Raise an error for a site's OUT_DIR that does not exist, is another's too, or would be written to."""
    known: dict[Path, str] = {}
    for name, folder in settings.group.maps_from.items():
        if not folder.is_dir():
            raise MissingInputError(f"{OPTION}: site {name} has no folder {folder}; specify its OUT_DIR")
        place = folder.resolve()
        if (other := known.setdefault(place, name)) != name:
            raise UsageError(f"{OPTION}: {other} and {name} are the same folder, {folder}; specify each site once")
        for written in (settings.output_dir, settings.work_dir, settings.output_dir / name):
            if written.resolve().is_relative_to(place):
                raise CannotWriteError(
                    f"{written} is in the OUT_DIR of site {name}, which is only read: choose another OUT_DIR"
                )


def _warn_of_tasks(by_site: dict[str, MapFiles]) -> None:
    """Log tasks whose names differ between sites."""
    tasks = {}
    for site, files in by_site.items():
        names = (path.name for maps in files.values() for paths in maps.values() for path in paths)
        labels = {file.entities.get("task") for file in map(BidsFile.parse, names) if file is not None} - {None}
        tasks[site] = " and ".join(sorted(map(str, labels)))
    if len(set(tasks.values())) > 1:
        named = list_some([f"{task or 'none'} at {site}" for site, task in tasks.items()])
        log.warning("tasks have different names at the sites and are pooled: %s", named)
