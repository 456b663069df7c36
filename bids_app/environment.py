"""Environment variables of libraries: names and folders that a container's user may not have."""

import getpass
import os
from pathlib import Path

# Numba's cache as an image was built with; numba itself would have to write into the folder that it reads from.
COMPILED = "PELLUCID_NUMBA_CACHE"
CONTAINERS = ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER")
CACHES = ("MPLCONFIGDIR", "NIPYPE_CONFIG_DIR", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "XDG_CACHE_HOME")
DOWNLOADS = {"HF_HOME": "huggingface", "TORCH_HOME": "torch"}  # may hold weights that are needed


def configure_environment(work_dir: Path) -> None:
    """Move the caches of libraries below `work_dir` where the home cannot be written, or is only a container's own.

    Existing variables are unchanged. To be called before the libraries are imported; nothing is written yet.
    """
    try:
        login = getpass.getuser()
    except (KeyError, OSError):
        login = f"uid{os.getuid()}"
    os.environ.setdefault("LOGNAME", login)  # nipype's SLURM plugin reads this one alone
    cache = work_dir / "cache"
    home = Path(os.environ.get("HOME", "/nonexistent"))
    if not os.access(home, os.W_OK | os.X_OK) or any(name in os.environ for name in CONTAINERS):
        downloads = {
            name: folder for name, folder in DOWNLOADS.items() if not os.access(home / ".cache" / folder, os.R_OK)
        }
        for name, folder in {**{name: name.lower() for name in CACHES}, **downloads}.items():
            os.environ.setdefault(name, str(cache / folder))
    if COMPILED in os.environ or not os.access(Path(__file__).parent / "maps", os.W_OK):
        os.environ.setdefault("NUMBA_CACHE_DIR", str(work_dir / "numba"))
