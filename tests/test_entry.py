"""The ways to start the program: by file, package or name, from any folder, installed or not."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from bids_app import __version__
from bids_app.phantom.write import write

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "bids_app"
WAYS = ["file", "folder", "-m bids_app.run", "-m bids_app"]
SPY = """
import os, sys
class Spy:
    def find_spec(self, name, path=None, target=None):
        if name in ("nibabel", "bids"):
            with open({log!r}, "a") as log:
                log.write(f"{{os.getpid()}} {{name}} {{'' in sys.path or {package!r} in sys.path}}\\n")
sys.meta_path.insert(0, Spy())
"""


def words(way: str, package: Path) -> list[str]:
    """The arguments after `python`."""
    return {"file": [str(package / "run.py")], "folder": [str(package)]}.get(way) or way.split()


def call(python: str | Path, *arguments: object, cwd: Path, **more: str) -> "subprocess.CompletedProcess[str]":
    command = [str(one) for one in (python, *arguments)]
    names = [name for name in os.environ if name not in ("PYTHONPATH", "PYTHONSAFEPATH")]
    clean = {name: os.environ[name] for name in names}
    return subprocess.run(command, cwd=cwd, env=clean | more, capture_output=True, text=True, check=False)


def check_answers(python: str | Path, start: list[str], cwd: Path) -> None:
    """The version, and the exit codes of an unknown level and of an unknown option."""
    version = call(python, *start, "--version", cwd=cwd)
    assert (version.returncode, version.stdout) == (0, f"pellucid {__version__}\n"), version.stderr
    assert call(python, *start, "bids", "out", "individual", cwd=cwd).returncode == 17
    assert call(python, *start, "bids", "out", "group", "--no-such-option", cwd=cwd).returncode == 64


@pytest.fixture
def elsewhere(tmp_path):
    """A folder whose modules must not take the place of the libraries."""
    for name in ("bids", "numpy", "nibabel", "bids_app"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the caller has this, and it is not meant')\n")
    return tmp_path


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A Python with the dependencies of Pellucid but without Pellucid."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python3*/site-packages")
    (site / "needed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "python"


@pytest.mark.parametrize("way", WAYS)
def test_installed_checkout_runs_from_any_folder(way, tmp_path):
    check_answers(sys.executable, words(way, PACKAGE), tmp_path)


@pytest.mark.parametrize("way", ["file", "folder"])
def test_uninstalled_checkout_runs_by_path_from_any_folder(way, bare, tmp_path):
    assert call(bare, "-c", "import bids_app.cli", cwd=tmp_path).returncode != 0
    check_answers(bare, words(way, PACKAGE), tmp_path)


@pytest.mark.parametrize("way", ["-m bids_app.run", "-m bids_app"])
def test_uninstalled_checkout_runs_as_a_module_from_the_repository_root(way, bare):
    check_answers(bare, words(way, PACKAGE), ROOT)


def test_run_py_uses_the_enclosing_package_rather_than_the_installed_one(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "bids_app", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "bids_app" / "__init__.py").write_text('__version__ = "another"\n')
    told = call(sys.executable, tmp_path / "bids_app" / "run.py", "--version", cwd=tmp_path)
    assert told.stdout == "pellucid another\n"


def test_run_by_path_ignores_modules_of_the_working_folder_and_returns_the_exit_code(bare, elsewhere):
    done = call(bare, PACKAGE / "run.py", "bids", "out", "participant", cwd=elsewhere)
    assert done.returncode == 16, done.stderr
    assert "has no dataset_description.json" in done.stderr


@pytest.mark.slow
def test_workers_of_an_uninstalled_checkout_do_not_import_from_the_package_folder(bare, tmp_path, with_template):
    write(tmp_path / "bids", people=4, resolution=4.0, random_seed=3)
    with_template(tmp_path / "work")
    (tmp_path / "spy").mkdir()
    log = tmp_path / "imports.log"
    (tmp_path / "spy" / "sitecustomize.py").write_text(SPY.format(log=str(log), package=str(PACKAGE)))
    given = [
        "participant",
        "--participant-label",
        "01",
        "02",
        "--sloppy",
        "--resolution",
        "4",
        "--nprocs",
        "2",
        "-w",
        tmp_path / "work",
    ]
    place = {"cwd": PACKAGE, "PYTHONPATH": str(tmp_path / "spy")}
    done = call(bare, "run.py", tmp_path / "bids", tmp_path / "out", *given, **place)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").glob("sub-*/anat/*_probseg.nii.gz"))) == 2
    looked = [line.split() for line in log.read_text().splitlines()]
    assert len({process for process, _, _ in looked}) > 1  # the program and the server that its workers come from
    assert {shadowed for _, _, shadowed in looked} == {"False"}


@pytest.mark.slow
@pytest.mark.network
def test_wheel_runs_from_any_folder(bare, elsewhere):
    uv = shutil.which("uv") or ROOT / ".venv-uv" / "bin" / "uv"
    subprocess.run([uv, "pip", "install", "--quiet", "--no-deps", "--python", bare, ROOT], check=True)
    (package,) = bare.parents[1].glob("lib/python3*/site-packages/bids_app")
    for way in WAYS:
        check_answers(bare, words(way, package), elsewhere if way in ("file", "folder") else package)
        done = call(bare, *words(way, package), "bids", "out", "participant", cwd=package)
        assert done.returncode == 16, done.stderr
    check_answers(bare.with_name("pellucid"), [], elsewhere)
