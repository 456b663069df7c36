"""What nipype writes, without the environment, the host, the login or the user's folders: crash files and job scripts.

Results and reports of nodes are kept clean by `function_node`.
"""

import re
import sys
import time
import traceback
import uuid
from pathlib import Path
from typing import Any

from nipype.pipeline.engine import Node

from bids_app import run_log
from bids_app.bids.write_errors import explain_text
from bids_app.settings import Settings

HOST = "gethostname()"  # in the scripts that nipype submits, which store it with the result of a failed node


class PrivateFiles:
    """Mixed into a plugin of nipype before its own class; `keep_private` is called before it runs."""

    def keep_private(self, settings: Settings) -> None:
        """Leave out the user's folders in what is written from now on."""
        self._private = settings

    def _report_crash(self, node: Node, result: dict[str, Any] | None = None) -> str:
        """Write a crash file, without the login and the host that nipype's own has.

        Raises CannotWriteError where the node failed for want of space or permission: all others would, too.
        """
        lines = traceback.format_exception(*sys.exc_info()) if result is None else result["traceback"]
        if blocked := explain_text("".join(lines), self._private):
            raise blocked
        return str(write_crash_file(node, "".join(lines), self._private))

    def _submit_batchtask(self, scriptfile: str, node: Node) -> Any:
        file = Path(scriptfile)
        _remove_host(file.with_name(file.name.removeprefix("batchscript_")).with_suffix(".py"))
        return super()._submit_batchtask(scriptfile, node)

    def _submit_graph(self, pyfiles: list[str], dependencies: dict[int, list[int]], nodes: list[Node]) -> Any:
        for file in pyfiles:
            _remove_host(Path(file))
        return super()._submit_graph(pyfiles, dependencies, nodes)


def write_crash_file(node: Node, error: str, settings: Settings) -> Path:
    """Write the inputs of a node and its error to `crash-DATE-TIME-NODE-ID.txt` in its crash folder, as one piece.

    Users attach these files to bug reports: folders have the names of `run_log.private_paths`, others are left out.
    """
    folder = Path(node.config["execution"]["crashdump_dir"])
    folder.mkdir(parents=True, exist_ok=True)
    name = f"crash-{time.strftime('%Y%m%d-%H%M%S')}-{node._id}-{uuid.uuid4()}.txt"
    text = f"Node: {node.fullname}\nWorking directory: {node.output_dir()}\n\nNode inputs:\n{node.inputs}\n{error}"
    text = run_log.ABSOLUTE_PATH.sub("", run_log.anonymise(text, run_log.private_paths(settings)))
    fresh = folder / f".{name}"
    try:
        fresh.write_text(text, encoding="utf-8")
        return fresh.rename(folder / name)
    finally:
        fresh.unlink(missing_ok=True)


def _remove_host(script: Path) -> None:
    if script.is_file():
        script.write_text(re.sub(re.escape(HOST), "''", script.read_text()))
