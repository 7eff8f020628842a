"""What is shown of a job leaves out what nobody is to read."""

from __future__ import annotations

from executor.task import Node, NodeFile
from framework.core.messages import Job, JobView
from framework.model.jobs import JobKey, JobSpec, Resources, TaskConfig
from gateway.api.alpha import views
from gateway.api.http import json_text


def test_the_files_of_a_node_are_named_and_not_shown() -> None:
    files = (NodeFile("/etc/ssh/ssh_host_ed25519_key", "SECRET", 0o600),)
    config = TaskConfig(Resources(1, 64, 0), "{}", node=Node("n0", files=files))
    spec = JobSpec(JobKey("devcluster", "me", "paas", "x"), 1, config)
    shown = json_text(views.job(JobView(Job(spec, 1.0, "me", {0: config}), ())))
    assert b"/etc/ssh/ssh_host_ed25519_key" in shown
    assert b"SECRET" not in shown
