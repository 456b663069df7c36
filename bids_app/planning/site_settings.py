"""Whether sites computed their maps alike, and the command that makes them so."""

import json
import shlex
from collections import Counter
from typing import Any

from bids_app.bids import outputs
from bids_app.dataset import scans
from bids_app.dataset.samples import ONE_SOURCE
from bids_app.errors import DataError
from bids_app.options.maps import read_map_options
from bids_app.planning.available_maps import MapFiles
from bids_app.planning.settings_from_model import SETTINGS_BY_KEY
from bids_app.settings import OPTIONS, Settings
from bids_app.values import option

Parameters = dict[str, str]  # values as JSON, by their names in sidecars
NONE = "null"
NOTES = {"Version": " with Pellucid {}", "NetworkMapsSha256": " with the same file of networks"}
OF_EACH_MAP = ("Registration",)  # its default depends on the map


def check_settings(by_site: dict[str, MapFiles], names: tuple[str, ...], settings: Settings) -> None:
    """Raise DataError, with the command that mends it, if a site's maps have other parameters than most maps have.

    by_site: the files of each site. Of a site whose own maps differ, the most frequent parameters are compared.
    """
    for name in names:
        counts = {site: _count_parameters(files, name) for site, files in by_site.items()}
        usual = {site: json.loads(count.most_common(1)[0][0]) for site, count in counts.items() if count}
        totals = Counter[str]()
        for site, parameters in usual.items():
            totals[json.dumps(parameters)] += counts[site].total()
        reference = json.loads(totals.most_common(1)[0][0]) if totals else {}
        same = next((site for site, parameters in usual.items() if parameters == reference), "")
        for site, parameters in usual.items():
            keys = [key for key in sorted({*reference, *parameters}) if reference.get(key) != parameters.get(key)]
            if keys:
                differences = "; ".join(
                    f"{key} is {reference.get(key, NONE)} at {same} and {parameters.get(key, NONE)} at {site}"
                    for key in keys
                )
                raise DataError(
                    f"the sites computed their {name} maps with different settings: {differences}. "
                    f"{_remedy(site, same, name, reference, keys, settings)}"
                )


def participant_command(site: str, maps: list[str], settings: Settings, words: tuple[str, ...] = ()) -> str:
    """The command that computes maps of a site."""
    folders = [str(settings.bids_dir / site), str(settings.group.maps_from[site])]
    bases = dict.fromkeys(name.partition("-")[0] for name in maps)
    return shlex.join(["pellucid", *folders, "participant", "--maps", *bases, *words])


def _count_parameters(files: MapFiles, name: str) -> Counter[str]:
    """How many maps have each set of parameters, as JSON of `Parameters`."""
    paths = [path for maps in files.values() for path in maps.get(name, ())]
    sidecars = (scans.read_sidecar(path).get("MapParameters") or {} for path in paths)
    return Counter(
        json.dumps({key: json.dumps(value, sort_keys=True) for key, value in sorted(parameters.items())})
        for parameters in sidecars
    )


def _remedy(site: str, same: str, name: str, reference: Parameters, keys: list[str], settings: Settings) -> str:
    """What to do about the differences: the participant level of `site`, with all settings that `same` changed."""
    if keys == ["WithoutRegionsFrom"]:
        return ONE_SOURCE[0].upper() + ONE_SOURCE[1:]
    fields = SETTINGS_BY_KEY | {"Registration": "registration", "NetworkMaps": "network_templates"}
    fields |= {
        outputs.camel(keyword): each["setting"] for keyword, each in read_map_options(name.partition("-")[0]).items()
    }
    words, notes = [], []
    for key in sorted({*reference, *keys}):
        value, field = json.loads(reference.get(key, NONE)), fields.get(key)
        if key in keys and key in NOTES:
            notes.append(NOTES[key].format(value))
        elif key in keys and field and not _words_of(field, value):
            notes.append(f" without {option(field)}")
        elif field and (key in keys or (key not in OF_EACH_MAP and _differs_from_default(field, value))):
            words += _words_of(field, value)
    command = participant_command(site, [name], settings, tuple(words))
    return f"Compute those of {site} again as at {same}{','.join(notes)}:\n  {command}"


def _differs_from_default(field: str, value: Any) -> bool:
    return _words_of(field, value) != _words_of(field, OPTIONS[field].default)


def _words_of(field: str, value: Any) -> list[str]:
    """A setting as on the command line; nothing for one that is off."""
    if value in (False, None):
        return []
    if OPTIONS[field].is_flag:
        return [option(field)]
    entries = value if isinstance(value, list | tuple) else [value]
    return [option(field), *(f"{entry:g}" if isinstance(entry, float) else str(entry) for entry in entries)]
