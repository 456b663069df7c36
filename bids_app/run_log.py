"""Log files in OUT_DIR/logs: one per run, one per participant; every line has a time, a participant and a step."""

import logging
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bids_app import __version__
from bids_app.settings import OPTIONS, SECTIONS, Settings, to_dict

LINE = "%(asctime)s %(levelname)s %(participant)s %(step)s: %(message)s"
TIME = "%Y-%m-%d %H:%M:%S"
NOBODY = "-"  # a line about no participant in particular
PARTICIPANT = re.compile(r"sub-[0-9A-Za-z]+(?:_ses-[0-9A-Za-z]+)?(?![0-9A-Za-z_])")
NODE = re.compile(r"(?:^|[._])sub_([0-9A-Za-z]+)(?:_ses_([0-9A-Za-z]+))?(?=[._]|$)")
PROBLEM = re.compile(r"(\S+ \S+) (WARNING|ERROR|CRITICAL) (\S+) [^:]+: (.*)")
ABSOLUTE_PATH = re.compile(r"(?<![\w./~])~?/(?:[^\s/:,;'\"]+/)*(?=[^\s/:,;'\"])")

log = logging.getLogger("pellucid")


class LogFiles(logging.Handler):
    """Appends each record to the file of the run and, where it is about a participant, to that participant's.

    Records are held until `open`, since nothing is written into OUT_DIR before a run has been checked. Each line is
    written atomically, so that runs that share OUT_DIR do not mix lines. Local folders are left out.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter(LINE, TIME))
        self.addFilter(add_context)
        self.start = time.time()
        self._folder = settings.output_dir / "logs"
        self._name = f"pellucid_{settings.level}_{time.strftime('%Y%m%d-%H%M%S')}"
        self._paths = private_paths(settings)
        self._file: Path | None = None
        self._failed = False
        self._waiting: list[logging.LogRecord] = []

    @property
    def file(self) -> Path | None:
        """The file of the run, None while records are held."""
        return self._file

    def open(self) -> None:
        """Create the file of this run, under a name that no other run has, and write what has waited."""
        if self._file is not None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file = _create(self._folder, self._name)
        for record in self._waiting:
            self.emit(record)
        self._waiting.clear()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, or keep the record until there is a file."""
        if self._file is None:
            self._waiting.append(record)
            return
        line = ABSOLUTE_PATH.sub("", anonymise(" ".join(self.format(record).splitlines()), self._paths)) + "\n"
        participant = record.__dict__["participant"]
        files = [self._file, *([] if participant == NOBODY else [self._folder / f"{participant}.log"])]
        try:
            for file in files:
                with file.open("ab", buffering=0) as stream:
                    stream.write(line.encode())
        except OSError as error:
            if not self._failed:
                print(f"pellucid: the log cannot be written: {error.strerror}", file=sys.stderr)
            self._failed = True


@contextmanager
def record_run(settings: Settings) -> Iterator[None]:
    """Write the log into OUT_DIR/logs, including how the run ended if computation had begun."""
    files = LogFiles(settings)
    log.addHandler(files)
    log.debug("%s", _describe(settings))
    try:
        yield
        files.open()
    except BaseException as error:
        if files.file:
            message = f"ended by {type(error).__name__}: {error}"
            files.handle(log.makeRecord(log.name, logging.ERROR, __file__, 0, message, (), None))
        raise
    finally:
        log.removeHandler(files)


def open_files() -> None:
    """Open the log files of the present run, if it has any: it begins to write into OUT_DIR."""
    for handler in _own_handlers():
        handler.open()


def start_time() -> float:
    """When the present run began, in seconds since the epoch; now where it has no log."""
    return next((handler.start for handler in _own_handlers()), time.time())


def list_problems() -> list[tuple[str, str]]:
    """The warnings and errors of the present run so far, from its log: the participant and the message of each."""
    open_files()
    files = [handler.file for handler in _own_handlers() if handler.file]
    return [problem for file in files for problem in read_problems(file)]


def read_problems(file: Path, *, start: float = 0) -> list[tuple[str, str]]:
    """The participant and the message of each warning and error in a log file, from a time on (s since the epoch).

    A message begins with its level; one that is repeated is listed once. Empty where there is no file.
    """
    first = time.strftime(TIME, time.localtime(start))
    lines = file.read_text(errors="replace").splitlines() if file.is_file() else []
    matches = [match for line in lines if (match := PROBLEM.match(line)) and match[1] >= first]
    return list(dict.fromkeys((match[3], f"{match[2].lower()}: {match[4]}") for match in matches))


def _own_handlers() -> list[LogFiles]:
    return [handler for handler in log.handlers if isinstance(handler, LogFiles)]


def show_on_screen(verbose: int) -> None:
    """Print the lines of the log on stderr as well: the main ones, and with `verbose` all of them.

    If messages already have a handler, as in tests, none is added.
    """
    root = logging.getLogger()
    log.setLevel(logging.DEBUG)
    if root.handlers:
        return
    root.setLevel(logging.WARNING)
    screen = logging.StreamHandler(sys.stderr)
    screen.setLevel(logging.DEBUG if verbose else logging.INFO)
    screen.setFormatter(logging.Formatter(LINE, TIME))
    screen.addFilter(add_context)
    root.addHandler(screen)


def add_context(record: logging.LogRecord) -> bool:
    """Give a record the participant that its message begins with, and the module as its step, unless it has them."""
    match = PARTICIPANT.match(record.getMessage())
    record.__dict__.setdefault("participant", match[0] if match else NOBODY)
    record.__dict__.setdefault("step", record.module)
    return True


def node_context(fullname: str) -> dict[str, Any]:
    """The participant and the step of a node, by its name in the graph: `participants.sub_01_ses_1_HASH.native`."""
    match = NODE.search(fullname)
    session = f"_ses-{match[2]}" if match and match[2] else ""
    return {"participant": f"sub-{match[1]}{session}" if match else NOBODY, "step": fullname.rpartition(".")[2]}


def private_paths(settings: Settings) -> list[tuple[str, str]]:
    """Local folders and their replacements in a file that may be shared, the longest first; links as their targets."""
    sections = [getattr(settings, section).__dict__ for section in SECTIONS]
    names = {name.upper(): path for values in sections for name, path in values.items() if isinstance(path, Path)}
    names |= {f"DERIVATIVES_{name}": Path(path).absolute() for name, path in settings.derivatives.items()}
    names |= {"BIDS_DIR": settings.bids_dir, "OUT_DIR": settings.output_dir, "WORK_DIR": settings.work_dir}
    names |= {"PYTHON": Path(sys.prefix), "PELLUCID": Path(__file__).parents[1], "~": Path.home()}
    pairs = {str(place): name for name, path in names.items() for place in (path.resolve(), path)}
    pairs.pop("/", None)  # a home in a container
    return sorted(pairs.items(), key=lambda pair: -len(pair[0]))


def anonymise(text: str, paths: list[tuple[str, str]]) -> str:
    """The text with folders replaced by the names in `private_paths`; /data is not part of /database."""
    for path, name in paths:
        text = re.sub(rf"{re.escape(path)}(?![\w-])", name, text)
    return text


def _create(folder: Path, name: str) -> Path:
    """A new, empty file; a number follows its name where another run has begun in the same second."""
    number = 1
    while True:
        file = folder / (f"{name}.log" if number == 1 else f"{name}-{number}.log")
        try:
            file.touch(exist_ok=False)
        except FileExistsError:
            number += 1
        else:
            return file


def _describe(settings: Settings) -> str:
    """The version, the level and the settings that differ from the defaults, in one line."""
    values = {name: value for section in to_dict(settings).values() for name, value in section.items()}
    defaults = {name: list(item.default) if isinstance(item.default, tuple) else item.default
                for name, item in OPTIONS.items()}  # fmt: skip
    changed = [f"{name} = {value!r}" for name, value in values.items() if value is not None and value != defaults[name]]
    return f"pellucid {__version__}, {settings.level} level; settings: {'; '.join(changed) or 'defaults'}"
