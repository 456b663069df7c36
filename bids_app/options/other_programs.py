"""What to write in place of an option that is not Pellucid's: those of fMRIPrep and others, and misspelled ones."""

import difflib
from collections.abc import Iterable

NOT_NEEDED = "is not needed here; leave it out"
INSTEAD = {  # spelled with dashes
    "--output-spaces": "write --output-space SPACE, and --resolution MM in place of :res-2",
    "--fs-license-file": f"FreeSurfer is not run, so that a licence {NOT_NEEDED}",
    "--fs-no-reconall": f"FreeSurfer is not run, so that it {NOT_NEEDED}",
    "--fs-subjects-dir": "write -d freesurfer=PATH",
    "--n-procs": "write --nprocs N",
    "--num-threads": "write --nprocs N",
    "--mem-gb": "write --mem-mb MB, or --mem 32G",
    "--low-mem": "write --mem-mb MB, the memory that all processes may use together",
    "--anat-only": "without BOLD maps in --maps, only T1w images are processed; leave it out",
    "--anat-derivatives": "write -d fmriprep=PATH",
    "--fmri-dir": "write -d fmriprep=PATH",
    "--input-type": "write -d fmriprep=PATH",
    "--skull-strip-t1w": "skull-stripped images are recognised; --brain-mask PATTERN names masks of your own",
    "--skull-strip-template": f"the template of --output-space is used, so that it {NOT_NEEDED}",
    "--skull-strip-fixed-seed": "write --random-seed N",
    "--ignore": "fieldmaps are not used; a sidecar without SliceTiming is not corrected for it",
    "--use-syn-sdc": "susceptibility distortion is not corrected; preprocess with fMRIPrep, and write -d fmriprep=PATH",
    "--cifti-output": "maps are volumes; surfaces are not computed",
    "--longitudinal": "each session is processed on its own; the group level has --sessions first, all or mean",
    "--nuisance-regressors": "write --denoise NAME",
    "--lower-bpf": "write --band LOW HIGH, in Hz",
    "--upper-bpf": "write --band LOW HIGH, in Hz",
    "--fd-thresh": "write --fd-threshold MM",
    "--fd-spike-threshold": "write --fd-threshold MM",
    "--use-aroma": "write --denoise NAME; ICA-AROMA is not run",
    "--atlases": "write --atlas NAME",
    "--clean-workdir": "delete OUT_DIR/.work yourself when both levels are done",
    "--boilerplate-only": "methods.md beside each report has the boilerplate; leave it out",
    "--md-only-boilerplate": "methods.md beside each report has the boilerplate; leave it out",
    "--track-carbon": "is not offered; leave it out",
    "--participants-file": "write --phenotype FILE",
}


def suggest(word: str, known: Iterable[str]) -> str:
    """What to write in place of an unknown option, given all known ones; empty if nothing is alike."""
    name = word.partition("=")[0].replace("_", "-")
    if name in INSTEAD:
        return INSTEAD[name]
    near = difflib.get_close_matches(name, [option for option in known if option.startswith("--")], n=2, cutoff=0.75)
    return f"did you mean {' or '.join(near)}?" if near else ""
