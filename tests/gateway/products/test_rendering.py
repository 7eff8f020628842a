"""Templates of products: rendered within bounds, and what is said about wrong ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from framework.model.errors import GatewayError, Invalid, TooLarge
from gateway.clusters.products import Product, ProductOptions
from gateway.clusters.rendering import Renderer, RenderLimits, cluster_id_of, render_text
from gateway.jobs.sandbox import evaluation_workers

TEMPLATE = """{% set comma = joiner(",") %}
{
  "dnsname": "{{ clusterid }}",
  "nodes": {
      {% for n in range(0, opts['size']) %}
      {{ comma() }} "slave{{ n }}": {"docker_image": "", "cpu": {{ opts['cpu'] }}, "mem": 64}
      {% endfor %}
  },
  "services": {"s": {"nodes": ["slave0"], "of": "{{ user }} {{ product }} {{ clusterdn }}"}}
}
"""
YAML = """
nodes:
  {% for n in range(opts.size) %}
  slave{{ n }}: {cpu: {{ opts.cpu }}, mem: 64}
  {% endfor %}
"""
PRODUCT = Product(
    "reference",
    "1.0.0",
    template=TEMPLATE,
    options=ProductOptions(required={"size": 2}, optional={"cpu": 0.1}),
)


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    with evaluation_workers(2) as workers:
        yield Renderer(workers)


def product(**fields: Any) -> Product:
    return msgspec.structs.replace(PRODUCT, **fields)


def test_a_template_renders_to_a_cluster(renderer: Renderer) -> None:
    dn = "clusters/joe/reference/1.0.0/7"
    document = renderer.render(PRODUCT, {"size": "3"}, user="joe", dn=dn)
    assert document.dnsname == "clusters--joe--reference--1__0__0--7" == cluster_id_of(dn)
    assert [node.name for node in document.nodes] == ["slave0", "slave1", "slave2"]
    assert document.services[0].properties == {"of": f"joe reference {dn}"}
    assert document.nodes[0].spec.cpus == 0.1


def test_a_template_may_be_yaml(renderer: Renderer) -> None:
    yaml = product(template=YAML, template_type="yaml+jinja2")
    assert len(renderer.render(yaml, {"size": 2}, user="joe", dn="clusters/u/p/v/1").nodes) == 2


def test_wrong_options_are_told_before_anything_is_rendered(renderer: Renderer) -> None:
    with pytest.raises(Invalid, match="size: this option is required"):
        renderer.render(PRODUCT, {}, user="joe", dn="clusters/u/p/v/1")


def test_a_product_without_a_template_launches_nothing(renderer: Renderer) -> None:
    with pytest.raises(Invalid, match="has no template yet"):
        renderer.render(product(template=""), {"size": 1}, user="joe", dn="clusters/u/p/v/1")


def test_a_template_and_its_options_may_come_in_any_order(renderer: Renderer) -> None:
    renderer.check(PRODUCT)
    renderer.check(product(options=ProductOptions()))  # the options come later
    renderer.check(product(template=""))  # the template comes later
    image = '{"nodes": {"a": {"cpu": 1, "mem": 64, "docker_image": {{ opts.image | tojson }}}}}'
    renderer.check(product(template=image, options=ProductOptions()))
    with pytest.raises(Invalid, match="template line 5: there is no option 'size'"):
        renderer.check(product(options=ProductOptions(optional={"cpu": 1})))
    with pytest.raises(Invalid, match="template line 5: there is no option 'size'"):
        renderer.check(product(options=ProductOptions()), has_options=True)
    with pytest.raises(Invalid, match="template line 2"):
        renderer.check(product(template="{\n{{ 1 + }}\n}", options=ProductOptions()))


def test_a_scripts_syntax_is_checked_in_a_worker(renderer: Renderer) -> None:
    renderer.check_orchestrator("def start(c):\n    pass\n")
    with pytest.raises(Invalid, match="orchestrator line 1"):
        renderer.check_orchestrator("def start(c:\n")


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("\n{{ opts['sise'] }}", "template line 2: there is no option 'sise'; did you mean 'size'?"),
        ("\n{{ opts.sise + 1 }}", "template line 2: there is no option 'sise'; did you mean 'size'?"),
        ("\n{{ opts.sise | tojson }}", "template line 2: there is no option 'sise'; did you mean"),
        ("{{ [1, opts.sise] | tojson }}", "template line 1: there is no option 'sise'; did you mean"),
        ("{{ opts.sise | round }}", "template line 1: there is no option 'sise'; did you mean"),
        ("{{ range | tojson }}", "template line 1: a value of the type method cannot be"),
        ("{{ nobody }}", "template line 1: 'nobody' is not defined; there are opts, user"),
        ("\n{% if %}", "template line 2: "),
        ("\n\n{% include 'x' %}", "template line 3: include is not possible"),
        ("{% extends 'x' %}", "template line 1: extends is not possible"),
        ("{% import 'x' as y %}", "template line 1: import is not possible"),
        ("{% from 'x' import y %}", "template line 1: from is not possible"),
        ("\n{{ ''.__class__.__mro__ }}", "template line 2: access to attribute '__class__'"),
        ("{{ opts.update({'size': 9}) }}", "template line 1: "),
        ("{{ 1 / 0 }}", "template line 1: division by zero"),
        ("{{ 'a' * 9000000 }}", "template line 1: 1 * 9000000 is too long"),
        ("{{ [1] * 20000 }}", "template line 1: 1 * 20000 is too long"),
        ("{{ 9 ** 99999 }}", "template line 1: a number of "),
        ("{{ '%999999999d' % 1 }}", "template line 1: a text of this width"),
        ("{{ '%*d' % (99999999, 1) }}", "template line 1: a text of this width"),
        ("{{ range(99999) | list }}", "template line 1: a range of 99999 numbers"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "the template is nested too deeply"),
        ("{% for i in range(9999) %}{{ 'a' * 999 }}{% endfor %}", "the template renders to more than"),
        ('{"nodes": {},}', "the rendered template, line 1, column 14: this is not valid JSON"),
        ('{"nodes": {}, "nodes": {}}', "the rendered template: the key 'nodes' stands twice"),
        ('{"nodes": {"a": {"cpu": NaN}}}', "the rendered template: NaN is not JSON"),
        ("[" * 5000, "the rendered template: the JSON document is nested too deeply"),
        ('{"nodes": {"a": {"cpu": {{ opts.size }}}}}', "nodes.a.mem: is missing"),
    ],
)  # fmt: skip
def test_a_wrong_template_is_told_with_its_line(renderer: Renderer, template: str, said: str) -> None:
    with pytest.raises(Invalid) as caught:
        renderer.check(product(template=template))
    assert caught.value.messages[0].startswith(said), caught.value.messages


BOMB = "\n".join(
    ["a: &a [x,x,x,x,x,x,x,x,x,x]"]
    + [f"{n}: &{n} [{','.join([f'*{p}'] * 10)}]" for p, n in zip("abcdef", "bcdefg", strict=True)]
)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (BOMB, "more than 100000 values, its aliases written out"),
        ("a: &a [*a]", "levels of nesting"),
        ("a: 1\na: 2", "line 2, column 1: the key 'a' stands twice"),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
        ("nodes: {1: {}}", "the key 1 is not a text; put it in quotes"),
        ("dnsname: 2001-01-01", "neither a text, a number"),
        ("nodes: {a: {cpu: .inf, mem: 64}}", "infinity and NaN"),
        ("nodes:\n  a: {cpu: 1", "line 3, column 1: this is not valid YAML"),
        ("# nothing", "expects an object"),
        ("a: b\n---\nc: d", "YAML"),
    ],
)
def test_wrong_yaml_is_told_with_its_line(renderer: Renderer, template: str, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        renderer.check(product(template=template, template_type="yaml+jinja2"))


def test_a_template_that_is_too_large_is_not_read(renderer: Renderer) -> None:
    with pytest.raises(TooLarge, match="65536"):
        renderer.check(product(template=" " * 70_000))


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}",
        "{% set ns = namespace(t='aaaaaaaaaa') %}{% for i in range(60) %}"
        "{% set ns.t = ns.t ~ ns.t %}{% endfor %}",
        "{{ 'x' | center(9999999999) }}",
    ],
)
def test_a_template_that_takes_too_much_ends_with_its_worker(template: str) -> None:
    limits = RenderLimits(seconds=1.0)
    with (
        evaluation_workers(1) as workers,
        pytest.raises(GatewayError, match=r"the template (took|needed)"),
    ):
        Renderer(workers, limits).check(product(template=template))


def test_rendering_itself_leaves_the_users_values_alone() -> None:
    opts = {"size": 1}
    assert render_text("{{ opts.size + 1 }}%", {"opts": opts}) == "2%"
    assert opts == {"size": 1}
