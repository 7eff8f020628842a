"""What a configuration must not do, or cannot be: each gets a sentence with its place."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework.model.errors import Invalid, TooLarge
from gateway.jobs import Limits, read_jobs
from tests.gateway.jobs import texts

JOB = "jobs = [Service(name='n', role='r', cluster='c', environment='e', task=SimpleTask('t', '%s'))%s]"
SMALL = Limits(
    steps=20_000, total_chars=2_000_000, text_chars=200_000, source_bytes=50_000, nodes=20_000
)


def refusal(text: str | bytes, limits: Limits | None = None) -> tuple[str, ...]:
    source = text.encode() if isinstance(text, str) else text
    with pytest.raises((Invalid, TooLarge)) as caught:
        read_jobs(source, user="u", limits=limits)
    for message in caught.value.messages:
        assert message.isprintable()
        message.encode()
    return caught.value.messages


def bomb(levels: int) -> str:
    scope = {f"a{i}": f"{{{{a{i + 1}}}}}" * 2 for i in range(levels)} | {f"a{levels}": "x"}
    return JOB % ("{{a0}}", f".bind({scope!r})")


CASES = {
    "dunder attribute": ("x = ().__class__", 1, 5, "'__class__' is not allowed"),
    "dunder name": ("x = __builtins__", 1, 5, "'__builtins__' is not allowed"),
    "dunder import": ("x = __import__('os')", 1, 5, "'__import__' is not allowed"),
    "private variable": ("_x = 1", 1, 1, "'_x' is not allowed"),
    "dunder keyword": ("Process(__class__=1)", 1, 1, "'__class__' is not allowed"),
    "attribute in format": ("x = '{0.__class__}'.format(1)", 1, 5, "only {}, {0} and {name}"),
    "item in format": ("x = '{a[0]}'.format(a=[1])", 1, 5, "only {}, {0} and {name}"),
    "width in format": ("x = '{:>1000000000}'.format(1)", 1, 5, "wider than 1000"),
    "nested width in format": ("x = '{:>{w}}'.format(1, w=9)", 1, 5, "is not a format"),
    "width in f-string": ("x = f'{1:>1000000}'", 1, 5, "wider than 1000"),
    "width in percent": ("x = '%1000000000d' % 1", 1, 22, "wider than 1000"),
    "star in percent": ("x = '%*d' % (9, 1)", 1, 13, "is not a format"),
    "lambda": ("x = lambda: 1", 1, 5, "define a function with 'def'"),
    "while": ("while True:\n  pass", 1, 1, "use 'for"),
    "import": ("import subprocess", 1, 1, "'subprocess' cannot be imported"),
    "import of a member": ("from os import system", 1, 1, "os has no 'system' here"),
    "member of a module": ("import os\nos.system('x')", 2, 1, "os has no 'system' here"),
    "insides of a module": ("import os\nx = os.members", 2, 5, "os has no 'members' here"),
    "insides of a function": ("x = order.function", 1, 5, "has no 'function'"),
    "environment": ("import os\nx = os.environ['HOME']", 2, 5, "only USER is known"),
    "open": ("x = open('/etc/passwd')", 1, 5, "files cannot be read"),
    "with": ("with open('x') as f:\n  pass", 1, 1, "files cannot be read"),
    "getattr": ("getattr(1, 'x')", 1, 1, "attributes are written as value.name"),
    "exec": ("exec('x = 1')", 1, 1, "cannot run code"),
    "eval": ("eval('1')", 1, 1, "cannot run code"),
    "include": ("include('x.aurora')", 1, 1, "a request carries one file"),
    "decorator": ("@order\ndef f():\n  pass", 2, 1, "decorators"),
    "global": ("def f():\n  global x\nf()", 2, 3, "'global'"),
    "yield": ("def f():\n  x = yield\nf()", 2, 7, "'yield'"),
    "power": ("x = 9 ** 9", 1, 10, "there are + - * / // and %"),
    "bits": ("x = 1 << 9", 1, 10, "there are + - * / // and %"),
    "bytes": ("x = b'a'", 1, 5, "write a text or a number"),
    "long text": ("x = 'a' * 1000000000", 1, 11, "a text of 1000000000 characters"),
    "long list": ("x = [0] * 1000000000", 1, 11, "steps"),
    "long range": ("for i in range(1000000000): pass", 1, 10, "steps"),
    "growing number": ("x = 10\nfor i in range(99): x = x * x", 2, 29, "integers go up to"),
    "rounding": ("x = round(5, -1000000000)", 1, 5, "up to 20 digits"),
    "growing text": (
        "x = 'a' * 1000\nfor i in range(9): x = x.replace('a', 'aaaaaaaaaa')",
        2,
        24,
        "a text of",
    ),
    "much text": (
        "x = []\nfor i in range(99): x.append('a' * 1000000)",
        2,
        36,
        "makes too much text",
    ),
    "nested comprehensions": (
        "x = [[[1 for a in range(999)] for b in range(999)] for c in range(999)]",
        1,
        7,
        "steps",
    ),
    "recursion": ("def f(x): return f(x)\nf(1)", 1, 18, "calls itself"),
    "branching recursion": ("def f(x):\n  for i in [1, 2]: f(x)\nf(1)", 2, 12, "calls itself"),
    "shared lists": ("a = []\nfor i in range(60): a = [a, a]\nx = str(a)", 3, 5, "steps"),
    "list in itself": ("a = []\na.append(a)\nx = str(a)", 3, 5, "levels of nesting"),
    "undefined name": ("x = Proces(name='a')", 1, 5, "did you mean 'Process'"),
    "unknown field": ("x = Process(nam='a')", 1, 13, "did you mean 'name'"),
    "wrong type": ("x = 1\ny = Task(processes='a')", 2, 10, "processes: expects a list of Process"),
    "wrong element": (
        "x = Task(processes=[Task()])",
        1,
        10,
        "processes[0]: expects Process, not a Task",
    ),
    "wrong number": ("x = Process(max_failures='a')", 1, 13, "expects an integer, not 'a'"),
    "wrong enum": ("x = Logger(mode='circle')", 1, 12, "one of 'standard', 'rotate'"),
    "infinite": ("x = Resources(cpu=1e999)", 1, 15, "inf is not a number"),
    "text plus number": ("x = 'a' + 1", 1, 11, "write str(…)"),
    "division by zero": ("x = 1 / 0", 1, 9, "division by zero"),
    "method in a class": ("class A(Struct):\n  def f(self): pass", 2, 3, "fields, not methods"),
    "other class": ("class A(dict):\n  pass", 1, 1, "class A(Struct)"),
    "field without type": ("class A(Struct):\n  x = 1", 1, 1, "A.x needs a type"),
    "too few values": ("x = '%s %s' % (1,)", 1, 15, "wants more values than the 1"),
    "own refusal": ("raise ValueError('not on ' + 'Mondays')", 1, 1, "not on Mondays"),
    "own assertion": ("assert 1 > 2, 'one is small'", 1, 1, "one is small"),
    "assigned attribute": ("job = Job()\njob.name = 'x'", 2, 1, "job(name = 'other')"),
    "python 2 print": ("x = 1\nprint 'hello'", 2, 1, "print is a function"),
    "syntax": ("jobs = [Job(", 1, 12, "'(' was never closed"),
    "unicode before": ("x = 'äöü€' + y", 1, 14, "'y' is not defined"),
    "parentheses": ("(" * 10000, 1, 201, "too many nested parentheses"),
    "jobs is no list": ("jobs = Job()", None, 0, "'jobs' is a list of jobs"),
    "no jobs": ("web = Service()", None, 0, "jobs = [web]"),
    "empty jobs": ("jobs = []", None, 0, "describes no job"),
    "something else in jobs": ("jobs = [Task()]", None, 0, "jobs[0]: expects Job, not a Task"),
    "many jobs": ("jobs = [Job()] * 2000", None, 0, "2000 jobs"),
    "long sign": ("x = " + "-" * 50000 + "1", None, 0, "nested too deeply"),
    "long chain": ("x = a" + ".b" * 50000, None, 0, "nested too deeply"),
    "empty": ("", None, 0, "the body is empty"),
    "blank": (" \n\t\n", None, 0, "the body is empty"),
    "comment": ("# nothing here", None, 0, "does not set 'jobs'"),
}


@pytest.mark.parametrize("name", CASES)
def test_refused(name: str) -> None:
    text, line, column, words = CASES[name]
    started = time.process_time()
    message = refusal(text)[0]
    assert time.process_time() - started < 5
    assert words in message
    if line is not None:
        assert message.startswith(f"line {line}, column {column}: ")


@pytest.mark.parametrize(
    ("command", "suffix", "words"),
    [
        ("{{x}}", ".bind(x='{{y}}', y='{{x}}')", "lead back to themselves"),
        ("{{x}}", ".bind(x='{{x}}{{x}}')", "a text of"),
        ("{{ .Names }}", "", "write {{& … }}"),
        ("{{thermos.ports[{{mesos.instance}}]}}", "", "reference within a reference"),
        ("\\0", "", "NUL"),
        ("\\ud800", "", "half of a surrogate pair"),
        ("{{missing}} {{also.missing}}", "", "?bind=also.missing=VALUE&bind=missing=VALUE"),
        ("x", "(instances='{{mesos.instance}}')", "known only when the task runs"),
    ],
)
def test_references_that_cannot_be(command: str, suffix: str, words: str) -> None:
    messages = refusal(JOB % (command, suffix))
    assert words in messages[0]
    assert messages[0].startswith("line 1, column ")


@pytest.mark.parametrize("levels", [25, 90])
def test_an_expansion_that_doubles_is_cut_before_it_grows(levels: int) -> None:
    started = time.process_time()
    assert "a text of" in refusal(bomb(levels))[0]
    assert time.process_time() - started < 5


def test_an_expansion_through_a_struct_is_cut_too() -> None:
    fields = "".join(
        f"  a{i} = Default(String, '{{{{a{i + 1}}}}}{{{{a{i + 1}}}}}')\n" for i in range(50)
    )
    text = f"class P(Struct):\n{fields}  a50 = String\n" + JOB % ("{{p.a0}}", ".bind(p=P(a50='x'))")
    assert "a text of" in refusal(text)[0]


def test_types_that_double_are_refused() -> None:
    text = "t = String\nfor i in range(60): t = Map(t, t)\n"
    assert "made of more than" in refusal(text)[0]


def test_values_shared_by_many_jobs_are_counted_each_time() -> None:
    text = (
        "p = Process(name='a', cmdline='b')\nt = Task(processes=[p] * 9000)\njobs = [Job(task=t)] * 900"
    )
    assert "values together" in refusal(text)[0]


def test_several_problems_at_once() -> None:
    messages = refusal("x = Job(\n  nam='a',\n  instances='b',\n  task={'processes': [{'zzz': 1}]})")
    assert messages == (
        "line 2, column 3: Job has no field 'nam'; did you mean 'name'?",
        "line 3, column 3: instances: expects an integer, not 'b'",
        "line 4, column 3: task.processes[0]: Process has no field 'zzz'; it has "
        "cmdline, daemon, ephemeral, final, logger, max_failures, min_duration, name, resources",
    )


def test_missing_fields_are_told_with_the_place_of_their_struct() -> None:
    messages = refusal("p = Process(name='a')\njobs = [\n  Job(cluster='c', task=Task(processes=[p]))]")
    assert messages == (
        "line 3, column 3: role is required: Job needs role = a text",
        "line 3, column 3: environment is required: Job needs environment = a text",
        "line 1, column 5: task.processes[0].cmdline is required: Process needs cmdline = a text",
    )


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"\xef\xbb\xbfjobs = []", "byte-order mark"),
        ("jobs = []".encode("utf-16"), "UTF-16"),
        (b"x = 1\ny = '\xff'", "line 2, column 6: the byte 0xff is not UTF-8"),
        (b"x = '\0'", "line 1, column 6: a NUL character"),
    ],
)
def test_bytes_that_are_no_text(body: bytes, words: str) -> None:
    assert words in refusal(body)[0]


def test_a_body_above_the_limit_is_too_large() -> None:
    with pytest.raises(TooLarge, match="at most 262144"):
        read_jobs(b"#" * (256 * 1024 + 1), user="u")


BAD_JSON = {
    "truncated": ('{"cluster": "c"', "line 1, column 16: this is not valid JSON"),
    "trailing": ('{"jobs": []} x', "line 1, column 14: this is not valid JSON: something follows"),
    "second line": ('{"cluster": "c",\n "role": }', "line 2, column 10: this is not valid JSON"),
    "NaN": ('{"instances": NaN}', "NaN is not JSON"),
    "Infinity": ('{"instances": -Infinity}', "-Infinity is not JSON"),
    "twice": ('{"role": "a", "role": "b"}', "the key 'role' stands twice"),
    "brackets": ("[" * 100_000, "nested too deeply"),
    "braces": ('{"a":' * 40_000, "nested too deeply"),
    "digits": ('{"instances": ' + "9" * 5000 + "}", "a number of 5000 digits"),
    "large": ('{"instances": 9223372036854775808}', "instances: the number is too large"),
    "huge float": ('{"task": {"resources": {"cpu": 1e999}}}', "task.resources.cpu: inf is not"),
    "list": ("[]", "a JSON body is an object"),
    "jobs is no list": ('{"jobs": {}}', "jobs: expects a list of jobs"),
    "job is no object": ('{"jobs": [1]}', "jobs[0]: expects a job, not 1"),
    "beside jobs": ('{"jobs": [], "job": {}}', "unknown field 'job'; did you mean 'jobs'"),
    "no jobs": ('{"jobs": []}', "describes no job"),
    "unknown field": (
        '{"jobs": [{"nam": "x"}]}',
        "jobs[0]: Job has no field 'nam'; did you mean 'name'",
    ),
    "deep unknown field": (
        '{"jobs": [{"task": {"processes": [{"cmdlin": "x"}]}}]}',
        "jobs[0].task.processes[0]: Process has no field 'cmdlin'; did you mean 'cmdline'",
    ),
    "null": ('{"role": null}', "role: expects a text, not None"),
    "surrogate": ('{"\\ud800": 1}', "Job has no field '\\ud800'"),
    "control": ('{"role": "a\x01"}', "invalid control character"),
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_bad_json(name: str) -> None:
    text, words = BAD_JSON[name]
    assert words in refusal(text)[0]


def complete(**changes: object) -> dict[str, object]:
    (job,) = read_jobs((JOB % ("echo", "")).encode(), user="u")
    document: dict[str, object] = json.loads(job.config.executor_data)
    return {**document, "update_config": {}, "instances": 1, **changes}


@pytest.mark.parametrize("field", sorted(complete()))
@pytest.mark.parametrize("value", [None, [], [1], {"x": 1}, "\ud800", "\0", -1e308, 2**70, True, "{{"])
def test_every_field_with_a_wrong_value(field: str, value: object) -> None:
    body = json.dumps(complete(**{field: value})).encode()
    bounded(body, Limits())


WORDS = """
jobs = [ ] ( ) { } {{ }} {{x}} {{a.b[c]}} Job Service Task Process Resources Struct String List Default
Required class def return for in if else : , . .bind .name() .format % %s %d + - * / ** 'a' "b" 1 0 10**9
'%s' f'{x}' lambda while import getpass __class__ __init__ _x x y order( SimpleTask( 'x', 'y') cmdline=
name= not and or is None True [0] [-1] [:] str( range( len( join( # @ ; := ... é
"""
PIECES = st.sampled_from([*WORDS.split(), "\n", "\n  ", "\\", "\ud800"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["jobs", "task", "processes", "name", "cmdline", "resources", "cpu", "container"]
            )
            | st.text(),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def bounded(source: bytes, limits: Limits = SMALL) -> None:
    """Reading gives jobs or a refusal, within the limits, and nothing else."""
    started = time.process_time()
    messages: tuple[str, ...] = ()
    try:
        for job in read_jobs(source, user="u", limits=limits):
            messages += (job.config.executor_data, *job.warnings)
    except (Invalid, TooLarge) as error:
        messages = error.messages
    assert any(messages)
    assert "\0" not in "".join(messages).encode().decode()
    assert time.process_time() - started < 3


@settings(max_examples=150)
@given(st.binary(max_size=200))
def test_any_bytes(source: bytes) -> None:
    bounded(source)


@settings(max_examples=150)
@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    bounded(text.encode("utf-8", "surrogatepass"))


@settings(max_examples=300)
@given(st.lists(PIECES, max_size=30), st.sampled_from([" ", ""]))
def test_any_mixture_of_the_languages_words(words: list[str], space: str) -> None:
    bounded(space.join(words).encode("utf-8", "surrogatepass"))


@settings(max_examples=150)
@given(JSON)
def test_any_json(document: object) -> None:
    bounded(json.dumps(document).encode())
    bounded(json.dumps({"jobs": [document]}).encode())


@settings(max_examples=150)
@given(st.data())
def test_any_change_to_a_good_text(data: st.DataObject) -> None:
    text = texts.ALL[data.draw(st.sampled_from(sorted(texts.ALL)))]
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 30)))
    bounded(
        (text[:start] + data.draw(PIECES | st.text(max_size=5)) + text[end:]).encode("utf-8", "replace")
    )


NAMES = """
Job Service Task Process Resources Docker Mesos Logger Mode UpdateConfig Struct String Integer Float
Boolean List Map Enum Choice Required Default Empty MB order SimpleTask SequentialTask Tasks
Processes Options java_options len str int float bool list tuple set dict range enumerate zip sorted
reversed min max sum abs round any all repr print include own Own job process os getpass x xs d
"""
ATTRIBUTES = """
bind get name cmdline task processes has_name has_task combine concat sequential simple order java
environ getenv path join format replace split strip upper center zfill append extend pop insert
index remove sort items keys update setdefault getuser number labels
"""
LITERALS = """
1 -1 0.5 'a' '{{x}}' '%s%d' '{}{0}' None True [] [1] () {} {'a':1}
"""
FIELDS = "name cmdline task processes x cpu ram container constraints update_config"
OPERATORS = "+ * % / == < in and"


@st.composite
def expressions(draw: st.DrawFn, depth: int = 3) -> str:
    """A well-formed expression of the language, mostly without sense."""
    kind = draw(st.sampled_from("atom call method attribute item binary list loop".split()))  # noqa: SIM905
    if depth == 0 or kind == "atom":
        return draw(st.sampled_from((NAMES + LITERALS).split()))
    one = draw(expressions(depth - 1))
    other = draw(expressions(depth - 1))
    field = draw(st.sampled_from(FIELDS.split()))
    attribute = draw(st.sampled_from(ATTRIBUTES.split()))
    arguments = draw(st.sampled_from(["", other, f"{other}, {other}", f"{field}={other}", f"*{other}"]))
    operator = draw(st.sampled_from(OPERATORS.split()))
    return {
        "call": f"{one}({arguments})",
        "method": f"{one}.{attribute}({arguments})",
        "attribute": f"{one}.{attribute}",
        "item": f"{one}[{other}]",
        "binary": f"{one} {operator} {other}",
        "list": f"[{one}, {other}]",
        "loop": f"[{one} for x in {other}]",
    }[kind]


PRELUDE = """
import os, getpass
class Own(Struct):
  name = Default(String, 'a{{number}}')
  number = Integer
  labels = Default(Map(String, String), {'a': 'b'})
own = Own(number=3)
x, xs, d = 'a', [1, 2], {'a': 'b', 'cpu': 1}
process = Process(name='p', cmdline='{{x}}')
job = Job(name='n', role='r', cluster='c', environment='e', task=SimpleTask('t', 'c'))
"""


@settings(max_examples=300)
@given(expressions(), st.sampled_from(FIELDS.split()), expressions())
def test_any_expression(expression: str, field: str, value: str) -> None:
    bounded(f"{PRELUDE}x = {expression}\njobs = [job({field}={value}).bind(x=x)]".encode())
