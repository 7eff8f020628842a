"""Finding plugins: what is broken is said and kept out, and what has another shape is taken."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from framework.model.errors import NotSupported
from gateway.plugins.calls import PluginCalls
from gateway.plugins.fake.plugin import FakePlugin
from gateway.plugins.loader import GROUP, UnknownPlugin, load
from gateway.plugins.spi import Plugin, missing, needs, offers

FAKE = EntryPoint("fake", "gateway.plugins.fake.plugin:FakePlugin", GROUP)

DUCK = """
import threading
free = threading.Event()
class Duck:
    __slots__ = ("calls",)
    def __init__(self): self.calls = []
    def get_title(self): return "Duck"
    def get_versions(self): return ["1"]
    def get_configs(self, version): return []
    def get_node_processes(self, version): return {"Pond": ["duck"]}
    def configure_cluster(self, cluster): self.calls.append(("configure", cluster))
    def start_cluster(self, cluster): self.calls.append(("start", cluster))
    def scale_cluster(self, cluster, instances): raise NotImplementedError()
    scale_cluster.__not_implemented__ = True
    def recommend_configs(self, cluster, scaling=False): return {"scaling": scaling}
class Nothing:
    pass
class Explodes:
    def __init__(self): raise RuntimeError("no disk")
class Hangs(Duck):
    def get_configs(self, version): free.wait(60)
class NoConfigs(Duck):
    def get_configs(self, version): return ["depth"]
class OddConfigs(Duck):
    def get_configs(self, version): return None
class NoProcesses(Duck):
    def get_node_processes(self, version): return {"Pond": "duck"}
class NoVersions(Duck):
    def get_versions(self): return []
class Text(Duck):
    def get_versions(self): return "1.2"
class Twice(Duck):
    def get_node_processes(self, version): return {"Pond": ["duck"], "Lake": ["duck"]}
from gateway.plugins.provisioning import Config
class Astray(Duck):
    def get_configs(self, version): return [Config("depth", "Sea", "node")]
class Repeated(Duck):
    def get_configs(self, version): return [Config("depth", "Pond", "node")] * 2
class Odd(Duck):
    def get_configs(self, version): return [Config("depth", "Pond", "planet")]
class Exits(Duck):
    def __init__(self): raise SystemExit(3)
class NoLabels(Duck):
    def get_labels(self): return None
class OddLabels(Duck):
    def get_labels(self): return {"plugin_labels": {"enabled": True}}
class NoTags(Duck):
    def get_required_image_tags(self, version): return "duck"
class NoText(Duck):
    def get_title(self): return None
a_duck = Duck()
get_title = lambda: "A module"
get_versions = lambda: ["2"]
get_configs = lambda version: []
get_node_processes = lambda version: {"Pond": ["duck"]}
def configure_cluster(cluster): pass
def start_cluster(cluster): pass
"""


@pytest.fixture(scope="module", autouse=True)
def ducks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A distribution of somebody else's: the module ``ducks_of_tests``."""
    directory = tmp_path_factory.mktemp("ducks")
    (Path(directory) / "ducks_of_tests.py").write_text(DUCK)
    sys.path.insert(0, str(directory))
    yield
    sys.path.remove(str(directory))
    sys.modules.pop("ducks_of_tests", None)


def point(name: str, what: str = "") -> EntryPoint:
    return EntryPoint(name, "ducks_of_tests" + (f":{what}" if what else ""), GROUP)


def test_the_interface_says_what_a_plugin_must_have() -> None:
    required = {name for name, need in needs().items() if need == "required"}
    assert required == {
        "get_title",
        "get_versions",
        "get_configs",
        "get_node_processes",
        "configure_cluster",
        "start_cluster",
    }
    assert needs()["validate"] == "default"
    assert needs()["scale_cluster"] == "optional"
    assert set(missing(Plugin())) == required
    assert missing(FakePlugin()) == ()


def test_an_inherited_stub_is_not_offered_and_says_so_when_it_is_called() -> None:
    fake = FakePlugin()
    assert offers(fake, "scale_cluster")
    assert not offers(fake, "get_edp_engine")
    assert not offers(fake, "no_such_method")
    with pytest.raises(NotSupported, match="FakePlugin does not offer get_edp_engine"):
        fake.get_edp_engine(None, "Pig")  # type: ignore[arg-type]


@pytest.mark.parametrize("what", ["Duck", "a_duck"])
def test_a_plugin_of_the_same_shape_has_what_it_has_and_the_defaults(what: str) -> None:
    duck = load([point("duck", what)]).get("duck")
    assert duck.get_title() == "Duck"
    assert duck.get_required_image_tags("1") == ["duck", "1"]
    assert duck.get_labels()["version_labels"] == {"1": {"enabled": {"status": True}}}
    assert duck.recommend_configs(None, scaling=True) == {"scaling": True}  # type: ignore[arg-type]
    assert offers(duck, "recommend_configs")
    assert offers(duck, "configure_cluster")
    # Marked as not implemented, and left out.
    assert not offers(duck, "scale_cluster")
    assert not offers(duck, "validate_images")
    with pytest.raises(NotSupported, match="the plugin duck does not offer scale_cluster"):
        duck.scale_cluster(None, [])  # type: ignore[arg-type]


def test_a_module_may_be_a_plugin() -> None:
    assert load([point("module")]).choose("module", "2").plugin.get_title() == "A module"


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("Nothing", "lacks the required methods get_title, get_versions"),
        ("Explodes", "loading ducks_of_tests:Explodes has failed: RuntimeError: no disk"),
        ("Absent", "has failed: AttributeError"),
        ("NoVersions", "it has no versions"),
        (
            "Text",
            "get_versions returns '1.2' (Expected `array`, got `str`)",
        ),
        ("Twice", "the process duck belongs to Pond and to Lake"),
        ("Astray", "the option 'depth' is for 'Sea', which is no service"),
        ("Repeated", "the option 'depth' is there twice for Pond"),
        ("Exits", "has failed: SystemExit: 3"),
        ("NoLabels", "get_labels returns None (Expected `object`, got `null`), and should return {"),
        (
            "OddLabels",
            "get_labels returns {'plugin_labels': {'enabled': True}} (Expected `object`, got `bool`",
        ),
        (
            "NoTags",
            "version 1: get_required_image_tags returns 'duck' (Expected `array`, got `str`)",
        ),
        ("NoText", "get_title returns None (Expected `str`, got `null`), and should return a text"),
        ("NoConfigs", "version 1: get_configs returns 'depth', and should return a list of gateway."),
        ("OddConfigs", "version 1: get_configs returns None, and should return a list of gateway."),
        ("NoProcesses", "version 1: get_node_processes returns {'Pond': 'duck'} (Expected `array`"),
        ("Odd", "the option 'depth' has the scope 'planet'"),
    ],
)
def test_a_broken_plugin_is_reported_and_the_others_load(what: str, sentence: str) -> None:
    plugins = load([point("broken", what), FAKE])
    assert list(plugins.loaded) == ["fake"]
    assert sentence in plugins.broken["broken"]
    with pytest.raises(UnknownPlugin, match="'broken' could not be loaded"):
        plugins.get("broken")


def test_a_plugin_that_hangs_is_reported_and_the_others_load() -> None:
    plugins = load([point("hangs", "Hangs"), FAKE], PluginCalls(0.5))
    assert list(plugins.loaded) == ["fake"]
    assert plugins.broken == {"hangs": "loading ducks_of_tests:Hangs has not ended within 0.5 s"}
    sys.modules["ducks_of_tests"].free.set()


def test_two_plugins_of_one_name_are_both_kept_out() -> None:
    plugins = load([point("duck", "Duck"), point("duck", "Text"), point("duck", "Twice"), FAKE])
    assert list(plugins.loaded) == ["fake"]
    assert "two distributions offer it" in plugins.broken["duck"]
    # The same one, found twice on the path, is one.
    assert list(load([FAKE, FAKE]).loaded) == ["fake"]


def test_what_is_not_there_is_named_with_what_is() -> None:
    plugins = load([FAKE])
    with pytest.raises(UnknownPlugin, match="no plugin with name 'spark'; there are: fake"):
        plugins.get("spark")
    with pytest.raises(UnknownPlugin, match=r"version '9'; it has 0\.1"):
        plugins.choose("fake", "9")
    assert UnknownPlugin.code == "INVALID_REFERENCE"
