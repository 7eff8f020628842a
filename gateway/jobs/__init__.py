"""Job configurations: ``.aurora`` texts and JSON documents -> :class:`framework.model.jobs.JobSpec`.

The language is Aurora's, read by an interpreter of its own syntax tree; nothing is executed. Reading is
bounded (:class:`Limits`); :mod:`gateway.jobs.sandbox` reads in a process that can be killed.
"""

from gateway.jobs.differences import Change, describe_diff
from gateway.jobs.limits import Limits
from gateway.jobs.reading import JobList, Refused, pick_job, read_jobs

__all__ = ["Change", "JobList", "Limits", "Refused", "describe_diff", "pick_job", "read_jobs"]
