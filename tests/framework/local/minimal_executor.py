"""A small pymesos executor for the tests; run as a program by the local Mesos.

A task's data is JSON: ``{"sleep": 1.0, "final": "TASK_FINISHED", "exit": null, "message": null}``.
It reports TASK_RUNNING, sleeps (for ever without ``sleep``), then reports ``final`` or exits with
status ``exit``. KILL gives TASK_KILLED. A framework message comes back with ``echo: `` before it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any

from pymesos import Executor, MesosExecutorDriver, decode_data, encode_data


class Minimal(Executor):
    def __init__(self) -> None:
        self.killed: set[str] = set()

    def registered(self, driver: Any, executor_info: Any, framework_info: Any, agent_info: Any) -> None:
        print("registered", json.dumps([executor_info, framework_info, agent_info]), flush=True)

    def reregistered(self, driver: Any, agent_info: Any) -> None:
        print("reregistered", flush=True)

    def launchTask(self, driver: Any, task: Any) -> None:
        print("launchTask", json.dumps(task), flush=True)
        threading.Thread(target=self.work, args=(driver, task), daemon=True).start()

    def launchTaskGroup(self, driver: Any, tasks: Any) -> None:
        print("launchTaskGroup", len(tasks), flush=True)
        for task in tasks:
            threading.Thread(target=self.work, args=(driver, task), daemon=True).start()

    def work(self, driver: Any, task: Any) -> None:
        todo = json.loads(decode_data(task.get("data", "e30=")) or b"{}")
        task_id = task["task_id"]
        status = {
            "task_id": task_id,
            "state": "TASK_RUNNING",
            "message": "up",
            "data": encode_data(b"some data"),
        }
        driver.sendStatusUpdate(status)
        if todo.get("message"):
            driver.sendFrameworkMessage(encode_data(todo["message"].encode()))
        if todo.get("sleep") is None and todo.get("exit") is None:
            return
        time.sleep(todo.get("sleep") or 0)
        if todo.get("exit") is not None:
            os._exit(todo["exit"])
        if task_id["value"] in self.killed:
            return
        final = {"task_id": task_id, "state": todo.get("final", "TASK_FINISHED")}
        for _ in range(300):
            try:
                driver.sendStatusUpdate(dict(final))
                return
            except Exception as error:  # noqa: BLE001 - pymesos raises RuntimeError while it is not connected
                print("sendStatusUpdate failed", repr(error), flush=True)
                time.sleep(0.2)

    def killTask(self, driver: Any, task_id: Any) -> None:
        self.killed.add(task_id["value"])
        driver.sendStatusUpdate(
            {"task_id": task_id, "state": "TASK_KILLED", "message": "killed on request"}
        )

    def frameworkMessage(self, driver: Any, message: Any) -> None:
        driver.sendFrameworkMessage(encode_data(b"echo: " + decode_data(message)))

    def shutdown(self, driver: Any) -> None:
        print("shutdown", flush=True)


if __name__ == "__main__":
    dump = os.environ.get("ENV_DUMP")
    if dump:
        about = {"pid": os.getpid(), "pgid": os.getpgid(0), "sid": os.getsid(0), "cwd": os.getcwd()}
        with open(dump, "w", encoding="utf-8") as file:
            json.dump({**about, "env": dict(os.environ)}, file)
    MesosExecutorDriver(Minimal()).run()
    sys.exit(0)
