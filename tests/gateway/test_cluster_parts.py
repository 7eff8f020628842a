"""From options to what clusters are made with: networks of a file, who leads, the key of scripts."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest

from framework.model.errors import Invalid
from framework.storage import Fenced, Storage
from gateway.auth.signed import script_identity
from gateway.cluster_parts import Term, networks_of
from gateway.clusters.definitions import read_networks
from gateway.clusters.networks import Network
from gateway.dataprocessing.catalogue_file import Offers
from gateway.option_reading import parse_arguments, resolve
from gateway.options import OptionError
from gateway.store import Store

LAN = """
[[networks]]
name = "lan"
network = "10.1.0.0/24"
gateway = "10.1.0.1"
addresses = ["10.1.0.10-10.1.0.12", "10.1.0.20"]
parent = "br0"
"""


def test_networks_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "networks.toml"
    path.write_text(LAN)
    (network,) = read_networks(path)
    assert network.addresses == ("10.1.0.10", "10.1.0.11", "10.1.0.12", "10.1.0.20")
    assert (network.driver, network.parent) == ("bridge", "br0")
    other = tmp_path / "networks.json"
    other.write_text(
        '{"networks": [{"name": "lan", "network": "10.1.0.0", "netmask": "255.255.255.0"}]}'
    )
    assert read_networks(other)[0].subnet == "10.1.0.0/24"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[networks]", "networks.toml"),
        (LAN + LAN, "twice"),
        (LAN.replace('10.1.0.1"', '10.2.0.1"'), "subnet"),
        (LAN + "adresses = []", "adresses"),
        ("[[networks]]\nname = 'x'", "network"),
    ],
)
def test_a_file_that_is_wrong_says_where(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "networks.toml"
    path.write_text(text)
    with pytest.raises(Invalid, match=re.escape(says)):
        read_networks(path)
    with pytest.raises(Invalid, match="absent"):
        read_networks(tmp_path / "absent.toml")


def test_networks_of_both_files_are_apart(tmp_path: Path) -> None:
    path = tmp_path / "networks.toml"
    path.write_text(LAN)
    data = Network("data", "10.2.0.0/24")
    assert [n.name for n in networks_of(path, Offers(networks=(data,)))] == ["lan", "data"]
    assert networks_of(None, Offers(networks=(data,))) == (data,)
    with pytest.raises(Invalid, match="lan stands in --networks and in --catalogue"):
        networks_of(path, Offers(networks=(Network("lan", "10.2.0.0/24"),)))
    with pytest.raises(
        Invalid, match=r"network data: its subnet 10\.1\.0\.0/16 overlaps 10\.1\.0\.0/24"
    ):
        networks_of(path, Offers(networks=(Network("data", "10.1.0.0/16"),)))
    path.write_text(LAN + LAN.replace("lan", "other"))
    with pytest.raises(Invalid, match="--networks and --catalogue: network other: its subnet"):
        networks_of(path, Offers())


class Led:
    """A scheduler, as far as its epoch goes."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def status(self) -> Any:
        return self


def test_who_leads_makes_the_key_once_and_stores_the_networks(tmp_path: Path) -> None:
    url = str(tmp_path / "state.db")
    storage = Storage(url)
    path = tmp_path / "networks.toml"
    path.write_text(LAN)
    networks = read_networks(path)

    def term(epoch: int) -> tuple[Term, Store]:
        store = Store(url)
        led: Any = Led(epoch)
        made = Term(store, led, networks)
        store.fence = made.epoch
        return made, store

    first, store = term(storage.claim_epoch())
    assert first() == 1
    assert [network.name for network in store.networks.list()] == ["lan"]
    key = first.script_key
    assert key
    second, other = term(storage.claim_epoch())
    assert second() == 2
    assert second.script_key == key
    cluster: Any = type("Cluster", (), {"key": "clusters/u/p/1/1"})
    token = second.sign(cluster, 60)
    assert script_identity(token, key).cluster == "clusters/u/p/1/1"
    # Who was the leader cannot write any more.
    with pytest.raises(Fenced):
        store.secrets.put("", "x", "y")
    nobody, third = term(0)
    assert nobody() is None
    # So are revoked ones: at its next turn to who does not lead, at its first to who leads next.
    other.revocations.add("t", time.time() + 60)
    assert "t" not in nobody.revoked
    nobody()
    assert "t" in nobody.revoked
    next_one, fourth = term(storage.claim_epoch())
    next_one()
    assert "t" in next_one.revoked
    with pytest.raises(Fenced):
        other.revocations.add("u", time.time() + 60)
    assert "u" not in other.revocations
    # The scripts' tokens are known to all replicas; only who leads makes the key.
    assert nobody.script_key == key
    for one in (store, other, third, fourth, storage):
        one.close()


def options(*words: str) -> Any:
    return resolve(parse_arguments(words), {})


def test_options() -> None:
    found = options("--orchestrator-uids=70000-70009", "--registry=consul://consul.example:8500")
    assert found.orchestrator_uids == range(70000, 70010)
    assert found.registry == "consul://consul.example:8500"
    assert options("--registry=internal").registry == "internal"
    for word in (
        "--orchestrator-uids=0-10",
        "--orchestrator-uids=5-4",
        "--orchestrator-uids=70000",
        "--orchestrator-isolation=some",
        "--registry=http://x:1",
        "--registry=consul://",
        "--registry=consul://x/path",
        "--jwt-algorithm=none",
        "--networks=/nonexistent",
        "--cluster-timeout=0",
    ):
        with pytest.raises(OptionError, match=word.partition("=")[0]):
            options(word)
