"""Startup kits of NVIDIA FLARE: a copy with what Pellucid installs, the processes that run it, and the job.

A kit is never changed: its copy in the work folder gets a filter for whatever leaves, a list of the only classes that a
job may name, no shipped code, no log streaming, and stores in the work folder instead of the temporary one.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bids_app.errors import MissingInputError

ENGINE = "bids_app.federated.flare"
FOLDER = "PELLUCID_FEDERATED"  # names the folder of its side of the study to a process
KINDS = {"client": "fed_client.json", "server": "fed_server.json", "admin": "fed_admin.json"}
FETCH_SECONDS = 0.05  # how often a client asks for the next question
CLIENT_COMPONENTS = ("resource_manager", "resource_consumer", "process_launcher")


def find_kit(folder: Path, kind: str) -> Path:
    """The startup kit of a kind (client, server, admin) that is `folder` or one of its subfolders.

    Raises MissingInputError if there is none, or several.
    """
    kits = [kit for kit in (folder, *sorted(folder.glob("*"))) if (kit / "startup" / KINDS[kind]).is_file()]
    if len(kits) != 1:
        raise MissingInputError(
            f"--kit {folder}: {len(kits) or 'no'} startup kits of a {kind} are there (startup/{KINDS[kind]}); give the "
            "folder that `nvflare provision` made"
            + (" for this site" if kind == "client" else ", with server and admin")
        )
    return kits[0]


def client_name(kit: Path) -> str:
    """The name that a client's kit was made for."""
    return str(json.loads((kit / "startup" / KINDS["client"]).read_text())["client"]["fqsn"])


def install_kit(kit: Path, workspace: Path, *, site: bool) -> None:
    """Copy a kit into a workspace that only this user can read, and write its local settings."""
    workspace.mkdir(parents=True, exist_ok=True)
    workspace.chmod(0o700)
    for part in ("startup", "local"):
        shutil.rmtree(workspace / part, ignore_errors=True)
        shutil.copytree(kit / part, workspace / part)
    local = workspace / "local"
    resources: dict[str, Any] = json.loads((local / "resources.json.default").read_text())
    resources |= {"class_list_enforcement_mode": "enforce", "class_allow_list": [ENGINE], "allow_log_streaming": False}
    if site:
        resources["components"] = [part for part in resources["components"] if part["id"] in CLIENT_COMPONENTS]
        scope = {"name": "site", "task_result_filters": [{"path": f"{ENGINE}.OutgoingAnswers", "args": {}}]}
        (local / "privacy.json").write_text(json.dumps({"scopes": [scope], "default_scope": "site"}, indent=2))
    else:
        resources["components"] = [part for part in resources["components"] if part["id"] != "log_receiver"]
        stores = workspace / "stores"
        resources["snapshot_persistor"]["args"]["storage"]["args"]["root_dir"] = str(stores / "snapshots")
        for part in resources["components"]:
            if part["id"] == "job_manager":
                part["args"]["uri_root"] = str(stores / "jobs")
    (local / "resources.json").write_text(json.dumps(resources, indent=2))
    rights: dict[str, Any] = json.loads((local / "authorization.json.default").read_text())
    for role, permissions in rights["permissions"].items():
        if isinstance(permissions, dict):
            permissions |= {"byoc": "none", "shell_commands": "none"}
        elif site:
            rights["permissions"][role] = {"submit_job": "none", "view": "any", "byoc": "none"}
    (local / "authorization.json").write_text(json.dumps(rights, indent=2))


def start(workspace: Path, folder: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start the server or client of a workspace, which finds its side of the study in `folder`."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, FOLDER: str(folder), "NVFL_WORKSPACE": str(workspace)}
    environment.pop("PYTHONSAFEPATH", None)
    with log.open("ab") as file:
        return subprocess.Popen(
            ["bash", str(workspace / "startup" / "sub_start.sh"), "--once"],
            cwd=workspace,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def write_job(folder: Path, sites: Sequence[str]) -> Path:
    """Write the job, which names the classes that run it and has no code; returns its folder."""
    job = folder / "job"
    config = job / "app" / "config"
    config.mkdir(parents=True, exist_ok=True)
    meta = {
        "name": "pellucid",
        "resource_spec": {},
        "deploy_map": {"app": ["server", *sites]},
        "min_clients": len(sites),
        "mandatory_clients": list(sites),
    }
    workflow = {"id": "coordinator", "path": f"{ENGINE}.Coordinator", "args": {}}
    server = {"format_version": 2, "server": {"task_request_interval": FETCH_SECONDS}, "workflows": [workflow]}
    executor = {"tasks": ["question"], "executor": {"path": f"{ENGINE}.SiteExecutor", "args": {}}}
    client = {"format_version": 2, "default_task_fetch_interval": FETCH_SECONDS, "executors": [executor]}
    (job / "meta.json").write_text(json.dumps(meta, indent=2))
    (config / "config_fed_server.json").write_text(json.dumps(server, indent=2))
    (config / "config_fed_client.json").write_text(json.dumps({**client, "components": []}, indent=2))
    return job
