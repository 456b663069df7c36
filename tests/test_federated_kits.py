"""The copy of a startup kit that a site runs: what NVIDIA FLARE's own policy allows a coordinator to do there."""

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from nvflare.fuel.sec.authz import AuthzContext, Person
from nvflare.security.security import COMMAND_CATEGORIES, FLAuthorizer

from bids_app.errors import MissingInputError
from bids_app.federated import kits

PROJECT = """api_version: 3
name: consortium
participants:
  - {name: localhost, type: server, org: coordinator, fed_learn_port: 8002}
  - {name: ams, type: client, org: ams}
  - {name: lead@coordinator.org, type: admin, org: coordinator, role: lead}
  - {name: owner@coordinator.org, type: admin, org: coordinator, role: project_admin}
builders:
  - {path: nvflare.lighter.impl.workspace.WorkspaceBuilder}
  - {path: nvflare.lighter.impl.static_file.StaticFileBuilder, args: {config_folder: config}}
  - {path: nvflare.lighter.impl.cert.CertBuilder}
  - {path: nvflare.lighter.impl.signature.SignatureBuilder}
"""


@pytest.fixture(scope="module")
def provisioned(tmp_path_factory):
    """The folder of provisioned kits."""
    folder = tmp_path_factory.mktemp("kits")
    (folder / "project.yml").write_text(PROJECT)
    command = [Path(sys.executable).with_name("nvflare"), "provision", "-p", "project.yml", "-w", "kits", "--force"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "kits" / "consortium" / "prod_00"


@pytest.fixture(scope="module")
def site(provisioned, tmp_path_factory):
    """The workspace of a site, and the kit as provisioned."""
    workspace = tmp_path_factory.mktemp("site") / "flare"
    kits.install_kit(provisioned / "ams", workspace, site=True)
    return workspace, provisioned / "ams"


def allows(policy: dict, right: str, role: str) -> bool:
    """Whether FLARE lets a user of the coordinator with this role do something at the site `ams`."""
    authorizer = FLAuthorizer("ams", policy)
    assert authorizer.load_policy(policy) == ""
    user = Person("someone@coordinator.org", "coordinator", role)
    return authorizer.evaluate(AuthzContext(right=right, user=user, submitter=user))[0]


@pytest.mark.parametrize("role", ["project_admin", "org_admin", "lead", "member"])
def test_nobody_may_send_code_or_shell_commands_to_a_site(site, role):
    policy = json.loads((site[0] / "local" / "authorization.json").read_text())
    shell = [command for command, category in COMMAND_CATEGORIES.items() if category == "shell_commands"]
    assert shell
    assert not any(allows(policy, right, role) for right in ["byoc", *shell])


def test_as_provisioned_a_project_admin_could_send_both(site):
    policy = json.loads((site[1] / "local" / "authorization.json.default").read_text())
    shell = [command for command, category in COMMAND_CATEGORIES.items() if category == "shell_commands"]
    assert all(allows(policy, right, "project_admin") for right in ["byoc", *shell])


def test_a_site_sends_no_logs_names_its_filter_and_can_be_read_by_its_user_only(site):
    workspace, kit = site
    resources = json.loads((workspace / "local" / "resources.json").read_text())
    assert resources["allow_log_streaming"] is False
    assert resources["class_allow_list"] == ["bids_app.federated.flare"]
    assert not [part for part in resources["components"] if "log" in part["id"]]
    privacy = json.loads((workspace / "local" / "privacy.json").read_text())
    (scope,) = privacy["scopes"]
    assert scope["name"] == privacy["default_scope"]
    assert scope["task_result_filters"][0]["path"] == "bids_app.federated.flare.OutgoingAnswers"
    assert stat.S_IMODE(workspace.stat().st_mode) == 0o700
    assert not (kit / "local" / "privacy.json").exists()  # the kit itself is not changed


def test_a_folder_without_a_kit_of_the_kind_is_named(provisioned, tmp_path):
    with pytest.raises(MissingInputError, match="no startup kits of a client"):
        kits.find_kit(tmp_path, "client")
    assert kits.find_kit(provisioned, "server").name == "localhost"
