"""What libraries read from the environment: names and folders that a container's user may lack."""

import getpass
import os
from pathlib import Path

# Numba's cache as an image was built with; numba itself would have to write into the folder that it reads from.
COMPILED = "PELLUCID_NUMBA_CACHE"
CONTAINERS = ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER")
CACHES = ("MPLCONFIGDIR", "NIPYPE_CONFIG_DIR", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "XDG_CACHE_HOME")
FETCHED = {"HF_HOME": "huggingface", "TORCH_HOME": "torch"}  # what lies there may be wanted: weights


def configure_environment(work: Path) -> None:
    """Send what libraries keep below `work` where there is no home that can be written, or only a container's own.

    What is set already stays. To be called before they are imported; nothing is written yet.
    """
    try:
        login = getpass.getuser()
    except (KeyError, OSError):
        login = f"uid{os.getuid()}"
    os.environ.setdefault("LOGNAME", login)  # nipype's SLURM plugin reads this one alone
    ours = work / "cache"
    home = Path(os.environ.get("HOME", "/nonexistent"))
    if not os.access(home, os.W_OK | os.X_OK) or any(name in os.environ for name in CONTAINERS):
        fetched = {name: place for name, place in FETCHED.items() if not os.access(home / ".cache" / place, os.R_OK)}
        for name, place in {**{name: name.lower() for name in CACHES}, **fetched}.items():
            os.environ.setdefault(name, str(ours / place))
    if COMPILED in os.environ or not os.access(Path(__file__).parent / "maps", os.W_OK):
        os.environ.setdefault("NUMBA_CACHE_DIR", str(work / "numba"))
