"""Real servers and clients with mTLS on 127.0.0.1: equal to in process, and what happens where processes are killed."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_sites import FOLDS, MAP, STEPS, Study, make_study

from bids_app.errors import FailedError
from bids_app.federated import kits, study
from bids_app.federated.coordinator import running

pytestmark = pytest.mark.slow
COORDINATOR = """
import json, sys
from pathlib import Path
from bids_app.federated import kits, study
from bids_app.federated.coordinator import ask_sites, running
folder, admin = Path(sys.argv[1]), Path(sys.argv[2])
with running(folder / "flare", folder / "study", folder / "flare.log") as server:
    print(server.pid, flush=True)
    dropped = ask_sites(study.read_plan(folder / "plan"), folder / "study", admin, drop=sys.argv[3] == "True")
print(json.dumps(dropped))
"""
PROJECT = """api_version: 3
name: consortium
participants:
  - {{name: localhost, type: server, org: coordinator, fed_learn_port: {port}}}
  - {{name: ams, type: client, org: ams}}
  - {{name: berlin, type: client, org: berlin}}
  - {{name: cork, type: client, org: cork}}
  - {{name: lead@coordinator.org, type: admin, org: coordinator, role: lead}}
builders:
  - {{path: nvflare.lighter.impl.workspace.WorkspaceBuilder}}
  - {{path: nvflare.lighter.impl.static_file.StaticFileBuilder, args: {{config_folder: config}}}}
  - {{path: nvflare.lighter.impl.cert.CertBuilder}}
  - {{path: nvflare.lighter.impl.signature.SignatureBuilder}}
"""


@dataclass
class Consortium:
    """Provisioned kits, a folder for each side, and the plan of the coordinator."""

    simulated: Study
    kits: Path
    home: Path
    plan: study.Plan

    @contextmanager
    def clients(self, **settings: str) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
        """All sites' clients, running; settings: the digest of sites that have others."""
        with ExitStack() as stack:
            processes = {}
            for name, site in self.simulated.sites.items():
                folder = self.home / name
                digest = settings.get(name, self.plan.settings)
                study.write_site(folder / "study", site.data, settings=digest, messages=folder)
                kits.install_kit(kits.find_kit(self.kits / name, "client"), folder / "flare", site=True)
                process = running(folder / "flare", folder / "study", folder / "flare.log")
                processes[name] = stack.enter_context(process)
            yield processes

    def start_coordinator(self, *, drop: bool = False, **changes: object) -> subprocess.Popen[str]:
        """A process that runs the server and the plan; it prints the server's id, then the sites that were dropped."""
        folder = self.home / "lead"
        kits.install_kit(kits.find_kit(self.kits, "server"), folder / "flare", site=False)
        study.write_plan(folder / "plan", replace(self.plan, **changes))
        command = [sys.executable, "-c", COORDINATOR, folder, kits.find_kit(self.kits, "admin"), str(drop)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def coordinate(self, *, drop: bool = False, **changes: object) -> dict[str, str]:
        """Run the server and the plan; returns the sites that were dropped. Raises FailedError as they do."""
        output, errors = self.start_coordinator(drop=drop, **changes).communicate()
        if "FailedError: " in errors:
            raise FailedError(errors.rpartition("FailedError: ")[2])
        assert output.count("\n") > 1, errors
        return json.loads(output.splitlines()[-1])

    def messages(self, site: str) -> pd.DataFrame:
        return pd.read_csv(self.home / site / "messages.tsv", sep="\t")

    def after_round(self, number: int, act: Callable[[], None]) -> threading.Thread:
        """Act once berlin has answered round `number`."""

        def wait() -> None:
            while (
                not (self.home / "berlin" / "messages.tsv").exists() or self.messages("berlin")["round"].max() < number
            ):
                time.sleep(0.1)
            act()

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        return thread


@pytest.fixture
def consortium(tmp_path: Path) -> Consortium:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "project.yml").write_text(PROJECT.format(port=port))
    command = [Path(sys.executable).with_name("nvflare"), "provision", "-p", "project.yml", "-w", "kits", "--force"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    simulated = make_study(tmp_path / "sites")
    plan = study.Plan(
        sites=tuple(sorted(simulated.sites)),
        classes=("control", "patient"),
        classifiers=("regional",),
        steps={MAP: STEPS},
        folds=FOLDS,
        permutations=0,
        timeout=60,
        attempts=2,
        settings="digest",
        groups={MAP: simulated.groups},
    )
    return Consortium(simulated, tmp_path / "kits" / "consortium" / "prod_00", tmp_path / "run", plan)


def assert_equal_in_process(consortium: Consortium, *, without: str = "") -> None:
    """The coordinator's results are those of the same sites in this process, to 1e-12.

    Mostly to the last bit: which instructions a product of matrices takes can depend on where memory lies.
    """
    sites = {name: site for name, site in consortium.simulated.sites.items() if name != without}
    consortium.simulated.transport.sites = sites
    plan = replace(consortium.plan, sites=tuple(sites), settings="")
    study.run_plan(plan, consortium.simulated.transport, consortium.home / "in process")
    facts, arrays = study.read_results(consortium.home / "lead" / "study")
    expected_facts, expected = study.read_results(consortium.home / "in process")
    assert facts["people"] == expected_facts["people"]
    assert facts["cells"]["regional/gm"]["scores"] == expected_facts["cells"]["regional/gm"]["scores"]
    for name, array in expected.items():
        values = array.astype(float)
        assert np.abs(arrays[name] - values).max(initial=0) <= 1e-12 * np.abs(values).max(initial=0), name


def read_command(file: Path) -> str:
    """The command line of a process, empty if it has ended."""
    try:
        return file.read_bytes().decode(errors="replace")
    except OSError:
        return ""


def kill_job(client: subprocess.Popen[bytes]) -> None:
    """Kill the processes that a client started for its job."""
    for children in Path(f"/proc/{client.pid}/task").glob("*/children"):
        for child in children.read_text().split():
            os.kill(int(child), signal.SIGKILL)


def test_three_sites_with_mtls_equal_the_same_sites_in_process(consortium: Consortium):
    with consortium.clients():
        assert consortium.coordinate() == {}
    assert not [file for file in Path("/proc").glob("[0-9]*/cmdline") if str(consortium.home) in read_command(file)]
    assert_equal_in_process(consortium)
    facts, _ = study.read_results(consortium.home / "lead" / "study")
    for name in consortium.simulated.sites:
        log = consortium.messages(name)
        assert sorted(set(log["round"])) == list(range(1, facts["rounds"] + 1))
        workspace = consortium.home / name / "flare"
        assert not list(workspace.rglob("*.py"))  # the job had no code
        assert (workspace / "local" / "privacy.json").exists()


def test_a_killed_job_process_of_a_site_costs_no_round(consortium: Consortium):
    with consortium.clients() as clients:
        consortium.after_round(10, lambda: kill_job(clients["berlin"]))
        assert consortium.coordinate() == {}
    assert_equal_in_process(consortium)


def test_a_killed_client_is_dropped_and_the_others_give_the_results(consortium: Consortium):
    with consortium.clients() as clients:
        consortium.after_round(10, lambda: os.killpg(clients["cork"].pid, signal.SIGKILL))
        start = time.monotonic()
        dropped = consortium.coordinate(drop=True, timeout=10)
        print(f"{time.monotonic() - start:.0f} s, dropped: {dropped}")
    assert set(dropped) == {"cork"}
    assert_equal_in_process(consortium, without="cork")


def test_a_killed_coordinator_goes_on_from_the_round_that_was_not_answered(consortium: Consortium):
    with consortium.clients():
        with consortium.start_coordinator() as first:
            consortium.after_round(10, first.kill).join()
        assert consortium.coordinate() == {}
    assert_equal_in_process(consortium)
    asked = consortium.messages("ams").drop_duplicates(["round", "time"])["round"]
    assert asked.duplicated().sum() <= 2  # the round that was under way, perhaps across a second


@pytest.mark.parametrize("failure", ["undefined values", "other settings"])
def test_a_site_that_must_not_be_summed_stops_the_run_and_is_named(consortium: Consortium, failure: str):
    settings = {"berlin": "others"} if failure == "other settings" else {}
    if failure == "undefined values":
        consortium.simulated.sites["berlin"].data.values[MAP][:, 3] = np.nan
    message = {"undefined values": "berlin .* not finite", "other settings": "berlin .* use one settings file"}[failure]
    with consortium.clients(**settings), pytest.raises(FailedError, match=message):
        consortium.coordinate(attempts=1)
