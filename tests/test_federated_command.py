"""What `--federated` refuses before anything is computed, and what it says."""

from pathlib import Path

import pytest
from invented_sites import write_sites

from bids_app.errors import MissingInputError
from bids_app.federated import kits
from bids_app.planning import federated
from bids_app.run import main


@pytest.fixture(scope="module")
def site(tmp_path_factory, invented_gm):
    """The arguments of a small site."""
    home = tmp_path_factory.mktemp("site")
    write_sites(home, invented_gm, people={"ams": (4, 4)})
    folder = home / "ams"
    return [str(folder / "bids"), str(folder / "out"), "group", "--config-file", str(folder / "settings.toml")]


def make_kit(folder: Path, kind: str) -> None:
    (folder / "startup").mkdir(parents=True)
    (folder / "startup" / kits.KINDS[kind]).write_text("{}")


def test_without_the_engine_one_message_says_how_to_install_it(site, capfd, monkeypatch):
    monkeypatch.setattr(federated, "ENGINE", "an_engine_that_is_not_installed")
    assert main([*site, "--federated", "site", "--kit", "kit"]) == 64
    message = capfd.readouterr().err
    assert "pip install 'pellucid[federated]'" in message
    assert "Traceback" not in message


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ([], 64, "requires --kit DIR"),
        (["--kit", "nowhere"], 66, "no startup kits of a client are there"),
        (["--kit", "k", "--maps-from", "NORTH=n"], 64, "cannot be combined with --maps-from"),
        (["--kit", "k", "--power", "20"], 64, "cannot be combined with --power"),
        (["--kit", "k", "--classifiers", "svm"], 64, "svm cannot be trained by sums over sites"),
        (["--kit", "k", "--leave-site-out"], 64, "--leave-site-out is not available with --federated"),
        (["--kit", "k", "--covariates", "site"], 64, "cannot adjust for site"),
        (["--kit", "k", "--on-site-failure", "wait"], 64, "choose from stop, drop"),
    ],
)
def test_what_cannot_be_done_is_refused_with_what_to_do(site, capfd, options, code, message):
    assert main([*site, "--federated", "site", *options]) == code
    assert message in capfd.readouterr().err


def test_a_kit_is_the_folder_or_one_below_it_and_never_one_of_several(tmp_path):
    make_kit(tmp_path / "prod" / "ams", "client")
    make_kit(tmp_path / "prod" / "server", "server")
    assert kits.find_kit(tmp_path / "prod", "client") == tmp_path / "prod" / "ams"
    assert kits.find_kit(tmp_path / "prod" / "ams", "client") == tmp_path / "prod" / "ams"
    make_kit(tmp_path / "prod" / "berlin", "client")
    with pytest.raises(MissingInputError, match="2 startup kits of a client are there"):
        kits.find_kit(tmp_path / "prod", "client")
