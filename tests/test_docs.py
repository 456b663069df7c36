"""The commands, messages and figures of README and docs are those of the program."""

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bids_app import cli, settings
from bids_app.training.scores import balanced_accuracy_interval

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CODE_BLOCK = re.compile(r"^```(?:bash)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROGRAMS = ("pellucid", "pellucid-phantom", "pellucid-power")
POSITIONS = ("bids_dir", "output_dir", "level")


def commands(page: Path) -> list[list[str]]:
    """The words of every command in the code blocks of a page; a comment after a command is left out."""
    code = "".join(CODE_BLOCK.findall(page.read_text(encoding="utf-8"))).replace("\\\n", " ")
    lines = [line.removeprefix("$ ") for line in code.splitlines()]
    lines = [line for line in lines if line.partition(" ")[0] in PROGRAMS]
    return [shlex.split(line, comments=True) for line in lines]


def parse(program: str, words: list[str]) -> object:
    """The settings of a command, parsed as the program does. Raises UsageError."""
    if program == "pellucid-phantom":
        return cli.phantom(words)
    options = cli.parse(words, alone=program == "pellucid-power")
    if "level" not in options:
        options["level"] = "group"
    bids_dir, output_dir, level = (options.pop(name) for name in POSITIONS)
    return settings.each(level, Path(bids_dir), Path(output_dir), options=options)


COMMANDS = [(page, words) for page in PAGES for words in commands(page) if words[1:] != ["--version"]]


def test_pages_have_commands():
    with_commands = {page.name for page, _ in COMMANDS}
    assert {"README.md", "fmriprep.md", "first-run.md", "openneuro.md", "sample-size.md", "usage.md"} <= with_commands


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=lambda part: part.name if isinstance(part, Path) else None)
def test_documented_command_is_accepted(page: Path, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for plugin in re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        Path("slurm.yml").write_text(plugin)
    blocks = re.findall(r"^```toml\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    for table in (block for block in blocks if block.startswith("[group]")):
        Path("settings.toml").write_text(table)
    assert parse(words[0], words[1:])


def literal_texts() -> str:
    """All constant strings of the program, with … for each value that is filled in, one message a line."""
    lines = []
    for path in sorted((ROOT / "bids_app").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                lines.append(
                    "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                lines.append(node.value)
    return "\n".join(lines)


def test_messages_quoted_in_the_faq_are_messages_of_the_program():
    quoted = re.findall(r"^> `(.*)`$", (ROOT / "docs" / "faq.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(quoted) > 10
    texts = literal_texts().replace("`", "")
    unknown = [
        piece
        for message in quoted
        for part in message.split("…")
        if (piece := part.strip(" .:")) and piece not in texts
    ]
    assert unknown == []


def test_intervals_in_the_documentation_are_those_of_the_scores():
    text = (ROOT / "docs" / "sample-size.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (\d\.\d\d to .*) \|$", text, re.MULTILINE)
    assert len(rows) == 5
    for participants, cells in rows:
        half = int(participants) // 2
        for accuracy, cell in zip((0.5, 0.6, 0.7, 0.8), cells.split(" | "), strict=True):
            _, (low, high) = balanced_accuracy_interval([(round(accuracy * half), half)] * 2)
            assert cell == f"{low:.2f} to {high:.2f}"


@pytest.mark.slow
def test_walk_from_fmriprep_to_a_report_runs(tmp_path: Path):
    blocks = CODE_BLOCK.findall((ROOT / "docs" / "fmriprep.md").read_text(encoding="utf-8"))
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-euxc", "".join(blocks)], cwd=tmp_path, env=environment, check=True)
    for analysis in ("power", "group", "alff"):
        assert (tmp_path / "out" / "group" / analysis / "report.html").is_file()
