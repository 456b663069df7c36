"""Outputs of a participant's T1w in OUT_DIR: native images, maps with their sidecars, volumes, figures."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from bids_app import __version__, catalogue
from bids_app.bids import images, outputs
from bids_app.bids.names import resolution_label
from bids_app.bids.outputs import write_json
from bids_app.nodes.anatomical import modulated_totals
from bids_app.planning import excluded_regions
from bids_app.planning.participant_records import (
    Anatomy,
    AnatomySettings,
    ExcludedMask,
    ParticipantJob,
    TemplateFiles,
    Tissues,
    WarpedAnatomy,
)
from bids_app.preprocess import conform
from bids_app.preprocess.conform import read_image
from bids_app.report.methods import describe_participant
from bids_app.report.participant import Figure

TOLERANCE = 0.01


class PageContent(TypedDict):
    """The anatomical content of a report, by the arguments of `report.participant.write_participant_report`."""

    figures: list[Figure]
    facts: dict[str, str]
    checks: list[str]
    methods: str


@dataclass(frozen=True)
class ProcessedAnatomy:
    """A session's anatomy as computed by the nodes: `sources` by registration, and the file of each map by name."""

    job: ParticipantJob
    settings: AnatomySettings
    anat: Anatomy
    sources: dict[str, WarpedAnatomy]
    maps: dict[str, str]
    excluded: ExcludedMask | None

    @property
    def session(self) -> tuple[str, str | None]:
        """Participant and session, without their prefixes."""
        return self.job.participant, self.job.session

    @property
    def tissues(self) -> Tissues:
        """The tissues in native space."""
        return self.anat["tissues"]

    @property
    def excluded_note(self) -> str:
        """How the excluded regions were mapped to the output grid."""
        return "" if self.excluded is None else self.excluded["note"]


def stage_anatomy(
    stage: Path, anatomy: ProcessedAnatomy, templates: TemplateFiles, bids_dir: Path, *, radiological: bool
) -> PageContent:
    """Stage the anatomical outputs; returns the content of the report. A T1w of another session is only shown."""
    volumes = anatomy.tissues["volumes"]
    totals = {kind: modulated_totals(files, volumes) for kind, files in anatomy.sources.items()}
    if anatomy.job.own_t1w:
        _stage_native(stage, anatomy)
        _stage_volumes(stage, anatomy)
    scan = Path(str(anatomy.job.scan))
    scan_fields = {"Scanner": anatomy.job.scanner, "RawScan": scan.relative_to(bids_dir).as_posix()}
    if anatomy.job.preprocessed_scan:
        scan_fields["PreprocessedScan"] = anatomy.job.preprocessed_scan
    if anatomy.job.merged_sessions:
        scan_fields["MergedSessions"] = anatomy.job.merged_sessions
    for name in anatomy.maps:
        _stage_map(stage, anatomy, name, totals, scan_fields)
    figures = _draw(stage, anatomy, templates, radiological=radiological)
    return _page_content(anatomy, totals, figures)


def map_stem(
    name: str, session: tuple[str | None, str | None], *, space: str, resolution: float, parameters: dict[str, Any]
) -> str:
    """File name of a map without extension; `parameters`: the values of the map's options by keyword."""
    part = catalogue.load("maps", name)
    entities = {key: value.format(**parameters) for key, value in part.ENTITIES.items()}
    return outputs.filename(*session, part.SUFFIX, "", space=space, res=resolution_label(resolution), **entities)


def make_folder(stage: Path, session: tuple[str, str | None], datatype: str) -> Path:
    """Figures are in the participant's folder, whatever the session, so that one entry of .bidsignore covers them."""
    folder = outputs.folder(stage, session[0], session[1] if datatype == "anat" else None, datatype)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def sidecar_parameters(anatomy: ProcessedAnatomy, name: str) -> dict[str, Any]:
    """All parameters that must be the same in every participant of an analysis."""
    settings = anatomy.settings
    parameters: dict[str, Any] = {
        "Map": name,
        "Registration": anatomy.job.kinds[name],
        "Space": settings["output_space"],
        "ResolutionMm": settings["resolution"],
    }
    if settings["bounding_box"]:
        parameters["BoundingBoxMm"] = list(settings["bounding_box"])
    parameters |= {"Anatomy": settings["anatomy"], "Sloppy": settings["sloppy"], "Version": __version__}
    parameters |= {outputs.camel(keyword): value for keyword, value in settings["parameters"][name].items()}
    if name == excluded_regions.MAP:
        parameters |= excluded_regions.map_parameters(anatomy.job.excluded_regions)
    return parameters


def _stage_native(stage: Path, anatomy: ProcessedAnatomy) -> None:
    folder = make_folder(stage, anatomy.session, "anat")
    native = anatomy.anat["native"]
    stripped = "skull-stripped" in native["facts"]["Brain mask"]
    images: list[tuple[str, str, dict[str, str], dict[str, Any]]] = [
        (native["t1w"], "T1w", {"desc": "preproc"}, {"SkullStripped": stripped}),
        (native["mask"], "mask", {"desc": "brain"}, {"Type": "Brain", "RawSources": []}),
        (anatomy.tissues["dseg"], "dseg", {}, {"LabelMap": {"GM": 1, "WM": 2, "CSF": 3}}),
    ]
    for source, suffix, entities, sidecar in images:
        stem = outputs.filename(*anatomy.session, suffix, "", **entities)
        image = read_image(source)
        values = image.get_fdata(dtype="float32")
        copy = conform.to_nifti(values if suffix == "T1w" else values.astype("uint8"), image.affine)
        conform.save(copy, folder / f"{stem}.nii.gz")
        write_json(folder / f"{stem}.json", sidecar)
    space = anatomy.settings["output_space"]
    for kind, transforms in anatomy.anat["warps"].items():
        for number, path in enumerate(transforms["forward"], start=1):
            extension = "".join(Path(path).suffixes[-2:]) if path.endswith(".gz") else Path(path).suffix
            direction = {"from_": "T1w", "to": space, "mode": "image", "desc": f"{kind}{number}"}
            shutil.copyfile(path, folder / outputs.filename(*anatomy.session, "xfm", extension, **direction))


def _stage_map(
    stage: Path, anatomy: ProcessedAnatomy, name: str, totals: dict[str, dict[str, float]], scan_fields: dict[str, Any]
) -> None:
    part, parameters = catalogue.load("maps", name), sidecar_parameters(anatomy, name)
    stem = map_stem(
        name,
        anatomy.session,
        space=parameters["Space"],
        resolution=parameters["ResolutionMm"],
        parameters=anatomy.settings["parameters"][name],
    )
    folder = make_folder(stage, anatomy.session, "anat")
    shutil.copyfile(anatomy.maps[name], folder / f"{stem}.nii.gz")
    mm = f"{parameters['ResolutionMm']:g}"
    excluded = anatomy.job.excluded_regions if name == excluded_regions.MAP else None
    volumes = anatomy.tissues["volumes"]
    sidecar = {
        "Description": (part.__doc__ or "").splitlines()[0],
        "Units": part.UNIT,
        "SkullStripped": True,
        "Resolution": f"{mm} x {mm} x {mm} mm",
        "MapParameters": parameters,
        **excluded_regions.describe_in_sidecar(excluded, anatomy.excluded_note),
        "PreprocessingSource": anatomy.job.source,
        "TissueVolumes": volumes,
        "TotalIntracranialVolume": volumes["TIV"],
        "ModulatedTotalOverNative": totals[parameters["Registration"]],
        **scan_fields,
    }
    write_json(folder / f"{stem}.json", sidecar)


def _stage_volumes(stage: Path, anatomy: ProcessedAnatomy) -> None:
    volumes = anatomy.tissues["volumes"]
    lines = ["measure\tvalue\tunit", *(f"{name}\t{value:.3f}\tmL" for name, value in volumes.items())]
    name = outputs.filename(*anatomy.session, "morph", ".tsv", desc="volumes")
    (make_folder(stage, anatomy.session, "anat") / name).write_text("\n".join(lines) + "\n")


def _draw(stage: Path, anatomy: ProcessedAnatomy, templates: TemplateFiles, *, radiological: bool) -> list[Figure]:
    """Every figure shows the brain only."""
    from bids_app.report.figures import draw_map, draw_registration, draw_segmentation

    folder = make_folder(stage, anatomy.session, "figures")
    native = anatomy.anat["native"]
    brain, mask = read_image(templates["brain"]), read_image(templates["mask"])
    shown: list[Figure] = []

    def name_picture(desc: str) -> str:
        name = outputs.filename(*anatomy.session, "T1w", ".png", desc=outputs.label(desc))
        return (folder / name).relative_to(stage).as_posix()

    t1w, native_mask = read_image(native["t1w"]), read_image(native["mask"])
    segmentation = read_image(anatomy.tissues["dseg"])
    file, other = name_picture("tissues"), name_picture("preproc")
    draw_segmentation(t1w, native_mask, segmentation, stage / file, stage / other, radiological=radiological)
    caption = "The bias-corrected T1w image in native space."
    shown.append(Figure("Brain mask and tissues", caption, file, other, ("outlines", "no outlines")))
    caption = (
        "The participant's brain in template space, and the template, with the outlines of the template brain and its "
        "grey matter (50 % probability)."
    )
    for kind, sources in anatomy.sources.items():
        file, other = name_picture(f"registration{kind}"), name_picture(f"template{kind}")
        warped, grey = read_image(sources["t1w"]), read_image(templates["gm"])
        draw_registration(warped, brain, mask, stage / file, stage / other, template_gm=grey, radiological=radiological)
        title = f"Registration to the template ({kind})"
        shown.append(Figure(title, caption, file, other, ("participant", "template")))
    for name, path in anatomy.maps.items():
        part, file = catalogue.load("maps", name), name_picture(f"map{name}")
        draw_map(read_image(path), brain, mask, stage / file, title=name, unit=part.UNIT, radiological=radiological)
        shown.append(Figure(f"Map {name}", (part.__doc__ or "").splitlines()[0], file))
    return shown


def _page_content(anatomy: ProcessedAnatomy, totals: dict[str, dict[str, float]], figures: list[Figure]) -> PageContent:
    job, settings, native = anatomy.job, anatomy.settings, anatomy.anat["native"]
    facts = {"Preprocessed by": job.source, **native["facts"]}
    if not job.own_t1w:
        facts["Session"] = "T1w image from another session, as this one has none"
    if job.merged_sessions:
        merged = ", ".join(f"ses-{session}" for session in job.merged_sessions)
        facts["Sessions"] = (
            f"fMRIPrep averaged the T1w images of {merged}: these sessions have the same maps of anatomy"
        )
    checks = [
        f"The modulated total of {tissue} ({kind}) is {share:.3f} of its native volume: check the registration"
        for kind, shares in totals.items()
        for tissue, share in shares.items()
        if tissue != "CSF" and abs(share - 1) > TOLERANCE
    ]
    checks += list(filter(None, [images.describe_qform_conflict(read_image(str(job.t1w)))]))
    for kind, shares in totals.items():
        facts[f"Modulated total / native volume ({kind})"] = ", ".join(
            f"{name} {share:.4f}" for name, share in shares.items()
        )
    text = describe_participant(
        maps=list(job.kinds),
        registration={**dict(zip(job.registrations, job.registrations, strict=True)), **job.kinds},
        resolution=settings["resolution"],
        space=settings["output_space"],
        mask_method=native["facts"]["Brain mask"],
        source=job.source,
        anatomy=settings["anatomy"],
        sloppy=settings["sloppy"],
        without=excluded_regions.describe_in_methods(job.excluded_regions, anatomy.excluded_note),
    )
    return {
        "figures": figures,
        "facts": facts,
        "checks": checks,
        "methods": text,
    }
