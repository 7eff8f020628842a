"""What jobs may ask of their machines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from executor.task import Container, Parameter, Volume
from framework.model.errors import Forbidden, Invalid, NotSupported
from framework.model.jobs import JobKey, JobSpec, Resources, TaskConfig
from gateway.policy import DockerRules, Policy, UserRules, VolumeRules, check, read_policy

KEY = JobKey("devcluster", "www-data", "prod", "hello")


def spec(
    parameters: dict[str, str] | None = None,
    volumes: tuple[tuple[str, Literal["RO", "RW"]], ...] = (),
    executor_data: str = "{}",
) -> JobSpec:
    container = Container(
        image="debian:12",
        parameters=tuple(Parameter(name, value) for name, value in (parameters or {}).items()),
        volumes=tuple(Volume(f"/mnt/{n}", path, mode) for n, (path, mode) in enumerate(volumes)),
    )
    config = TaskConfig(Resources(1, 1, 1), executor_data, container=container)
    return JobSpec(KEY, 1, config)


def test_a_plain_container_is_allowed() -> None:
    check(spec(), Policy())


@pytest.mark.parametrize(
    "name",
    ["network", "cap-add", "device", "pid", "ipc", "userns", "security-opt", "ulimit", "cgroup-parent"],
)
def test_parameters_are_refused_unless_listed(name: str) -> None:
    with pytest.raises(Forbidden, match=r"docker\.parameters"):
        check(spec({name: "host"}), Policy())
    with pytest.raises(Forbidden, match="allowed: env"):
        check(spec({"--" + name: "host"}), Policy(docker=DockerRules(parameters=("env",))))
    check(spec({name: "host"}), Policy(docker=DockerRules(parameters=(name,))))


def test_privileged_has_a_rule_of_its_own() -> None:
    listed = Policy(docker=DockerRules(parameters=("privileged",)))
    for value in ("true", "", "1", "TRUE"):
        with pytest.raises(Forbidden, match=r"docker\.privileged"):
            check(spec({"privileged": value}), listed)
    check(spec({"privileged": "false"}), Policy())
    check(spec({"privileged": "true"}), Policy(docker=DockerRules(privileged=True)))


@pytest.mark.parametrize("name", ["volume", "v", "mount", "volumes-from", "-v", "--Volume"])
def test_volumes_do_not_come_in_as_parameters(name: str) -> None:
    everything = Policy(docker=DockerRules(parameters=("volume", "v", "mount", "volumes-from")))
    with pytest.raises(Forbidden, match="volumes"):
        check(spec({name: "/:/host"}), everything)


RULES = Policy(volumes=VolumeRules(read_only=("/etc/ssl",), read_write=("/srv/data/",)))


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        ("/etc/ssl", "RO"),
        ("/etc/ssl/certs", "RO"),
        ("//etc/ssl", "RO"),
        ("/srv/data", "RW"),
        ("/srv/data/x/", "RO"),
    ],
)
def test_host_paths_below_a_listed_one(path: str, mode: Literal["RO", "RW"]) -> None:
    check(spec(volumes=((path, mode),)), RULES)
    with pytest.raises(Forbidden):
        check(spec(volumes=((path, mode),)), Policy())


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        ("/", "RO"),
        ("/etc", "RO"),
        ("/etc/sslx", "RO"),
        ("/etc/ssl/../shadow", "RO"),
        ("/etc/ssl/..", "RO"),
        ("/etc/ssl", "RW"),
        ("/var/run/docker.sock", "RW"),
        ("/proc", "RO"),
        ("etc/ssl", "RO"),
        ("~/x", "RO"),
        ("", "RO"),
        ("/etc/ssl\0/x", "RO"),
    ],
)
def test_other_host_paths_are_refused_with_the_rule(path: str, mode: Literal["RO", "RW"]) -> None:
    rule = "read_write" if mode == "RW" else "read_only"
    with pytest.raises(Forbidden, match=rf"volumes\.{rule}"):
        check(spec(volumes=((path, mode),)), RULES)


def test_who_a_task_runs_as() -> None:
    for user in ("www-data", "{{role}}", "{{mesos.role}}"):
        check(spec(executor_data=json.dumps({"task": {"user": user}})), Policy())
    root = spec(executor_data='{"task": {"user": "root"}}')
    with pytest.raises(Forbidden, match=r"users\.allowed"):
        check(root, Policy())
    check(root, Policy(users=UserRules(allowed=("root",))))


def test_the_data_of_another_executor_is_not_run_by_ours() -> None:
    for data in ("not json", '{"task": {"processes": [{"name": "a", "cmdline": "echo other"}]}}'):
        job = spec(executor_data=data)
        other = msgspec.structs.replace(job.config, executor_name="thermos")
        with pytest.raises(NotSupported, match="asks for the executor 'thermos'"):
            check(msgspec.structs.replace(job, config=other), Policy())


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(
        '[docker]\nparameters = ["env"]\n'
        '[volumes]\nread_only = ["/etc/ssl"]\n[users]\nallowed = ["ops"]\n'
    )
    assert read_policy(path) == Policy(
        DockerRules(parameters=("env",)), VolumeRules(read_only=("/etc/ssl",)), UserRules(("ops",))
    )


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("[docker", "wrong"),
        ("[dokcer]", "dokcer"),
        ('[docker]\nprivileged = "yes"', "bool"),
        ('[volumes]\nread_only = ["etc"]', "absolute"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(tmp_path: Path, text: str, about: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(Invalid, match=about) as error:
        read_policy(path)
    assert str(path) in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot be read"):
        read_policy(tmp_path / "absent.toml")


def test_images_may_be_limited_to_patterns() -> None:
    check(spec(), Policy(docker=DockerRules(images=("registry.example/*", "debian:*"))))
    with pytest.raises(Forbidden, match=r"docker\.images; allowed: registry"):
        check(spec(), Policy(docker=DockerRules(images=("registry.example/*",))))


def test_an_image_is_never_an_option() -> None:
    job = spec()
    config = msgspec.structs.replace(job.config, container=Container(image="--privileged"))
    with pytest.raises(Invalid, match="is an option"):
        check(msgspec.structs.replace(job, config=config), Policy())


def test_a_parameter_may_be_allowed_with_one_value() -> None:
    policy = Policy(docker=DockerRules(parameters=("network=bridge",)))
    check(spec({"network": "bridge"}), policy)
    with pytest.raises(Forbidden, match=r"network='host'"):
        check(spec({"network": "host"}), policy)


@pytest.mark.parametrize("path", ["/var/run", "/var/run/docker.sock", "/run", "/var", "/run/containerd"])
def test_the_daemons_socket_needs_to_be_named_itself(path: str) -> None:
    with pytest.raises(Forbidden, match="refused by the policy"):
        check(spec(volumes=((path, "RO"),)), Policy(volumes=VolumeRules(read_only=("/",))))
    check(spec(volumes=((path, "RO"),)), Policy(volumes=VolumeRules(read_only=(path,))))


def test_the_example_of_the_documents_is_read(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "policy.md").read_text(encoding="utf-8")
    path = tmp_path / "policy.toml"
    path.write_text(text.split("```toml\n")[1].split("```")[0])
    policy = read_policy(path)
    assert policy.docker.images == ("registry.example/*", "debian:12")
    check(spec({"network": "bridge"}, (("/srv/data/x", "RW"),)), policy)
