"""Who of several replicas leads, by ZooKeeper: ephemeral, sequential nodes, the lowest leads.

ZooKeeper cannot exclude that two believe to lead at the same moment (one may have been stopped, or
cut off, and not know it yet). What does is the epoch in the storage; the election decides who claims
it. Here a leader holds a :class:`framework.lease.Lease` besides, which ends before its session can.

Kazoo's own Lock and Election are not used: they tell neither a standby who leads, nor a leader that
the node which made it one is gone.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NoNodeError
from kazoo.protocol.connection import ConnectionHandler
from kazoo.protocol.serialization import Connect
from kazoo.protocol.states import KazooState
from kazoo.security import CREATOR_ALL_ACL, READ_ACL_UNSAFE

from framework.lease import SESSION_SECONDS, Lease, uptime
from framework.mesos.masters import ZooKeeperUrl

logger = logging.getLogger(__name__)

# Beside the candidates: the id of the framework that they run.
FRAMEWORK = "framework"
# Of the session: how often it is confirmed, and how long a confirmation holds.
_BEAT = 1 / 6
_HOLDS = 2 / 3
# Of the session: how long a server may take to welcome us.
_WELCOME = 1 / 3
_UNSIGNED = 2**64 - 1
_CANDIDATE = re.compile(r"candidate-[0-9a-f]{32}-[0-9a-f]+-(\d{10})")


class Standing(msgspec.Struct, frozen=True):
    """How the election stands, as this replica sees it.

    ``lease`` is its own while it leads; a new one for each time that it is elected. ``leader`` is the
    URL of who leads, None while that is nobody, or not known. ``problem`` says why it is not known.
    """

    lease: Lease | None = None
    leader: str | None = None
    problem: str | None = "the election has not begun"


class _First(msgspec.Struct, frozen=True):
    """The candidate that leads: its node, the session that owns the node, what it advertises."""

    node: str
    session: int
    url: str


def first_of(children: Iterable[str]) -> str | None:
    """Returns the candidate that leads: the lowest sequence; whatever is no candidate is left out."""
    found = [(match[1], child) for child in children if (match := _CANDIDATE.fullmatch(child))]
    return min(found)[1] if found else None


class _Handshake(ConnectionHandler):  # type: ignore[misc]  # kazoo has no types
    """Kazoo waits for the answer to its greeting as long as a session lasts.

    A server that is just starting may never give one (3.8, where the connection comes before the
    server runs): the session would be over before the next attempt. And kazoo forgets what is in it:
    ``granted`` is for how many seconds the server keeps a session, None before the first answer.
    """

    granted: float | None = None

    def _invoke(self, timeout: float, request: Any, xid: int | None = None) -> Any:
        patience = self.client._session_timeout / 1000 * _WELCOME
        answer = super()._invoke(min(timeout, patience), request, xid)
        if isinstance(request, Connect):
            self.granted = answer[0].time_out / 1000 or self.granted
        return answer


class Election:
    """One candidate. ``url`` is where others reach it; ``session`` (seconds) is the timeout to ask for.

    ``changed`` is called, on the election's own thread, whenever :attr:`standing` has changed.
    """

    def __init__(
        self,
        zookeeper: ZooKeeperUrl,
        url: str,
        changed: Callable[[], None],
        *,
        session: float = SESSION_SECONDS,
        clock: Callable[[], float] = uptime,
    ) -> None:
        self.url = url
        self._asked = session
        self.client = KazooClient(
            hosts=zookeeper.hosts,
            timeout=session,
            auth_data=[("digest", zookeeper.auth)] if zookeeper.auth else None,
            default_acl=[*CREATOR_ALL_ACL, *READ_ACL_UNSAFE] if zookeeper.auth else None,
            # Kazoo would wait for a minute between its attempts.
            connection_retry={"max_tries": -1, "delay": 0.1, "max_delay": 1.0},
            logger=logging.getLogger("framework.zookeeper"),
        )
        made = self.client._connection
        self._handshake = self.client._connection = _Handshake(
            self.client, made.retry_sleeper, logger=made.logger, sasl_options=made.sasl_options
        )
        self._where = zookeeper
        self._changed = changed
        self._clock = clock
        self._standing = Standing()
        self._identity = uuid.uuid4().hex
        self._assured = False
        self._first: _First | None = None
        self._node: str | None = None
        self._expires = float("-inf")
        self._lost = False
        self._lock = threading.Lock()
        self._rest_until = float("-inf")
        self._resigning = False
        self._framework: str | None = None
        self._remembering: str | None = None
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="election", daemon=True)

    # -- any thread --------------------------------------------------------------------------------

    @property
    def standing(self) -> Standing:
        return self._standing

    @property
    def session(self) -> float:
        """For how many seconds ZooKeeper waits for this replica: as asked for, or less if it must be."""
        granted = self._handshake.granted
        return self._asked if granted is None else min(self._asked, granted)

    def start(self) -> None:
        """Stands for election; returns at once, also while ZooKeeper is down."""
        self.client.add_listener(self._hear)
        self._thread.start()

    def stop(self) -> None:
        """Leaves: if this replica leads, another one is elected at once."""
        self._stopping.set()
        self._news.set()
        if self._thread.ident is not None:
            self._thread.join()

    def resign(self, rest: float) -> None:
        """Lets another one lead, and does not stand again for ``rest`` seconds."""
        self._rest_until = self._clock() + rest
        self._resigning = True
        self._news.set()

    @property
    def framework(self) -> str | None:
        """The framework that the replicas run, as ZooKeeper has it; known to whoever leads."""
        return self._framework

    def remember(self, framework: str) -> None:
        """Has ZooKeeper know the framework that the replicas run; for whoever leads."""
        if framework != self._framework:
            self._remembering = framework
            self._news.set()

    def _hear(self, state: str) -> None:
        """Kazoo's thread tells how the connection is: nothing is done without one."""
        with self._lock:
            self._lost = self._lost or state == KazooState.LOST
            lease = self._standing.lease
            if state != KazooState.CONNECTED and lease is not None:
                lease.drop(self._away())
        self._news.set()

    def _away(self) -> str:
        return f"ZooKeeper ({self._where.hosts}) does not answer, so nobody knows who leads"

    # -- the election's thread ---------------------------------------------------------------------

    def _run(self) -> None:
        self.client.start_async().wait(self.session * _BEAT)  # or it would seem to be away
        try:
            while not self._stopping.is_set():
                self._news.clear()
                self._step()
                self._news.wait(self._pause())
        except Exception:
            logger.critical("the election has failed", exc_info=True)
            self._become(Standing(problem="the election has failed; the log says why"))
        finally:
            self._leave()

    def _pause(self) -> float:
        """Returns for how long there is nothing to do unless something is heard."""
        beat = self.session * _BEAT
        if self._standing.lease is None:
            return beat
        return min(beat, max(0.01, self._expires - self._clock()))

    def _step(self) -> None:
        asked = self._clock()
        try:
            if self._resigning:
                self._withdraw()
            if self.client.state != KazooState.CONNECTED or self.client.client_id is None:
                self._unknown(self._away())
                return
            session = int(self.client.client_id[0])
            first = self._look(session)
        except self.client.handler.timeout_exception:
            self._unknown(self._away())
        except NoNodeError:
            self._assured = False
            self._news.set()  # a node went away between two questions: ask again
        except KazooException as error:
            text = str(error) or type(error).__name__
            self._unknown(f"ZooKeeper ({self._where.hosts}) refuses: {text}")
        else:
            self._known(first, session, asked)

    def _look(self, session: int) -> _First | None:
        """Stands for election, unless that is done; returns who leads. Raises kazoo's exceptions."""
        client, path = self.client, self._where.path
        if not self._assured:
            self._ask(client.ensure_path_async(path))
            self._assured = True
        children = self._ask(client.get_children_async(path, watch=self._watch))
        mine = f"candidate-{self._identity}-{session & _UNSIGNED:x}-"
        # By name, not by memory: the answer to a creation may have been lost on the way.
        if self._clock() >= self._rest_until and not any(c.startswith(mine) for c in children):
            data = self.url.encode()
            made = client.create_async(f"{path}/{mine}", data, ephemeral=True, sequence=True)
            logger.info("standing for election as %s", self._ask(made))
            children = self._ask(client.get_children_async(path, watch=self._watch))
        node = first_of(children)
        if node is None:
            return None
        if self._first is None or self._first.node != node:
            data, stat = self._ask(client.get_async(f"{path}/{node}"))
            self._first = _First(node, stat.ephemeralOwner, data.decode("utf-8", "replace"))
        if self._first.session == session:
            self._keep_framework(new=self._node != node)
        return self._first

    def _keep_framework(self, new: bool) -> None:
        """Reads which framework it is, for a ``new`` leader; writes it if that has been asked for."""
        node = f"{self._where.path}/{FRAMEWORK}"
        if new:
            self._framework, self._remembering = None, None
            with contextlib.suppress(NoNodeError):
                self._framework = self._ask(self.client.get_async(node))[0].decode("utf-8", "replace")
        framework = self._remembering
        if framework is not None:
            try:
                self._ask(self.client.set_async(node, framework.encode()))
            except NoNodeError:
                self._ask(self.client.create_async(node, framework.encode()))
            self._framework, self._remembering = framework, None

    def _ask(self, pending: Any) -> Any:
        """Returns what kazoo answers, within a beat: whoever leads must know in time that he may not."""
        patience = self.session * _BEAT
        if self._standing.lease is not None:
            patience = min(patience, max(0.05, self._expires - self._clock()))
        return pending.get(timeout=patience)

    def _watch(self, event: object) -> None:
        self._news.set()

    def _known(self, first: _First | None, session: int, asked: float) -> None:
        """ZooKeeper has said who leads; ``asked`` is when it was asked."""
        if first is None or first.session != session:
            self._drop("another replica leads")
            problem = None if first else "no replica stands for election"
            self._become(Standing(leader=first.url if first else None, problem=problem))
            return
        with self._lock:
            client = self.client.client_id
            if self.client.state != KazooState.CONNECTED or client is None or client[0] != session:
                return  # the connection ended after the answer: that has been heard, and counts
            self._lost = False
            lease = self._standing.lease
            if lease is None or self._node != first.node:
                self._drop("another election has been won")
                lease = Lease(self._clock)
            self._node = first.node
            # The session cannot end sooner than its timeout after the question.
            self._expires = asked + self.session
            lease.extend(asked + self.session * _HOLDS, self._away())
        self._become(Standing(lease=lease, leader=self.url, problem=None))

    def _unknown(self, problem: str) -> None:
        """Who leads cannot be said. A leader keeps its place until its session must have ended."""
        with self._lock:
            lost, self._lost = self._lost, False
        lease = self._standing.lease
        if lease is not None and (lost or self._clock() >= self._expires):
            logger.warning("the session with ZooKeeper has ended: this replica does not lead any more")
            self._drop(problem)
            lease = None
        # A request that took too long is no reason to doubt what holds anyway.
        certain = lease is not None and lease.refusal() is None
        self._become(
            Standing(
                lease=lease,
                leader=self.url if certain else None,
                problem=None if certain else problem,
            )
        )

    def _drop(self, reason: str) -> None:
        lease = self._standing.lease
        if lease is not None:
            lease.drop(reason)
        self._node = None

    def _become(self, standing: Standing) -> None:
        if standing != self._standing:
            self._standing = standing
            if standing.problem:
                logger.warning("no leader: %s", standing.problem)
            else:
                logger.info("%s leads%s", standing.leader, " (this replica)" if standing.lease else "")
            self._changed()

    def _withdraw(self) -> None:
        """Gives up every node of this replica, also one that it does not know of."""
        self._drop("this replica has resigned")
        self._become(Standing(problem="this replica has resigned; the others have not elected yet"))
        if self.client.state != KazooState.CONNECTED:
            return
        path = self._where.path
        for child in self._ask(self.client.get_children_async(path)):
            if child.startswith(f"candidate-{self._identity}-"):
                self._ask(self.client.delete_async(f"{path}/{child}"))
        self._resigning = False

    def _leave(self) -> None:
        self._drop("this replica is stopping")
        # The end of the session removes the nodes.
        self.client.stop()
        self.client.close()
