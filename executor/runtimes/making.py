"""The container of one task: how it is made, started and removed."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from typing import Any

from executor.networks import explain_taken, is_gone, is_taken
from executor.node import archive
from executor.runtimes.base import Cancelled, CannotRun, TaskContext
from executor.runtimes.docker_api import DockerApi, NoSuchThing, Refused
from executor.runtimes.docker_networks import NodeNetworks
from executor.runtimes.docker_options import (
    OWNER,
    ContainerOptions,
    container_name,
    explain_start,
    is_orphan,
    wait_for_networks,
)
from executor.runtimes.patience import RETRY_PAUSE, Patience

logger = logging.getLogger(__name__)

# How often a network is made that others remove meanwhile.
_TRIES = 5
_NEVER = "0001-01-01T00:00:00Z"


class TaskContainer:
    """``id`` is Docker's, "" before it is made. Methods raise :class:`CannotRun`, :class:`Cancelled`."""

    def __init__(
        self, context: TaskContext, docker: DockerApi, patiently: Patience, options: ContainerOptions
    ) -> None:
        self.id = ""
        self.options = options
        # When the container was started last, as far as it was seen to end; at first never.
        self.since = _NEVER
        node = context.payload.node
        self.attachments = node.networks if node is not None else ()
        self._context = context
        self._docker = docker
        self._patiently = patiently
        self._networks = NodeNetworks(
            docker,
            self.attachments,
            context.environment.framework_id,
            context.options.address_patience,
        )
        self._connected = False
        self._touched = False
        self._name = container_name(context.payload.task_id)

    def make(self, waits: bool) -> None:
        """Makes the container, with the networks and files of a node.

        ``waits``: its command begins only when the node has all of its interfaces.
        """
        if self._context.payload.pull_policy == "always":
            self._pull()
        self._touched = True
        self._patiently(self._networks.ensure)
        if waits and len(self.attachments) > 1:
            wait_for_networks(self.options, self._image_config(), len(self.attachments))
        self._create()
        self._put_files()

    def discard(self) -> None:
        """Removes the container, and networks that it was the last in."""
        if self.id:
            self._docker.discard(self.id, self._networks.names)
        elif self._touched:
            # Made, perhaps, by a call whose answer was lost; or another's, who has the name.
            self._docker.discard(self._name, self._networks.names, self._context.owner)

    def _pull(self) -> None:
        image = self.options.image
        logger.info("pulling image %s", image)
        try:
            self._patiently(lambda: self._docker.pull(image, self._patiently.cancelled.is_set))
        except (Refused, NoSuchThing) as error:
            raise CannotRun(f"no such image {image}: it cannot be pulled: {error}") from error
        if self._patiently.cancelled.is_set():
            raise Cancelled

    def _image_config(self) -> dict[str, Any]:
        """Returns what the image says of itself; pulls it if it is not there."""
        try:
            about = self._patiently(lambda: self._docker.image(self.options.image))
        except NoSuchThing as error:
            self._pull_missing(error)
            about = self._patiently(lambda: self._docker.image(self.options.image))
        return about.get("Config") or {}

    def _create(self) -> None:
        try:
            self.id = self._create_once()
        except NoSuchThing as error:
            if "image" not in str(error).lower():
                raise CannotRun(self._explain(str(error))) from error
            self._pull_missing(error)
            try:
                self.id = self._create_once()
            except NoSuchThing as again:
                raise CannotRun(f"no such image {self.options.image}: {again}") from again

    def _pull_missing(self, error: NoSuchThing) -> None:
        if self._context.payload.pull_policy == "never":
            raise CannotRun(
                f"no such image {self.options.image} on this agent, and the pull policy is 'never'"
            ) from error
        self._pull()

    def _put_files(self) -> None:
        """Writes the node's files into the container, which has not been started."""
        node = self._context.payload.node
        if node is None or not node.files:
            return
        data = archive(node.files)
        try:
            self._patiently(lambda: self._docker.put_archive(self.id, "/", data))
        except (Refused, NoSuchThing) as error:
            raise CannotRun(f"the node's files cannot be written into its container: {error}") from error

    def _create_once(self) -> str:
        try:
            return self._patiently(lambda: self._docker.create(self._name, self.options))
        except Refused as error:
            if error.status != 409:
                raise CannotRun(self._explain(str(error))) from error
        self._free_name()
        try:
            return self._patiently(lambda: self._docker.create(self._name, self.options))
        except Refused as error:
            raise CannotRun(self._explain(str(error))) from error

    def _free_name(self) -> None:
        """The name is taken: by a call whose answer was lost, by a dead executor, or by a stranger."""
        try:
            about = self._patiently(lambda: self._docker.inspect(self._name))
        except NoSuchThing:
            return
        labels = (about.get("Config") or {}).get("Labels") or {}
        if labels.get(OWNER) == self._context.owner or is_orphan(labels, self._context.environment):
            self._docker.discard(str(about["Id"]))
        else:
            self._name = f"{self._name}-{uuid.uuid4().hex[:8]}"

    def start(self, before: Callable[[], None] = lambda: None) -> None:
        """Starts the container, and connects it to all of its networks.

        ``before`` is called before each try: a start that is refused ends what is attached.
        """
        if self._connected:
            # Docker would attach it to all of them again, in any order.
            self._patiently(lambda: self._networks.disconnect_others(self.id))
        give_up, tries = time.monotonic() + self._context.options.address_patience, 0
        while True:
            before()
            try:
                self._start_once()
            except (Refused, NoSuchThing) as error:
                text, tries = str(error), tries + 1
                if "docker-init" in text and self.options.host.get("init"):
                    self._without_init(before)
                    return
                if self.attachments and is_gone(text) and tries <= _TRIES:
                    self._patiently(self._networks.ensure)
                elif self.attachments and is_taken(text) and time.monotonic() < give_up:
                    # It may be that of a container which is being removed.
                    self._patiently.cancelled.wait(RETRY_PAUSE)
                else:
                    raise CannotRun(self._explain(text)) from error
            else:
                break
        self._connected = len(self.attachments) > 1
        self._patiently(lambda: self._networks.connect_others(self.id))

    def _start_once(self) -> None:
        asked = False

        def start() -> None:
            nonlocal asked
            again, asked = asked, True
            # If only the answer was lost, a second start would run the task a second time.
            if not again or self._docker.inspect(self.id)["State"]["StartedAt"] == self.since:
                self._docker.start(self.id)

        self._patiently(start)

    def _without_init(self, before: Callable[[], None]) -> None:
        """This daemon has no docker-init: the command becomes the first process of its container."""
        logger.warning("the Docker daemon has no docker-init; containers run without it")
        self._docker.discard(self.id)
        self.options = ContainerOptions(
            self.options.image, self.options.create, {**self.options.host, "init": False}
        )
        self.id = self._create_once()
        self._put_files()
        self.start(before)

    def _explain(self, text: str) -> str:
        if self.attachments and is_taken(text):
            return explain_taken(self.attachments[:1])
        return explain_start(text, self.options.image, self._context.payload.ports)
