"""The language means what Python and pystachio make of it.

Each text of :mod:`.texts` is run twice: by the interpreter, and by Python itself (``exec``, in this test
only) over the same schema; pystachio's own interpolation of those jobs must equal our rendering.
"""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import Any

import pystachio
import pytest
from pystachio import Empty

from gateway.jobs import helpers, read_jobs, schema
from gateway.jobs.coercion import Notes
from gateway.jobs.reading import _STANDARD, JobList
from tests.gateway.jobs import texts

_ALIASED = {"update_config": Empty, "instances": Empty}
BINDINGS = {"tag": "v7", "stop_file": "/tmp/stop", "term_file": "/tmp/term", "appc_image_id": "sha512-0"}


def read(text: str, **bindings: str) -> JobList:
    return read_jobs(text.encode(), user="vagrant", bindings={"tag": "v7", **bindings})


class _Tasks:
    combine = staticmethod(lambda *t, **k: helpers.combine(Notes(), *t, **k))
    concat = staticmethod(lambda *t, **k: helpers.concat(Notes(), *t, **k))


def run_by_python(text: str) -> list[Any]:
    """The jobs that Python makes of the text."""
    names: dict[str, Any] = {
        **vars(pystachio),
        **{k: v for k, v in vars(schema).items() if not k.startswith("_")},
        "order": helpers.order,
        "SimpleTask": lambda *a: helpers.simple_task(Notes(), *a),
        "SequentialTask": lambda *a, **k: helpers.sequential(schema.Task(*a, **k)),
        "Tasks": _Tasks,
        "java_options": helpers.options("-"),
        "python_options": helpers.options("--"),
    }
    exec(text, names)
    jobs: list[Any] = names["jobs"]
    return jobs


def by_pystachio(job: Any, bindings: dict[str, str]) -> dict[str, Any]:
    """A job as pystachio itself interpolates it, without what an update alone needs."""
    interpolated, _ = job.bind(bindings).bind(_STANDARD).interpolate()
    result: dict[str, Any] = json.loads(json.dumps(interpolated(**_ALIASED).get()))
    return result


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
@pytest.mark.parametrize("name", sorted(texts.ALL))
def test_a_text_means_what_python_makes_of_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "vagrant")
    monkeypatch.setenv("USER", "vagrant")
    monkeypatch.delenv("REGION", raising=False)
    specs = read(texts.ALL[name])
    assert not specs.refused
    theirs = [by_pystachio(job, {"tag": "v7"}) for job in run_by_python(texts.ALL[name])]
    assert [json.loads(spec.config.executor_data) for spec in specs] == theirs


def test_recorded_texts_too(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "vagrant")
    compared = 0
    for path in sorted((shared / "data/aurora-jobs").glob("*.aurora")):
        specs = read_jobs(path.read_bytes(), user="vagrant", bindings=BINDINGS)
        theirs = [by_pystachio(job, BINDINGS) for job in run_by_python(path.read_text())]
        usable = [job for job in theirs if "{{docker.image" not in json.dumps(job)]
        assert [json.loads(spec.config.executor_data) for spec in specs] == usable
        compared += len(usable)
    assert compared == 41


def test_loops_and_helpers() -> None:
    specs = read(texts.LOOP)
    assert [(s.key.name, s.instances, s.config.resources.cpus, s.config.priority) for s in specs] == [
        ("web", 1, 0.5, 0),
        ("api", 2, 1.0, 0),
        ("worker0", 1, 0.5, 0),
        ("worker1", 1, 0.5, 1),
        ("extra", 1, 0.5, 0),
    ]
    assert specs[0].config.resources.ports == ("http",)
    assert specs[-1].config.tier == "preferred"


def test_update_strategies_work_where_auroras_client_crashed() -> None:
    queue, batch, variable = (spec.update for spec in read(texts.UPDATES))
    assert (queue.strategy, queue.group_sizes) == ("queue", (3,))
    assert (batch.strategy, batch.group_sizes, batch.autopause_after_batch) == ("batch", (4,), True)
    assert (variable.strategy, variable.group_sizes) == ("variable_batch", (1, 2, 3))
    assert {u.watch_secs for u in (queue, batch, variable)} == {5}
    assert {u.max_failed_instances for u in (queue, batch, variable)} == {2}


def test_combined_tasks_keep_the_order_of_their_processes() -> None:
    (spec,) = read(texts.COMBINED)
    task = json.loads(spec.config.executor_data)["task"]
    assert [process["name"] for process in task["processes"]] == ["fetch", "unpack", "serve"]
    assert [c["order"] for c in task["constraints"]] == [
        ["fetch", "unpack"],
        ["fetch", "serve"],
        ["unpack", "serve"],
    ]
    assert (spec.config.resources.cpus, spec.config.resources.mem_mb) == (1.0, 256)
    assert spec.config.resources.ports == ("http",)


def test_every_field_arrives() -> None:
    (spec,) = read(texts.CHECKED)
    config = spec.config
    assert [str(c) for c in config.constraints] == [
        "dedicated=www-data/web",
        "host=limit:1",
        "rack=!r1,r2",
    ]
    assert config.metadata == (("a", "b"), ("team", "www-data"))
    assert config.contact == "www-data@devcluster.example.com"
    assert config.partition_policy is not None
    assert config.partition_policy.delay_secs == 60


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("'%s-%5.1f|%-4d|%(x)s'.replace('%(x)s', '!') % ('a', 2.25, 7)", "a-  2.2|7   |!"),
        ("'%(a)s %(b)03d %%' % {'a': 1, 'b': 2}", "1 002 %"),
        ("'{} {1}'.replace('{1}', '{}').format('a', 5)", "a 5"),
        ("'{name:>6}|{0!r}'.format('x', name='ab')", "    ab|'x'"),
        ("f'{1 + 1:03d}{\"q\"!r}'", "002'q'"),
        ("str([1, 'a', (2,), {'k': None}])", "[1, 'a', (2,), {'k': None}]"),
        ("','.join(x.strip() for x in ' a ; b '.split(';'))", "a,b"),
        ("'abc'[::-1] + 'abc'[1:] + 'abc'[-1]", "cbabcc"),
        ("str(7 // 2) + str(7 / 2) + str(-7 % 3) + str(2 - 3)", "33.52-1"),
        ("str(sorted({3, 1, 2}, reverse=True)) + str(sum([1, 2.5]))", "[3, 2, 1]3.5"),
        ("'y' if 1 < 2 <= 2 != 3 and 'a' in 'cat' and 4 not in [1] else 'n'", "y"),
        ("str({k: v for v, k in enumerate('ab')}) + str({1 for x in range(3)})", "{'a': 0, 'b': 1}{1}"),
        ("str(None or [] or 0) + str([] and 1) + str(not 0)", "0[]True"),
        (
            "str(list(zip([1, 2], 'ab'))) + str(min(3, 2)) + str(round(2.567, 1))",
            "[(1, 'a'), (2, 'b')]22.6",
        ),
        ("str(Process(name='p', cmdline='c').name()) + str(Process(name='p').has_cmdline())", "pFalse"),
        ("str(Resources(cpu=1, ram=2, disk=3).get()['ram'])", "2"),
        ("str([len(x) for x in ['a', 'bc'] if x]) + str([*[1], *(2, 3)])", "[1, 2][1, 2, 3]"),
        ('\'a\' \'b\' + """c\nd"""', "abc\nd"),
        ("String('{{x}}').bind(x=3).get()", "3"),
    ],
)
def test_expressions(expression: str, value: str) -> None:
    text = f"text = {expression}\njobs = [Job(name='n', cluster='c', role='r', environment='e', "
    text += "task=SimpleTask('t', text))]"
    (spec,) = read(text)
    assert json.loads(spec.config.executor_data)["task"]["processes"][0]["cmdline"] == value


def test_a_literal_reference_survives_until_the_executor_fills_in() -> None:
    text = (
        "jobs = [Job(name='n', cluster='c', role='r', environment='e', task=SimpleTask('t', '{{&x}}'))]"
    )
    (spec,) = read(text)
    assert '"cmdline":"{{&x}}"' in spec.config.executor_data


def test_names_of_the_model_may_be_imported() -> None:
    text = "from pystachio import *\nfrom apache.aurora.config.schema.base import Job, Service as S\n"
    text += "import getpass as g\nfrom os import environ, getenv\n"
    text += "jobs = [S(name='n', cluster='c', role=g.getuser(), environment=environ['USER'], "
    text += "contact=getenv('NOBODY', 'me'), task=SimpleTask('t', 'x'))]"
    (spec,) = read(text)
    assert str(spec.key) == "c/vagrant/vagrant/n"
    assert spec.config.contact == "me"


def test_equal_texts_give_equal_jobs() -> None:
    assert read(texts.CHECKED) == read(texts.CHECKED)
