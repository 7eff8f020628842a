"""What Aurora's client checks before it sends a job, and what the gateway adds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from framework.model.errors import Invalid
from framework.model.jobs import JobKey
from gateway.jobs import Change, JobList, Limits, describe_diff, pick_job, read_jobs

PROCESSES = [{"name": "run", "cmdline": "sleep 1"}]
RESOURCES = {"cpu": 1, "ram": 64 << 20, "disk": 64 << 20}


def job(**changes: Any) -> dict[str, Any]:
    task = {"processes": PROCESSES, "resources": RESOURCES, **changes.pop("task", {})}
    key = {"cluster": "c", "role": "r", "environment": "e", "name": "n"}
    return {**key, "task": task, **changes}


def read(*jobs: dict[str, Any], **bindings: str) -> JobList:
    return read_jobs(json.dumps({"jobs": jobs}).encode(), user="u", bindings=bindings)


def refusal(**changes: Any) -> tuple[str, ...]:
    with pytest.raises(Invalid) as caught:
        read(job(**changes))
    return caught.value.messages


def chain(*names: str, **fields: Any) -> dict[str, Any]:
    processes = [{"name": name, "cmdline": "x", **fields.get(name, {})} for name in "abc"]
    return {"processes": processes, "constraints": [{"order": list(names)}]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"role": "../x"}, "role '../x' is not a valid name"),
        ({"name": "-rf"}, "name '-rf' is not a valid name"),
        ({"environment": ""}, "environment '' is not a valid name"),
        ({"cluster": "a/b"}, "cluster 'a/b' is not a valid name"),
        ({"instances": 0}, "instances is 0; it must be from 1"),
        ({"instances": 20_000}, "at most 10000 are accepted"),
        ({"instances": 2**63 - 1}, "instances is 9223372036854775807"),
        ({"task": {"resources": {**RESOURCES, "cpu": 0}}}, "task.resources.cpu is 0"),
        ({"task": {"resources": {**RESOURCES, "cpu": -1}}}, "task.resources.cpu is -1"),
        ({"task": {"resources": {**RESOURCES, "cpu": 1e308}}}, "task.resources.cpu is 1e+308"),
        ({"task": {"resources": {**RESOURCES, "ram": 1023}}}, "at least 1 MB: write ram = 128*MB"),
        ({"task": {"resources": {**RESOURCES, "disk": -(1 << 30)}}}, "at least 1 MB: write disk"),
        ({"task": {"resources": {**RESOURCES, "gpu": -1}}}, "task.resources.gpu is -1"),
        ({"task": {"processes": []}}, "task.processes is required"),
        ({"task": {"processes": [{"name": "a/b", "cmdline": "x"}]}}, "'a/b' is not possible"),
        ({"task": {"processes": [{"name": ".a", "cmdline": "x"}]}}, "'.a' is not possible"),
        ({"task": {"processes": [{"name": "", "cmdline": "x"}]}}, "'' is not possible"),
        ({"task": {"processes": [{"name": "a\n", "cmdline": "x"}]}}, "is not possible"),
        ({"task": {"processes": PROCESSES * 2}}, "two processes named 'run'"),
        ({"task": chain("a", "x")}, "names 'x', which is no process"),
        ({"task": chain("a", "b", "a")}, "each waits for another"),
        ({"task": chain("a", "a")}, "'a' -> 'a' never starts"),
        ({"task": chain("a", "b", a={"daemon": True})}, "would wait for the daemon 'a'"),
        ({"task": chain("a", "b", a={"ephemeral": True})}, "cannot wait for the ephemeral 'a'"),
        ({"task": chain("a", "b", b={"final": True})}, "final processes run after all others"),
        ({"task": chain()}, "order is empty"),
        (
            {"task": chain("a", "b", b={"logger": {"mode": "rotate", "rotate": {"log_size": 0}}})},
            "task.processes[1].logger.rotate.log_size is 0; it must be above 0",
        ),
        ({"update_config": {"batch_size": 0}}, "update_config.batch_size is 0"),
        ({"update_config": {"watch_secs": -1}}, "update_config.watch_secs is -1"),
        ({"health_check_config": {"timeout_secs": 0}}, "health_check_config.timeout_secs is 0"),
        ({"update_config": {"pulse_interval_secs": 59}}, "it must be from 60"),
        ({"update_config": {"max_total_failures": 1}}, "for 1 instances at most 0"),
        (
            {"instances": 100, "constraints": {"dedicated": "r/x"}},
            "for 100 instances 2",
        ),
        (
            {"update_config": {"batch_size": 2, "update_strategy": {"batch_sizes": [1]}}},
            "batch_size cannot stand beside update_strategy",
        ),
        (
            {"update_config": {"wait_for_batch_completion": True, "update_strategy": {}}},
            "wait_for_batch_completion cannot stand beside update_strategy",
        ),
        ({"update_config": {"update_strategy": {"batch_sizes": []}}}, "batch_sizes is empty"),
        ({"update_config": {"update_strategy": {"batch_sizes": [0]}}}, "batch_sizes is 0"),
        ({"cron_collision_policy": "PANIC"}, "is not one of KILL_EXISTING"),
        ({"constraints": {"host": "limit:0"}}, "'limit:0' is not a limit"),
        ({"constraints": {"host": "!"}}, "constraint 'host' has no value"),
        ({"announce": {"portmap": {"http": "80"}}}, "the fixed port 80"),
        ({"announce": {"portmap": {"a": "b", "b": "a"}}}, "leads back to itself"),
        ({"container": {"image": "--privileged"}}, "is not the name of an image"),
        ({"container": {"docker": {"image": "a b"}}}, "is not the name of an image"),
        ({"container": {}}, "Container needs docker"),
        ({"container": {"image": {"name": "x"}, "volumes": []}}, "container.image.image_id is required"),
        ({"sla_policy": {"percentage": 101, "duration_secs": 1}}, "at most 100"),
        ({"health_check_config": {"interval_secs": -1}}, "interval_secs is -1"),
        ({"priority": "high"}, "priority: expects an integer, not 'high'"),
        ({"max_task_failures": -2}, "max_task_failures is -2"),
    ],
)
def test_refused(changes: dict[str, Any], words: str) -> None:
    assert any(words in message for message in refusal(**changes))


def test_all_problems_are_told_at_once() -> None:
    messages = refusal(role="a b", instances=0, cron_collision_policy="x")
    assert len(messages) == 3


def test_a_task_without_resources_or_processes_says_what_to_write() -> None:
    body = json.dumps({**job(), "task": {"processes": PROCESSES}}).encode()
    with pytest.raises(Invalid, match=r"Resources\(cpu = 1.0, ram = 128\*MB"):
        read_jobs(body, user="u")


def test_a_dict_finds_the_alternative_that_was_meant() -> None:
    docker, wrapped, mesos, appc = read(
        job(container={"image": "a:1"}),
        job(container={"docker": {"image": "b"}}),
        job(container={"image": {"name": "c", "tag": "3"}}),
        job(container={"image": {"name": "d", "image_id": "sha512-4"}}),
    )
    images = [spec.config.container for spec in (docker, wrapped, mesos, appc)]
    assert [(c.image, c.kind) for c in images if c] == [
        ("a:1", "docker"),
        ("b", "docker"),
        ("c:3", "mesos"),
        ("d@sha512-4", "mesos"),
    ]
    assert "only" in appc.warnings[0]


def test_numbers_may_be_texts_and_texts_numbers() -> None:
    (spec,) = read(job(instances="3", priority=2.0, name=7, production="true"))
    assert (spec.instances, spec.config.priority, spec.key.name) == (3, 2, "7")
    assert spec.config.production is True


def test_memory_is_whole_megabytes() -> None:
    (spec,) = read(job(task={"resources": {"cpu": 1, "ram": (2 << 20) - 1, "disk": 5 << 20}}))
    assert (spec.config.resources.mem_mb, spec.config.resources.disk_mb) == (1, 5)


def test_ports_are_those_referred_to_or_announced() -> None:
    run = {
        "name": "run",
        "cmdline": "{{thermos.ports[web]}} {{thermos.ports[admin]}} {{&thermos.ports[no]}}",
    }
    (spec,) = read(
        job(
            task={"processes": [run]},
            announce={"primary_port": "web", "portmap": {"admin": "web", "static": "8080"}},
            constraints={"dedicated": "r/x"},
        )
    )
    assert spec.config.resources.ports == ("web",)
    assert not spec.warnings


def test_health_is_asked_for_at_ports_that_the_task_has() -> None:
    shell = {"health_checker": {"shell": {"shell_command": "curl -f :{{thermos.ports[web]}}"}}}
    with pytest.raises(
        Invalid, match=r"shell_command refers to {{thermos\.ports\[web\]}}, which no process"
    ):
        read(job(health_check_config=shell))
    run = {"processes": [{"name": "run", "cmdline": "serve {{thermos.ports[web]}}"}]}
    assert read(job(health_check_config=shell, task=run))
    assert read(job(health_check_config=shell, announce={"portmap": {"web": "http"}}))


def test_a_primary_port_that_nothing_uses_is_warned_about() -> None:
    (spec,) = read(job(announce={"portmap": {}}))
    assert "{{thermos.ports[http]}}" in spec.warnings[0]


def test_task_links_get_placeholders() -> None:
    links = {"log": "http://{{mesos.hostname}}:{{thermos.ports[http]}}/{{mesos.instance}}"}
    (spec,) = read(job(task_links=links))
    wanted = "http://{{mesos.hostname}}:%port:http%/%shard_id%"
    assert spec.config.task_links == (("log", wanted),)
    assert json.loads(spec.config.executor_data)["task_links"] == {"log": wanted}


def test_a_user_of_a_task_in_an_image_gets_a_warning() -> None:
    asking = {"processes": [{"name": "a", "cmdline": "id"}], "user": "www-data"}
    (spec,) = read(job(task=asking, container={"image": "debian:12"}))
    assert spec.warnings == ("task.user is ignored: a container runs as the user that its image says",)
    assert not read(job(task=asking, container={"volumes": []}))[0].warnings


def test_another_executor_gets_its_own_data() -> None:
    (spec,) = read(job(executor_config={"name": "Custom", "data": "[1]"}))
    assert (spec.config.executor_name, spec.config.executor_data) == ("Custom", "[1]")


def test_a_document_that_is_too_large_is_refused() -> None:
    source = json.dumps(job(task={"processes": [{"name": "a", "cmdline": "x" * 900}]})).encode()
    assert read_jobs(source, user="u")
    with pytest.raises(Invalid, match="more than 1000 characters"):
        read_jobs(source, user="u", limits=Limits(document_bytes=1000))


def test_bindings_fill_names_in() -> None:
    run = {
        "name": "run",
        "cmdline": "{{tag}} {{profile.size}} {{docker.image[a/b][1.0]}} {{mesos.role}}",
    }
    bindings = {"tag": "v{{profile.size}}", "profile.size": "3", "docker.image[a/b][1.0]": "x@y"}
    (spec,) = read(job(task={"processes": [run]}), **bindings)
    assert '"cmdline":"v3 3 x@y r"' in spec.config.executor_data


def test_a_binding_wins_over_the_files_own() -> None:
    text = """
class P(Struct):
  cpu = Default(Float, 1.0)
  cmd = Default(String, 'true')
jobs = [Job(cluster='c', role='r', environment='e', name='n', task=Task(
  processes=[Process(name='a', cmdline='{{profile.cmd}}')],
  resources=Resources(cpu='{{profile.cpu}}', ram=MB, disk=MB))).bind(profile=P())]
"""
    (spec,) = read_jobs(text.encode(), user="u", bindings={"profile.cpu": "2.5"})
    assert spec.config.resources.cpus == 2.5
    assert '"cmdline":"true"' in spec.config.executor_data


def test_a_name_given_to_bind_is_one_that_a_reference_can_have() -> None:
    for call in ("bind(Àsite='x')", "bind(**{'a b': 'x'})", "bind({'a b': 'x'})"):
        with pytest.raises(Invalid, match=r"line 1, column .* is not a name such as x, profile\.cpu"):
            read_jobs(f"jobs = [Job(name='a').{call}]".encode(), user="u")


@pytest.mark.parametrize("name", ["", "a b", "1x", "a[", "a..b", "{{x}}", "\0"])
def test_a_binding_needs_a_name(name: str) -> None:
    with pytest.raises(Invalid, match=r"bind: .* is not a name such as x"):
        read(job(), **{name: "1"})


def test_a_binding_needs_a_text() -> None:
    with pytest.raises(Invalid, match="bind: the value of 'x' is not a text"):
        read(job(), x="\0")


def test_a_binding_of_the_wrong_type_is_shown() -> None:
    assert read(job(instances="{{n}}"), n="5")[0].instances == 5
    with pytest.raises(Invalid, match=r"instances: expects an integer, not '5\.5' \(from '{{n}}'\)"):
        read(job(instances="{{n}}"), n="5.5")
    with pytest.raises(Invalid, match=r"cpu: expects a number, not 'many' \(from '{{n}}'\)"):
        read(job(task={"resources": {"cpu": "{{n}}", "ram": 1 << 20, "disk": 1 << 20}}), n="many")


def test_unbound_names_are_listed_with_places() -> None:
    text = "p = Process(name='a',\n  cmdline='{{x}} {{thermos.ports[http]}} {{y.z}}')\n"
    text += "jobs = [Job(cluster='c', role='r', environment='e', task=Task(processes=[p], "
    text += "resources=Resources(cpu=1, ram='{{x}}', disk=MB)))]"
    with pytest.raises(Invalid) as caught:
        read_jobs(text.encode(), user="u")
    assert caught.value.messages == (
        "line 2, column 12: unbound names: {{x}}, {{y.z}}; "
        "give each with the request: ?bind=x=VALUE&bind=y.z=VALUE",
        "line 2, column 42: {{y.z}} is not bound (in task.processes[0].cmdline)",
    )


def test_fields_of_earlier_releases_are_read_with_warnings() -> None:
    text = """
jobs = [Job(cluster='c', role='r', environment='e', name='n', task=SimpleTask('t', 'x'),
  update_config=UpdateConfig(restart_threshold=60, watch_secs=10),
  health_check_config=HealthCheckConfig(endpoint='/alive', expected_response_code=200, interval_secs=3),
  cron_policy='CANCEL_NEW',
  daemon=True)]
"""
    (spec,) = read_jobs(text.encode(), user="u")
    document = json.loads(spec.config.executor_data)
    assert document["health_check_config"]["health_checker"] == {
        "http": {"endpoint": "/alive", "expected_response": "ok", "expected_response_code": 200}
    }
    assert document["health_check_config"]["interval_secs"] == 3.0
    assert (spec.config.service, spec.cron_collision_policy) == (True, "CANCEL_NEW")
    assert spec.update.watch_secs == 10
    assert [warning.partition(" no longer")[0] for warning in spec.warnings] == [
        "line 3: UpdateConfig.restart_threshold",
        "line 4: HealthCheckConfig.endpoint, expected_response_code",
        "line 2: Job.cron_policy",
        "line 2: Job.daemon",
    ]


def test_an_old_health_check_interval_is_read_from_json_too() -> None:
    (spec,) = read(job(health_check_interval_secs=7))
    assert json.loads(spec.config.executor_data)["health_check_config"]["interval_secs"] == 7.0
    assert spec.warnings[0].startswith("jobs[0]: Job.health_check_interval_secs no longer exists")


def test_a_type_of_the_author_may_have_a_removed_fields_name() -> None:
    text = "class UpdateConfig(Struct):\n  restart_threshold = Integer\n"
    text += "x = UpdateConfig(restart_threshold=5)\njobs = [Job(cluster='c', role='r', environment='e', "
    text += "name='n{{x.restart_threshold}}', task=SimpleTask('t', 'x')).bind(x=x)]"
    (spec,) = read_jobs(text.encode(), user="u")
    assert (spec.key.name, spec.warnings) == ("n5", ())


# -- picking ---------------------------------------------------------------------------------------


def test_the_job_is_picked_by_its_key() -> None:
    jobs = read(job(), job(name="other"))
    assert pick_job(jobs, JobKey("c", "r", "e", "other")) is jobs[1]


def test_another_key_is_told_with_both() -> None:
    with pytest.raises(Invalid, match=r"names the job c/r/e/x, the configuration describes c/r/e/n;"):
        pick_job(read(job()), JobKey("c", "r", "e", "x"))


def test_a_key_that_stands_twice_is_refused() -> None:
    with pytest.raises(Invalid, match="describes c/r/e/n 2 times"):
        pick_job(read(job(), job()), JobKey("c", "r", "e", "n"))


def test_a_refused_job_is_told_when_it_is_picked() -> None:
    jobs = read(job(), job(name="bad", instances=0))
    assert pick_job(jobs, JobKey("c", "r", "e", "n")).instances == 1
    with pytest.raises(Invalid, match="job 'bad': instances is 0"):
        pick_job(jobs, JobKey("c", "r", "e", "bad"))
    with pytest.raises(Invalid, match="describes c/r/e/n, c/r/e/bad;"):
        pick_job(jobs, JobKey("c", "r", "e", "other"))


# -- differences -----------------------------------------------------------------------------------


def test_equal_configurations_do_not_differ() -> None:
    (one,), (other,) = read(job(instances=1)), read(job(instances=5))
    assert describe_diff(one.config, other.config) == []


def test_differences_name_the_field_once() -> None:
    (old,) = read(job(constraints={"host": "limit:1"}, tier="preferred"))
    processes = [{"name": "run", "cmdline": "sleep 2"}, {"name": "more", "cmdline": "x"}]
    (new,) = read(
        job(
            task={"processes": processes, "resources": {**RESOURCES, "cpu": 2}},
            constraints={"host": "limit:2"},
            metadata=[{"key": "team", "value": "a"}],
        )
    )
    changes = describe_diff(old.config, new.config)
    assert Change("resources.cpus", 1.0, 2.0) in changes
    assert Change("constraints.host", "limit:1", "limit:2") in changes
    assert Change("task.processes[run].cmdline", "sleep 1", "sleep 2") in changes
    assert Change("tier", "preferred", None) in changes
    assert Change("metadata.team", None, "a") in changes
    added = [c for c in changes if c.field.startswith("task.processes[more].")]
    assert {c.old for c in added} == {None}
    assert len({c.field for c in changes}) == len(changes)
    assert str(changes[0]) == 'constraints.host: "limit:1" -> "limit:2"'
    assert 'tier: removed "preferred"' in map(str, changes)


def test_a_new_job_differs_in_all_its_fields() -> None:
    (new,) = read(job())
    changes = describe_diff(None, new.config)
    assert Change("task.processes[run].cmdline", None, "sleep 1") in changes
    assert all(change.old is None for change in changes)
    assert str(Change("x", None, "y" * 500)).endswith("…")
