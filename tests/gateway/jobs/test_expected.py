"""The recorded configurations give exactly what Aurora's own loader and converter made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from framework.model.errors import Invalid
from framework.model.jobs import JobKey, JobSpec
from gateway.jobs import pick_job, read_jobs

FILES = (
    "cron_hello_world",
    "ephemeral_daemon_with_final",
    "hello_docker_engine",
    "hello_docker_image",
    "hello_world",
    "hello_world_variable_update",
    "hist_4a2aff987_hello_docker",
    "hist_4e159e3f3_http_example_docker",
    "hist_4e159e3f3_http_example_docker_updated",
    "hist_5c6ab8fde_flask_example",
    "hist_5c6ab8fde_flask_example_updated",
    "hist_e024bf1f8_hello_world",
    "http_example",
    "http_example_bad_healthcheck",
    "http_example_updated",
    "partition_aware",
    "sla_policy",
    "test_daemonizing_process",
)


@pytest.fixture(scope="module")
def expected(shared: Path) -> dict[str, Any]:
    return json.loads((shared / "data/aurora-jobs/expected.json").read_text())


def as_recorded(spec: JobSpec) -> dict[str, Any]:
    """A JobSpec in the shape of expected.json."""
    config = spec.config
    document = json.loads(config.executor_data)
    return {
        "cluster": spec.key.cluster,
        "role": spec.key.role,
        "environment": spec.key.environment,
        "name": spec.key.name,
        "instances": spec.instances,
        "constraints": {c.attribute: str(c).partition("=")[2] for c in config.constraints},
        "contact": config.contact,
        "container": _container(spec, document),
        "cron": spec.cron_schedule,
        "cron_policy": spec.cron_collision_policy,
        "executor": config.executor_name,
        "executor_data": document,
        "max_task_failures": config.max_task_failures,
        "metadata": [list(pair) for pair in config.metadata],
        "partition_policy": config.partition_policy
        and {
            "delaySecs": config.partition_policy.delay_secs,
            "reschedule": config.partition_policy.reschedule,
        },
        "priority": config.priority,
        "production": config.production,
        "resources": _resources(spec),
        "service": config.service,
        "sla_policy": _sla(spec),
        "tier": config.tier,
        "update": _update(spec),
    }


def _container(spec: JobSpec, document: dict[str, Any]) -> dict[str, Any]:
    container = spec.config.container
    if container is None:
        return {"mesos": None}
    if container.kind == "docker":
        parameters = [{"name": p.name, "value": p.value} for p in container.parameters]
        return {"docker": container.image, "parameters": parameters}
    if "image_id" in document["container"]["image"]:
        result: dict[str, Any] = {"mesos": {"appc": container.image.split("@")}}
    else:
        result = {"mesos": {"docker": container.image.rsplit(":", 1)}}
    if container.volumes:
        result["volumes"] = [[v.container_path, v.host_path, v.mode] for v in container.volumes]
    return result


def _resources(spec: JobSpec) -> dict[str, Any]:
    resources = spec.config.resources
    gpus = {"numGpus": resources.gpus} if resources.gpus else {}
    return {
        "diskMb": resources.disk_mb,
        "numCpus": resources.cpus,
        "ports": list(resources.ports),
        "ramMb": resources.mem_mb,
        **gpus,
    }


def _sla(spec: JobSpec) -> dict[str, Any] | None:
    policy = spec.config.sla_policy
    if policy is None:
        return None
    if policy.kind == "coordinator":
        return {
            "coordinatorSlaPolicy": {
                "coordinatorUrl": policy.coordinator_url,
                "statusKey": policy.status_key,
            }
        }
    return {
        f"{policy.kind}SlaPolicy": {policy.kind: policy.amount, "durationSecs": policy.duration_secs}
    }


def _update(spec: JobSpec) -> dict[str, Any]:
    update = spec.update
    sizes = list(update.group_sizes)
    strategies: dict[str, dict[str, Any]] = {
        "queue": {"queueStrategy": {"groupSize": sizes[0]}},
        "batch": {
            "batchStrategy": {
                "groupSize": sizes[0],
                "autopauseAfterBatch": update.autopause_after_batch,
            }
        },
        "variable_batch": {
            "varBatchStrategy": {
                "autopauseAfterBatch": update.autopause_after_batch,
                "groupSizes": sizes,
            }
        },
    }
    pulse = update.pulse_interval_secs
    return {
        "blockIfNoPulsesAfterMs": pulse and pulse * 1000,
        "maxFailedInstances": update.max_failed_instances,
        "maxPerInstanceFailures": update.max_per_instance_failures,
        "minWaitInInstanceRunningMs": update.watch_secs * 1000,
        "rollbackOnFailure": update.rollback_on_failure,
        "slaAware": update.sla_aware,
        "strategy": strategies[update.strategy],
        "updateGroupSize": 1 if update.strategy == "variable_batch" else sizes[0],
        "waitForBatchCompletion": update.strategy == "batch",
    }


def test_every_recorded_file_is_tested(expected: dict[str, Any]) -> None:
    assert sorted(expected) == sorted(f"{name}.aurora" for name in FILES)


@pytest.mark.parametrize("name", FILES)
def test_recorded_file(name: str, shared: Path, expected: dict[str, Any]) -> None:
    wanted = expected[f"{name}.aurora"]
    source = (shared / f"data/aurora-jobs/{name}.aurora").read_bytes()
    jobs = read_jobs(source, user="vagrant", bindings=wanted["bindings"])

    assert len(jobs) + len(jobs.refused) == wanted["count"]
    good = [job for job in wanted["jobs"] if "error" not in job]
    assert [as_recorded(spec) for spec in jobs] == good
    bad = [job for job in wanted["jobs"] if "error" in job]
    assert [job.key.rpartition("/")[2] for job in jobs.refused] == [job["name"] for job in bad]
    for refused, record in zip(jobs.refused, bad, strict=True):
        reference = record["error"].rpartition("unbound variables: ")[2]
        assert reference in refused.messages[0]


@pytest.mark.parametrize("name", FILES)
def test_executor_data_is_a_configuration_too(name: str, shared: Path, expected: dict[str, Any]) -> None:
    source = (shared / f"data/aurora-jobs/{name}.aurora").read_bytes()
    jobs = read_jobs(source, user="vagrant", bindings=expected[f"{name}.aurora"]["bindings"])
    for spec in jobs:
        again = read_jobs(spec.config.executor_data.encode(), user="somebody")
        assert [job.key for job in again] == [spec.key]
        assert again[0].config == spec.config
    documents = ",".join(spec.config.executor_data for spec in jobs)
    together = read_jobs(f'{{"jobs": [{documents}]}}'.encode(), user="somebody")
    assert [job.config for job in together] == [job.config for job in jobs]


def test_a_job_that_is_not_asked_for_may_stay_unbound(shared: Path) -> None:
    source = (shared / "data/aurora-jobs/hello_docker_engine.aurora").read_bytes()
    jobs = read_jobs(source, user="vagrant")
    bound = JobKey("devcluster", "www-data", "devel", "hello_docker_engine")
    unbound = JobKey("devcluster", "www-data", "devel", "hello_docker_engine_binding")
    assert pick_job(jobs, bound).key == bound
    with pytest.raises(Invalid, match=r"docker\.image\[library/python\]\[2\.7-slim-stretch\]"):
        pick_job(jobs, unbound)


def test_an_image_that_a_registry_would_have_told_can_be_bound(shared: Path) -> None:
    source = (shared / "data/aurora-jobs/hello_docker_engine.aurora").read_bytes()
    name = "docker.image[library/python][2.7-slim-stretch]"
    jobs = read_jobs(source, user="vagrant", bindings={name: "python@sha256:0"})
    container = jobs[1].config.container
    assert container is not None
    assert container.image == "python@sha256:0"
    assert not jobs.refused
