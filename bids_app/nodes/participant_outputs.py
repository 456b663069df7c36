"""The last step of a person: pictures, sidecars and page are staged beside the maps, then all appear at once."""

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib

from bids_app import __version__, catalogue
from bids_app.bids import inputs, outputs
from bids_app.nodes.anatomical import modulated_totals
from bids_app.nodes.bold_outputs import describe_runs, stage_run
from bids_app.planning import excluded_regions
from bids_app.report import methods
from bids_app.report import person as page

Files = dict[str, Any]
TOLERANCE = 0.01


def write_participant(
    *,
    job: Files,
    chosen: Files,
    templates: Files,
    bids_dir: str,
    output_dir: str,
    radiological: bool,
    bold: Files,
    anat: Files | None = None,
    **made: Any,
) -> list[str]:
    """Publish what was made: `made` holds the file of each `map_<name>` and the dictionary of each `sources_<kind>`,
    and for BOLD the files of each `run_<number>`, `bold_<number>_<map>` and `atlas_<number>_<name>`.
    """
    out, who = Path(output_dir), (job["participant"], job["session"])
    with outputs.staging(out) as stage:
        content = (
            _empty(job) if anat is None else _anatomy(stage, job, chosen, anat, templates, bids_dir, radiological, made)
        )
        told = _runs(job, bold, made)
        tissues = made.get(f"sources_{bold['registration']}") if told and anat is not None else None
        runs = [stage_run(stage, who, each, templates, bold, tissues) for each in told]
        texts = [content["methods"], describe_runs(told, bold) if told else ""]
        _page(stage, job, {**content, "methods": "\n\n".join(text for text in texts if text)}, runs)
        outputs.mark_undone(out, *who)
        written = outputs.publish(stage, out)
    outputs.mark_done(out, *who, job["key"], written)
    return written


def _anatomy(
    stage: Path,
    job: Files,
    chosen: Files,
    anat: Files,
    templates: Files,
    bids_dir: str,
    radiological: bool,
    made: Files,
) -> Files:
    """Stage the anatomy's outputs; returns what the page says of them. A T1w of another session is only shown."""
    who = (job["participant"], job["session"])
    sources = {kind: made[f"sources_{kind}"] for kind in job["registrations"]}
    maps = {name: made[f"map_{name}"] for name in job["kinds"]}
    measured = _measured(job, anat, sources, bids_dir)
    if job["own_t1w"]:
        _native(stage, who, anat, chosen["output_space"])
        _volumes(stage, who, measured)
    note = made["without"]["note"] if job["without"] else ""
    for name, file in maps.items():
        less = job["without"] if name == excluded_regions.MAP else {}
        parameters = _parameters(name, job["kinds"][name], chosen) | excluded_regions.parameters(less)
        without = {"without": excluded_regions.told(less, note)}
        _map(stage, who, name, file, parameters, chosen["parameters"][name], measured | without)
    drawn = _draw(stage, who, anat, templates, sources, maps, radiological=radiological)
    return _told(job, chosen, anat, measured, drawn, excluded_regions.words(job["without"], note))


def _empty(job: Files) -> Files:
    """What a page without anatomy says."""
    facts = {"Preprocessed by": job["source"]}
    return {"figures": [], "volumes": {}, "facts": facts, "checks": [], "methods": ""}


def _runs(job: Files, bold: Files, made: Files) -> list[Files]:
    """Each BOLD run with what its nodes made."""
    return [
        {
            **run,
            "made": made[f"run_{number}"],
            "maps": {name: made[key] for name in bold["maps"] if (key := f"bold_{number}_{name}") in made},
            "atlases": {label: made[f"atlas_{number}_{label}"] for label in bold["atlases"]},
        }
        for number, run in enumerate(job["runs"])
    ]


def map_stem(
    name: str, who: tuple[str | None, str | None], *, space: str, resolution: float, parameters: dict[str, Any]
) -> str:
    """File name of a map without extension; `parameters`: the values of the map's options by keyword."""
    part = catalogue.load("maps", name)
    entities = {key: value.format(**parameters) for key, value in part.ENTITIES.items()}
    return outputs.filename(*who, part.SUFFIX, "", space=space, res=resolution_label(resolution), **entities)


def resolution_label(mm: float) -> str:
    """2.0 -> 2, 1.5 -> 1p5."""
    return f"{mm:g}".replace(".", "p")


def _parameters(name: str, kind: str, chosen: Files) -> Files:
    """All that has to be the same in every person of an analysis."""
    options = {outputs.camel(keyword): value for keyword, value in chosen["parameters"][name].items()}
    common = {"Map": name, "Registration": kind, "Space": chosen["output_space"], "ResolutionMm": chosen["resolution"]}
    if chosen["bounding_box"]:
        common["BoundingBoxMm"] = list(chosen["bounding_box"])
    return {**common, "Sloppy": chosen["sloppy"], "Version": __version__, **options}


def _measured(job: Files, anat: Files, sources: Files, bids_dir: str) -> Files:

    volumes = anat["tissues"]["volumes"]
    scan = inputs.Scan(job["participant"], job["session"], Path(job["scan"]))
    return {
        "volumes": volumes,
        "totals": {kind: modulated_totals(files, volumes) for kind, files in sources.items()},
        "source": job["source"],
        "scanner": inputs.metadata(inputs.Dataset(Path(bids_dir), "", (job["participant"],)), scan),
        "scan": Path(job["scan"]).relative_to(bids_dir).as_posix(),
    }


def _native(stage: Path, who: tuple[str, str | None], anat: Files, space: str) -> None:
    folder = _folder(stage, who, "anat")
    native = anat["native"]
    for source, suffix, entities, sidecar in (
        (
            native["t1w"],
            "T1w",
            {"desc": "preproc"},
            {"SkullStripped": "skull-stripped" in native["facts"]["Brain mask"]},
        ),
        (native["mask"], "mask", {"desc": "brain"}, {"Type": "Brain", "RawSources": []}),
        (anat["tissues"]["dseg"], "dseg", {}, {"LabelMap": {"GM": 1, "WM": 2, "CSF": 3}}),
    ):
        stem = outputs.filename(*who, suffix, "", **entities)
        image = nib.load(source)
        values = image.get_fdata(dtype="float32")
        kept = nib.Nifti1Image(values if suffix == "T1w" else values.astype("uint8"), image.affine)
        kept.header.set_xyzt_units("mm")
        kept.to_filename(folder / f"{stem}.nii.gz")
        _json(folder / f"{stem}.json", sidecar)
    for kind, warps in anat["warps"].items():
        for number, path in enumerate(warps["forward"], start=1):
            suffixes = "".join(Path(path).suffixes[-2:]) if path.endswith(".gz") else Path(path).suffix
            stem = outputs.filename(*who, "xfm", suffixes, from_="T1w", to=space, mode="image", desc=f"{kind}{number}")
            shutil.copyfile(path, folder / stem)


def _map(
    stage: Path,
    who: tuple[str, str | None],
    name: str,
    file: str,
    parameters: Files,
    options: Files,
    measured: Files,
) -> None:
    part = catalogue.load("maps", name)
    stem = map_stem(
        name,
        who,
        space=parameters["Space"],
        resolution=parameters["ResolutionMm"],
        parameters=options,
    )
    folder = _folder(stage, who, "anat")
    shutil.copyfile(file, folder / f"{stem}.nii.gz")
    mm = f"{parameters['ResolutionMm']:g}"
    sidecar = {
        "Description": (part.__doc__ or "").splitlines()[0],
        "Units": part.UNIT,
        "SkullStripped": True,
        "Resolution": f"{mm} x {mm} x {mm} mm",
        "MapParameters": parameters,
        **measured["without"],
        "PreprocessingSource": measured["source"],
        "TissueVolumes": measured["volumes"],
        "TotalIntracranialVolume": measured["volumes"]["TIV"],
        "ModulatedTotalOverNative": measured["totals"][parameters["Registration"]],
        "Scanner": measured["scanner"],
        "RawScan": measured["scan"],
    }
    _json(folder / f"{stem}.json", sidecar)


def _volumes(stage: Path, who: tuple[str, str | None], measured: Files) -> None:
    lines = ["measure\tvalue\tunit", *(f"{name}\t{value:.3f}\tmL" for name, value in measured["volumes"].items())]
    stem = outputs.filename(*who, "morph", ".tsv", desc="volumes")
    (_folder(stage, who, "anat") / stem).write_text("\n".join(lines) + "\n")


def _draw(
    stage: Path,
    who: tuple[str, str | None],
    anat: Files,
    templates: Files,
    sources: Files,
    maps: Files,
    *,
    radiological: bool,
) -> list[page.Figure]:
    """Every picture shows the brain only."""
    from bids_app.report import figures

    load = nib.load
    folder = _folder(stage, who, "figures")
    native, brain, mask = load(anat["native"]["t1w"]), load(templates["brain"]), load(templates["mask"])

    def placed(title: str, caption: str, desc: str) -> tuple[page.Figure, Path]:
        file = folder / outputs.filename(*who, "T1w", ".png", desc=desc)
        return page.Figure(title, caption, file.relative_to(stage).as_posix()), file

    shown = []
    figure, file = placed("Brain mask and tissues", "Outlines on the bias-corrected T1w in native space.", "tissues")
    figures.segmentation(
        native, load(anat["native"]["mask"]), load(anat["tissues"]["dseg"]), file, radiological=radiological
    )
    shown.append(figure)
    for kind, files in sources.items():
        caption = (
            "The person's brain in template space under the template's outline and its grey matter (50 % probability)."
        )
        figure, file = placed(f"Registration to the template ({kind})", caption, outputs.label(f"registration{kind}"))
        figures.registration(
            load(files["t1w"]), mask, file, template_gm=load(templates["gm"]), radiological=radiological
        )
        shown.append(figure)
    for name, path in maps.items():
        part = catalogue.load("maps", name)
        caption = (part.__doc__ or "").splitlines()[0]
        figure, file = placed(f"Map {name}", caption, outputs.label(f"map{name}"))
        figures.map_panel(load(path), brain, mask, file, title=name, unit=part.UNIT, radiological=radiological)
        shown.append(figure)
    return shown


def _told(job: Files, chosen: Files, anat: Files, measured: Files, drawn: list[page.Figure], less: str) -> Files:
    facts = {"Preprocessed by": measured["source"], **anat["native"]["facts"]}
    if not job["own_t1w"]:
        facts["Session"] = "another one, as this one has no T1w image"
    checks = [
        f"The modulated total of {tissue} ({kind}) is {share:.3f} of its native volume: look at the registration"
        for kind, each in measured["totals"].items()
        for tissue, share in each.items()
        if tissue != "CSF" and abs(share - 1) > TOLERANCE
    ]
    for kind, each in measured["totals"].items():
        facts[f"Modulated total over native volume ({kind})"] = ", ".join(
            f"{name} {share:.4f}" for name, share in each.items()
        )
    text = methods.participant(
        maps=list(job["kinds"]),
        registration={**dict(zip(job["registrations"], job["registrations"], strict=True)), **job["kinds"]},
        resolution=chosen["resolution"],
        space=chosen["output_space"],
        mask_method=anat["native"]["facts"]["Brain mask"],
        source=measured["source"],
        sloppy=chosen["sloppy"],
        without=less,
    )
    return {"figures": drawn, "volumes": measured["volumes"], "facts": facts, "checks": checks, "methods": text}


def _page(stage: Path, job: Files, content: Files, runs: list[page.Section]) -> None:
    name = f"sub-{job['participant']}" + (f"_ses-{job['session']}" if job["session"] else "")
    page.write(
        stage / f"{name}.html",
        participant=job["participant"],
        session=job["session"],
        **content,
        references=methods.cited(content["methods"]),
        version=__version__,
        functional=runs,
    )


def _folder(stage: Path, who: tuple[str, str | None], datatype: str) -> Path:
    """Figures stand under the person, whatever the session, so that one bare name hides them from validators."""
    folder = outputs.folder(stage, who[0], who[1] if datatype == "anat" else None, datatype)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _json(path: Path, content: Files) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
