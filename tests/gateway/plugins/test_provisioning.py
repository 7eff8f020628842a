"""Options and their values; the fake plugin, beside what was recorded of Sahara's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.plugins.exceptions import InvalidComponentCount, InvalidValue, PluginError
from gateway.plugins.fake.plugin import FAULTS, FakePlugin
from gateway.plugins.provisioning import GENERAL, Config, defaults, merged, settled
from tests.gateway.plugins.world import group, request, view_of

OPTIONS = (
    Config("heap", "HDFS", "node", "int", default_value=100),
    Config("safe", "HDFS", "cluster", "bool", default_value=True),
    Config("path", "HDFS", "cluster"),
    Config("mode", "general", "cluster", "dropdown", (("a", "A"), ("b", "B")), "a"),
)


def test_the_fake_plugin_says_what_saharas_says(shared: Path) -> None:
    recorded = json.loads((shared / "data" / "sahara" / "plugins.json").read_text())
    (found,) = [r for r in recorded if r["label"] == "plugins.get_version"]
    said = found["response"]["body"]["plugin"]
    fake = FakePlugin()
    fake.name = "fake"
    own = [config for config in fake.get_configs("0.1") if config not in FAULTS]
    assert [config.to_dict() for config in (*GENERAL, *own)] == said["configs"]
    assert fake.get_node_processes("0.1") == said["node_processes"]
    assert fake.get_required_image_tags("0.1") == said["required_image_tags"]
    assert (fake.get_title(), fake.get_description()) == (said["title"], said["description"])
    assert fake.get_versions() == said["versions"]
    labels = fake.get_labels()
    assert set(labels["plugin_labels"]) == set(said["plugin_labels"])
    assert set(labels["version_labels"]["0.1"]) == set(said["version_labels"]["0.1"])


def test_the_fake_plugin_fails_where_it_is_told_to() -> None:
    asked = request(
        ("fake", "0.1"), [(group("m", ["namenode"]), 1)], {"general": {"Fail at": "start_cluster"}}
    )
    fake, view = FakePlugin(), view_of(asked)
    fake.configure_cluster(view)
    with pytest.raises(PluginError, match="start_cluster fails, as the option 'Fail at'"):
        fake.start_cluster(view)
    with pytest.raises(InvalidComponentCount, match="Actual m count is -1"):
        fake.validate_scaling(view, {"id-of-m": -1}, {})


def test_later_layers_of_options_win() -> None:
    assert defaults(OPTIONS) == {"HDFS": {"heap": 100, "safe": True}, "general": {"mode": "a"}}
    layers = ({"HDFS": {"a": 1, "b": 1}}, {"HDFS": {"b": 2}, "YARN": {"c": 3}})
    assert merged(*layers) == {"HDFS": {"a": 1, "b": 2}, "YARN": {"c": 3}}


def test_values_have_their_types_and_what_is_not_given_its_default() -> None:
    given: dict[str, dict[str, Any]] = {
        "HDFS": {"heap": "250", "safe": "False", "path": 7},
        "general": {"mode": "b"},
    }
    assert settled(OPTIONS, given) == {
        "HDFS": {"heap": 250, "safe": False, "path": "7"},
        "general": {"mode": "b"},
    }
    assert settled(OPTIONS, {})["HDFS"] == {"heap": 100, "safe": True, "path": None}


@pytest.mark.parametrize(
    ("target", "name", "value", "sentence"),
    [
        ("HDFS", "heap", "much", "'heap' of HDFS cannot be 'much': it should be a whole number"),
        ("HDFS", "heap", True, "cannot be True"),
        ("HDFS", "heap", 1.5, "a whole number"),
        ("HDFS", "safe", "perhaps", "true or false"),
        ("HDFS", "path", ["a"], "a text"),
        ("general", "mode", "c", "one of a, b"),
    ],
)
def test_a_value_of_another_type_is_refused(
    target: str, name: str, value: object, sentence: str
) -> None:
    with pytest.raises(InvalidValue, match=sentence):
        settled(OPTIONS, {target: {name: value}})
