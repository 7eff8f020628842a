"""Options of products: read, and merged with what a user gives."""

from __future__ import annotations

from typing import Any

import pytest

from framework.model.errors import GatewayError, Invalid
from gateway.clusters.options import merge, read_options, sample
from gateway.clusters.products import (
    ProductOptions,
    check_names,
    check_orchestrator,
    check_texts,
    kind_of_script,
    template_type_of,
)

GLUSTER = ProductOptions(
    required={"slaves.number": 4},
    optional={"slaves.cpu": 2, "slaves.mem": 2048, "ratio": 0.5, "debug": False, "tags": ["a"]},
    advanced={"datanode.heap": 1024, "name": "x", "any": None},
    descriptions={"slaves.number": "Number of slave nodes"},
)


def test_defaults_are_filled_in() -> None:
    merged = merge(GLUSTER, {"slaves.number": 3, "name": "y"})
    assert merged["slaves.number"] == 3
    assert (merged["slaves.cpu"], merged["datanode.heap"], merged["name"]) == (2, 1024, "y")
    assert merge(ProductOptions(), {}) == {}
    assert sample(GLUSTER)["slaves.number"] == 4


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("slaves.number", "2", 2),
        ("slaves.number", " 2 ", 2),
        ("slaves.number", 2.0, 2),
        ("ratio", "0.25", 0.25),
        ("ratio", 1, 1),
        ("debug", "true", True),
        ("any", [1], [1]),
        ("tags", [], []),
    ],
)
def test_a_value_is_taken_as_its_default_is(name: str, given: Any, value: Any) -> None:
    merged = merge(GLUSTER, {"slaves.number": 1, name: given})
    assert merged[name] == value
    assert type(merged[name]) is type(value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "slaves.number: this option is required (Number of slave nodes), for example 4"),
        ({"slaves.number": "two"}, "slaves.number: expects a whole number (such as 4), not 'two'"),
        ({"slaves.number": 2.5}, "slaves.number: expects a whole number (such as 4), not 2.5"),
        ({"slaves.number": True}, "slaves.number: expects a number (such as 4), not True"),
        ({"slaves.number": "9" * 50}, "slaves.number: expects a whole number"),
        ({"slaves.number": 1, "ratio": "1e999"}, "ratio: expects a number (such as 0.5), not '1e999'"),
        ({"slaves.number": 1, "ratio": "nan"}, "ratio: expects a number (such as 0.5), not 'nan'"),
        ({"slaves.number": 1, "name": 3}, "name: expects a text (such as 'x'), not 3"),
        ({"slaves.number": 1, "slaves.cpus": 3}, "slaves.cpus: the product has no such option; did you"),
        ([], "options: expects an object"),
        (None, "options: expects an object"),
    ],
)
def test_each_wrong_option_has_a_sentence(given: Any, said: str) -> None:
    with pytest.raises(Invalid) as caught:
        merge(GLUSTER, given)
    assert len(caught.value.messages) == 1
    assert caught.value.messages[0].startswith(said), caught.value.messages


def test_all_wrong_options_are_told_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        merge(GLUSTER, {"x": 1, "ratio": [], "name": None})
    assert len(caught.value.messages) == 4


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "options: expects an object"),
        ({"requird": {}}, "options: there is no section 'requird'; did you mean 'required'?"),
        ({"required": []}, "options.required: expects an object, not a list"),
        (
            {"required": {"a": 1}, "optional": {"a": 2}},
            "options.optional.a: the option stands in required",
        ),
        ({"required": {"": 1}}, "options.required: '' is not a name"),
        ({"descriptions": {"a": "x"}}, "options.descriptions.a: there is no option of this name"),
        ({"required": {"a": 1}, "descriptions": {"a": 1}}, "options.descriptions.a: expects a text"),
    ],
)
def test_options_that_cannot_be_are_refused(document: Any, said: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_options(document)
    assert caught.value.messages[0].startswith(said)


def test_options_are_read() -> None:
    document = {"required": {"size": 2}, "descriptions": {"size": "Number of nodes"}, "advanced": None}
    assert read_options(document) == ProductOptions(
        required={"size": 2}, descriptions={"size": "Number of nodes"}
    )


def test_names_of_products_can_stand_in_urls_and_jobs() -> None:
    check_names("cdh", "5.7.0")
    for name, version in [
        ("a/b", "1"),
        ("..", "1"),
        ("a--b", "1"),
        ("a", "1__0"),
        ("", "1"),
        ("x" * 101, "1"),
    ]:
        with pytest.raises(Invalid, match="product"):
            check_names(name, version)
    check_texts("what it is", "https://example.org/logo.png")
    with pytest.raises(Invalid, match="logo_url"):
        check_texts("", "javascript:alert(1)")
    with pytest.raises(Invalid, match="description"):
        check_texts("a\0b", "")


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [
        ("application/json", "json+jinja2"),
        ("application/yaml; charset=utf-8", "yaml+jinja2"),
        ("text/x-yaml", "yaml+jinja2"),
        ("", "json+jinja2"),
    ],
)
def test_the_content_type_says_what_a_template_renders_to(content_type: str, kind: str) -> None:
    assert template_type_of(content_type) == kind


FABFILE = "#!/usr/bin/env python\nfrom fabric import task\n\n@task\ndef start(c):\n    pass\n"


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (FABFILE, "fabfile"),
        ("def start():\n    pass\n", "fabfile"),
        ("#!/bin/sh\necho $1\n", "program"),
        ("#!/usr/bin/env python3\nimport sys\nprint(sys.argv[1])\n", "program"),
        (
            "#!/usr/bin/python3\ndef start():\n    pass\nif __name__ == '__main__':\n    start()\n",
            "program",
        ),
    ],
)
def test_a_script_is_a_fabfile_or_a_program(script: str, kind: str) -> None:
    check_orchestrator(script)
    assert kind_of_script(script) == kind


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("", "is empty"),
        ("a\0", "NUL"),
        ("def start(:\n", "orchestrator line 1: invalid syntax"),
        ("\n\nprint 'x'\n", "orchestrator line 3: .*Python 2"),
        ("import os\n", "defines no task `start`"),
        (
            "import os\nfrom fabric.api import *\ndef start(): pass\n",
            "line 2: fabric.api belongs to Fabric 1",
        ),
        ("#" * 300_000, "at most 262144"),
        ("(" * 5000, "orchestrator"),
    ],
)
def test_a_script_that_cannot_run_is_refused(script: str, said: str) -> None:
    with pytest.raises(GatewayError, match=said):
        check_orchestrator(script)
