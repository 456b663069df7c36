"""The entry points: arguments -> settings -> a level -> exit code."""

import contextlib
import importlib
import importlib.machinery
import logging
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    # Python puts first on its path the folder of this file, whose `bids` would hide pybids, or with -m the caller's.
    if not sys.flags.safe_path:
        del sys.path[0]
    package = Path(__file__).resolve().parent
    origin = getattr(importlib.machinery.PathFinder.find_spec("bids_app"), "origin", None)
    if origin is None or Path(origin).resolve().parent != package:  # a checkout that is not installed
        sys.path.insert(0, str(package.parent))
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [sys.path[0], os.environ.get("PYTHONPATH")]))

from bids_app import cli, environment, run_log, settings
from bids_app.errors import PellucidError, UsageError

UNKNOWN_LEVEL = 17
SECONDS_TO_END = 20.0  # after SIGTERM; Slurm sends SIGKILL after 30
log = logging.getLogger("pellucid")


def main(argv: Sequence[str] | None = None) -> int:
    """`pellucid BIDS_DIR OUT_DIR {participant,group}`; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    return _guard(lambda: _run_level(cli.parse(words), ("pellucid", *words)), words)


def phantom(argv: Sequence[str] | None = None) -> int:
    """`pellucid-phantom OUT`; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    return _guard(lambda: _write_phantom(words), words)


def power(argv: Sequence[str] | None = None) -> int:
    """`pellucid-power BIDS_DIR OUT_DIR`; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    return _guard(lambda: _run_level(_add_power(cli.parse(words, alone=True)), ("pellucid-power", *words)), words)


def _add_power(options: dict[str, Any]) -> dict[str, Any]:
    """The options of the group level, with --power 100 unless given. Raises UsageError where a position is missing."""
    if "output_dir" not in options:
        raise UsageError("pellucid-power requires BIDS_DIR and OUT_DIR, and accepts all options of the group level")
    if options.setdefault("level", "group") != "group":
        raise UsageError("pellucid-power runs at the group level; omit the level")
    return {"power": 100, **options}


def _run_level(options: dict[str, Any], command: tuple[str, ...]) -> int:
    bids_dir, output_dir = (Path(options.pop(name, ".")) for name in ("bids_dir", "output_dir"))
    level = options.pop("level", cli.LEVELS[0])
    if level not in cli.LEVELS:
        print(f"pellucid: unknown analysis level {level!r}; choose from {', '.join(cli.LEVELS)}", file=sys.stderr)
        return UNKNOWN_LEVEL
    runs = settings.each(level, bids_dir.absolute(), output_dir.absolute(), options=options)
    if runs[0].shared.write_config:
        print("\n".join(settings.to_toml(run) for run in runs), end="")
        return 0
    _prepare_process(runs[0].other.verbose, runs[0].compute.omp_nthreads)
    environment.configure_environment(runs[0].work_dir)
    several = level == "group" and runs[0].federated.federated is not None
    stage = importlib.import_module("bids_app.consortium" if several else f"bids_app.{level}")
    return max([_run_stage(stage, replace(run, command=command)) for run in runs])


def _run_stage(stage: Any, run: settings.Settings) -> int:
    """One run of a level, with its log. Raises CannotWriteError for errors of a full or protected disk."""
    from bids_app.bids import run_locks, write_errors

    try:
        with run_log.record_run(run), run_locks.released_after(run.output_dir, run.work_dir):
            return int(stage.run(run))
    except OSError as error:
        if blocked := write_errors.explain_error(error, run):
            raise blocked from error
        raise


def _write_phantom(words: Sequence[str]) -> int:
    options = cli.phantom(words)
    _prepare_process(0, 1)
    from bids_app.phantom.write import write

    out = options.pop("out")
    write(out.absolute(), **options)
    log.info("wrote %s", out)
    return 0


def _prepare_process(verbose: int, threads: int) -> None:
    """Logs go to stderr; thread counts are set before any library reads them; SIGTERM ends the workers too."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    run_log.show_on_screen(verbose)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
        os.environ[name] = str(threads)
    os.environ["PYTHONSAFEPATH"] = "1"  # the server of workers would look for modules in the caller's folder first
    os.environ["NIPYPE_NO_ET"] = "1"  # nipype asks for its newest version over the network otherwise
    os.environ.setdefault("MPLBACKEND", "Agg")


def _terminate(number: int, _: object) -> None:
    """Batch systems end a job so; leaving by an exception lets `finally` clean up, within a limit.

    Python drops an exception that a signal raises in a destructor, and a folder may be slow to remove.
    """
    limit = threading.Timer(SECONDS_TO_END, os._exit, [128 + number])
    limit.daemon = True
    limit.start()
    print("pellucid: terminated; completed work is kept, rerun to resume", file=sys.stderr)
    sys.exit(128 + number)


def _guard(command: Callable[[], int], words: Sequence[str]) -> int:
    """A user's mistake is one message; an internal error is a traceback in a file that one line names."""
    try:
        return command()
    except PellucidError as error:
        print(f"pellucid: {error}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        print("pellucid: interrupted; completed work is kept, rerun to resume", file=sys.stderr)
        return 130
    except Exception as error:
        file = _crash_folder(words) / f"pellucid-crash-{time.strftime('%Y%m%d-%H%M%S')}.txt"
        try:
            file.write_text(traceback.format_exc())
        except OSError:  # the disk is full
            traceback.print_exc()
        print(f"pellucid: internal error ({type(error).__name__}); please report it and attach {file}", file=sys.stderr)
        return PellucidError.code


def _crash_folder(words: Sequence[str]) -> Path:
    """OUT_DIR/logs where OUT_DIR exists, else the current folder, else the one for temporary files."""
    folders = [Path.cwd(), Path(tempfile.gettempdir())]
    with contextlib.suppress(PellucidError, OSError):
        logs = cli.parse(words)["output_dir"] / "logs"
        logs.mkdir(exist_ok=True)
        folders.insert(0, logs)
    return next((folder for folder in folders if folder.is_dir() and os.access(folder, os.W_OK)), folders[-1])


if __name__ == "__main__":  # python bids_app/run.py; a worker imports this file by another name
    sys.exit(main())
