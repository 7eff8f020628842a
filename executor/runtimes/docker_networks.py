"""The Docker networks of nodes: made when needed, shared by executors, removed when nobody is left.

Several executors do this at the same time, so whatever is missing, or there already, is looked at
again. Only when that does not help the task fails.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterable

from executor import networks
from executor.runtimes.base import CannotRun
from executor.runtimes.docker_api import DockerApi, Down, NoSuchThing, Refused
from executor.task import Attachment

logger = logging.getLogger(__name__)

_TRIES = 20
_PAUSE = 0.1
# For so long (seconds) it may be that another makes, or removes, the same network: a daemon with much
# to do takes seconds for one.
_RACE_SECS = 10.0
# What another executor that does the same may have caused; looking again tells.
_RACES = ("already exists", "overlap", "ambiguous", "already in use", "has active endpoints")


class NodeNetworks:
    """The networks of one node. Its methods can be repeated; they raise ``Down`` and ``CannotRun``."""

    def __init__(
        self, docker: DockerApi, attachments: tuple[Attachment, ...], framework_id: str, patience: float
    ) -> None:
        self._docker = docker
        self._attachments = attachments
        self._framework_id = framework_id
        self._patience = patience

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(map(networks.network_name, self._attachments))

    def ensure(self) -> None:
        """Makes the networks that this agent does not have yet."""
        for attachment in self._attachments:
            self._ensure_one(attachment)

    def connect_others(self, container: str) -> None:
        """Connects a running container, which has the first network, to the others, in their order."""
        for attachment in self._attachments[1:]:
            self._connect(container, attachment)

    def disconnect_others(self, container: str) -> None:
        """Leaves a container that is about to start again with the first network only."""
        for attachment in self._attachments[1:]:
            try:
                self._docker.disconnect(networks.network_name(attachment), container)
            except (NoSuchThing, Refused) as error:
                logger.debug("container %s leaves no network: %s", container, error)

    def _ensure_one(self, attachment: Attachment) -> None:
        name = networks.network_name(attachment)
        made, trouble = "", ""
        give_up = time.monotonic() + _RACE_SECS
        while time.monotonic() < give_up:
            found = networks.choose(name, self._docker.networks(name))
            if found is not None:
                if made and made != found.get("Id"):
                    remove(self._docker, made)
                why = networks.difference(attachment, found)
                if why is not None:
                    raise CannotRun(why)
                return
            try:
                made = self._docker.create_network(networks.creation(attachment, self._framework_id))
            except (Refused, NoSuchThing) as error:
                trouble = str(error)
                if not any(word in trouble for word in _RACES):
                    break
                time.sleep(_PAUSE * random.uniform(0.5, 1.5))
        raise CannotRun(networks.explain_creation(attachment, trouble))

    def _connect(self, container: str, attachment: Attachment) -> None:
        name, give_up = networks.network_name(attachment), time.monotonic() + self._patience
        for _ in range(_TRIES):
            try:
                self._docker.connect(name, container, attachment.address)
                return
            except (NoSuchThing, Refused) as error:
                text = str(error)
                if "already exists in network" in text:
                    return
                if networks.is_taken(text):
                    if time.monotonic() > give_up:
                        raise CannotRun(networks.explain_taken([attachment])) from error
                    time.sleep(self._patience / _TRIES)
                elif networks.is_gone(text):
                    self._ensure_one(attachment)
                else:
                    raise CannotRun(
                        f"the container cannot be connected to network {name}: {text}"
                    ) from error
        raise CannotRun(networks.explain_taken([attachment]))


def remove_unused(docker: DockerApi, names: Iterable[str] | None = None) -> None:
    """Removes networks of ours (of ``names``, or all) that no container uses; trouble is only logged."""
    try:
        found = docker.networks()
        wanted = [str(n["Name"]) for n in found if (n.get("Labels") or {}).get(networks.LABEL)]
        if names is not None:
            wanted = sorted({*wanted} & {*names})
        if not wanted:
            return
        # The containers after the networks: a network that is made meanwhile is not among those found.
        for identity, name in networks.unused(wanted, found, docker.labels_of_users()):
            if remove(docker, identity):
                logger.info("network %s is removed: its last container has left", name)
    except (Down, Refused, NoSuchThing) as error:
        logger.info("networks are not removed yet: %s", error)


def remove(docker: DockerApi, identity: str) -> bool:
    """Removes a network; returns whether it was done. One that is in use, or gone, is none of ours."""
    try:
        docker.remove_network(identity)
    except (Refused, NoSuchThing) as error:
        logger.debug("network %s is not removed: %s", identity, error)
        return False
    return True
