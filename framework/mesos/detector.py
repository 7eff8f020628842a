"""The leading master as ZooKeeper knows it: pymesos's detector, patient and closable.

pymesos's gives up (and raises) when ZooKeeper does not answer within 15 s of the start, and when the
masters' path does not exist yet.
"""

from __future__ import annotations

import logging
import threading
from typing import Protocol

import msgspec
from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.recipe.watchers import ChildrenWatch

from framework.mesos.masters import Address, ZooKeeperUrl
from framework.mesos.quiet import MasterDetector

logger = logging.getLogger(__name__)

_SESSION_TIMEOUT = 10.0
_POLL = 2.0


class Follower(Protocol):
    """Who is told where the leading master is."""

    def change_master(self, master: str | None) -> None: ...


class _Endpoint(msgspec.Struct):
    port: int
    ip: str = ""
    hostname: str = ""


class _MasterInfo(msgspec.Struct):
    """What a master of Mesos >= 0.24 writes under ``json.info_<sequence>``."""

    address: _Endpoint


class Detector(MasterDetector):
    """Calls ``follower.change_master("host:port" | None)`` whenever the leader changes.

    :meth:`start` returns at once, also while ZooKeeper is down; :meth:`stop` ends its threads.
    """

    def __init__(self, url: ZooKeeperUrl, follower: Follower) -> None:
        # MasterDetector.__init__ would make a client that knows neither credentials nor patience.
        self.masterSeq = None
        self.agent = self
        self._follower = follower
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.zk = KazooClient(
            hosts=url.hosts + url.path,
            timeout=_SESSION_TIMEOUT,
            auth_data=[("digest", url.auth)] if url.auth else None,
            # Kazoo would wait for a minute between its attempts.
            connection_retry={"max_tries": -1, "max_delay": 5.0},
            logger=logging.getLogger("framework.mesos.zookeeper"),
        )

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="mesos-detector", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        connected = self.zk.start_async()
        watch: ChildrenWatch | None = None
        try:
            while not self._stop.is_set():
                if not connected.is_set():
                    connected.wait(_POLL / 10)
                    continue
                if watch is None or watch._stopped:  # it stops, silently, without the path
                    try:
                        watch = self._watch()
                    except Exception:
                        # A defect, or what kazoo does not document: look again, or nobody would.
                        logger.critical("who leads the masters cannot be looked up", exc_info=True)
                self._stop.wait(_POLL)
        finally:
            self.zk.stop()
            self.zk.close()

    def _watch(self) -> ChildrenWatch | None:
        try:
            if self.zk.exists("/") is None:
                self.onNoMasterDetectedMessage()
                return None
            self.masterSeq = None
            return ChildrenWatch(self.zk, "", self.choose)
        except KazooException as error:
            logger.warning("ZooKeeper does not tell who leads: %s", error or type(error).__name__)
            return None

    def choose(self, children: list[str]) -> bool:
        """The masters' nodes have changed; the lowest sequence leads (pymesos's rule)."""
        # Before 0.24 masters wrote protobuf under info_<sequence>; those cannot be read here.
        return bool(super().choose([child for child in children if child.startswith("json.info_")]))

    # What MasterDetector calls on its agent.

    def onNewMasterDetectedMessage(self, data: bytes | None) -> None:  # noqa: N802
        if data is None:
            return  # the leader's node went away before it was read; the children change next
        try:
            address = msgspec.json.decode(data, type=_MasterInfo).address
        except msgspec.DecodeError as error:
            logger.warning("ZooKeeper holds a master that cannot be read: %s", error)
            return
        self._follower.change_master(str(Address(address.ip or address.hostname, address.port)))

    def onNoMasterDetectedMessage(self) -> None:  # noqa: N802
        self.masterSeq = None
        self._follower.change_master(None)
