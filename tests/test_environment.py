"""The program runs without a user name, without a home folder and in a read-only image."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bids_app import environment

ROOT = Path(__file__).parents[1]


@pytest.fixture
def clean(monkeypatch, tmp_path):
    """An environment without the relevant variables, and a writable home folder."""
    names = ("LOGNAME", "USER", "NUMBA_CACHE_DIR", environment.COMPILED, *environment.CACHES, *environment.DOWNLOADS)
    for name in (*names, *environment.CONTAINERS):
        monkeypatch.setenv(name, "")  # so that what is set below is taken back
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return monkeypatch


def test_with_a_home_folder_library_caches_keep_the_defaults(clean, tmp_path):
    environment.configure_environment(tmp_path / "work")
    assert [
        name for name in (*environment.CACHES, *environment.DOWNLOADS, "NUMBA_CACHE_DIR") if name in os.environ
    ] == []
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("apptainer", [False, True])
def test_without_a_home_folder_caches_go_below_the_work_folder(clean, tmp_path, apptainer):
    if apptainer:
        clean.setenv("APPTAINER_CONTAINER", "/image.sif")
    else:
        clean.setenv("HOME", "/nonexistent")
    environment.configure_environment(tmp_path / "work")
    for name in (*environment.CACHES, *environment.DOWNLOADS):
        assert Path(os.environ[name]).is_relative_to(tmp_path / "work")


def test_user_cache_settings_and_downloads_are_kept(clean, tmp_path):
    clean.setenv("APPTAINER_CONTAINER", "/image.sif")
    clean.setenv("MPLCONFIGDIR", "/mine")
    (tmp_path / "home" / ".cache" / "huggingface").mkdir(parents=True)
    environment.configure_environment(tmp_path / "work")
    assert os.environ["MPLCONFIGDIR"] == "/mine"
    assert "HF_HOME" not in os.environ


@pytest.mark.skipif(os.getuid() != 0, reason="takes another user's number")
def test_unknown_user_id_gets_a_user_name():
    code = (
        "import os, pwd, getpass; from pathlib import Path; from bids_app import environment\n"
        "os.setgroups([]); os.setgid(12345); os.setuid(12345)\n"
        "environment.configure_environment(Path('/work')); print(getpass.getuser())"
    )
    bare = {name: value for name, value in os.environ.items() if name not in ("LOGNAME", "USER", "LNAME", "USERNAME")}
    done = subprocess.run([sys.executable, "-c", code], env=bare, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "uid12345"


@pytest.mark.slow
def test_numba_kernels_compiled_with_the_image_are_reused_in_the_work_folder(tmp_path):
    """As in the image: another process has compiled into a folder that is read-only afterwards."""
    result = (
        "from bids_app.maps import _ranks; from numba.core.sigutils import normalize_signature\n"
        "loops = next(one for one in vars(_ranks).values() if hasattr(one, 'compiled'))\n"
        "loops.compiled.compile(normalize_signature(loops.signatures[0])[0])\n"
    )
    code = (
        "import os; from pathlib import Path; from bids_app import environment\n"
        f"work = Path({str(tmp_path / 'work')!r}); environment.configure_environment(work)\n"
        "from bids_app.graphs import run; run.copy_compiled_kernels(work)\n"
        f"{result}"
        "print(sum(loops.compiled.stats.cache_hits.values()), sum(loops.compiled.stats.cache_misses.values()))"
    )
    bare = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    shipped = str(tmp_path / "shipped")
    told = []
    for run, more in ((result, {"NUMBA_CACHE_DIR": shipped}), (code, {environment.COMPILED: shipped})):
        done = subprocess.run(
            [sys.executable, "-c", run], env=bare | more, cwd=ROOT, capture_output=True, text=True, check=True
        )
        told.append(done.stdout.split())
    assert told[1] == ["1", "0"]
    assert any((tmp_path / "work" / "numba").rglob("*.nbc"))
