"""Runs a task of a fabfile as ``fab`` does: ``run_fabfile.py FILE TASK``.

A function without ``@task`` is a task as well. Ends with status 64 for a task that the file does not
define.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from types import ModuleType
from typing import Any

NO_SUCH_TASK = 64


def load(path: str) -> ModuleType:
    """Returns the fabfile as a module."""
    spec = importlib.util.spec_from_file_location("fabfile", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules["fabfile"] = module
    spec.loader.exec_module(module)
    return module


def run(module: ModuleType, name: str) -> int:
    """Runs the task; returns the status to end with."""
    from invoke.tasks import Task

    task: Any = getattr(module, name, None)
    if isinstance(task, Task):
        return _run_as_fab(module, name)
    if not inspect.isfunction(task):
        print(f"the fabfile has no task {name}", file=sys.stderr)  # noqa: T201 - for whoever has started it
        return NO_SUCH_TASK
    arguments: list[Any] = []
    needed = [p for p in inspect.signature(task).parameters.values() if p.default is p.empty]
    if any(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in needed):
        from invoke.context import Context

        arguments.append(Context())
    result = task(*arguments)
    return result if isinstance(result, int) and not isinstance(result, bool) else 0


def _run_as_fab(module: ModuleType, name: str) -> int:
    from fabric import Config, Executor
    from fabric.main import Fab
    from invoke.collection import Collection

    fab = Fab(
        name="orchestrator",
        version="",
        executor_class=Executor,
        config_class=Config,
        namespace=Collection.from_module(module),
    )
    fab.run(["orchestrator", name.replace("_", "-")], exit=True)
    return 0


if __name__ == "__main__":
    # Not importable by what is run here, which is a file of somebody else's.
    sys.exit(run(load(sys.argv[1]), sys.argv[2]))
