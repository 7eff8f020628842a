"""Who leads, with a real ZooKeeper: at most one acts, whatever happens to it, and another follows."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
from kazoo.client import KazooClient

from framework.core.messages import KillTasks
from framework.election import Election, Standing, first_of
from framework.lease import SESSION_SECONDS, Lease
from framework.mesos.masters import ZooKeeperUrl
from framework.model.errors import Unavailable
from framework.model.jobs import JobKey
from framework.storage import Fenced, Storage, StorageUnavailable
from tests.faults.replicas import (
    CALM_SESSION,
    PATIENCE,
    SESSION,
    Member,
    create,
    eventually,
    fresh_path,
    lasted,
    took,
)
from tests.faults.seeds import seeded
from tests.framework.cluster import Cluster
from tests.measured import Measured, Stopwatch
from tests.postgres import Postgres
from tests.zookeeper import TICK_MS, Way, ZooKeeper


class MakeMember(Protocol):
    def __call__(self, name: str, session: float = ...) -> Member: ...


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.close()


def makes(zookeeper: str, cluster: Cluster, tmp_path: Path, usual: float) -> Iterator[MakeMember]:
    path, members = fresh_path(), list[Member]()

    def make(name: str, session: float = usual) -> Member:
        member = Member(name, zookeeper, path, tmp_path / "state.db", cluster.address, session)
        members.append(member)
        member.replica.start()
        return member

    yield make
    for member in members:
        member.close()


@pytest.fixture
def member(zookeeper_address: str, cluster: Cluster, tmp_path: Path) -> Iterator[MakeMember]:
    """Makes replicas that share a state and a ZooKeeper that nothing happens to."""
    yield from makes(zookeeper_address, cluster, tmp_path, CALM_SESSION)


@pytest.fixture
def way(zookeeper_address: str) -> Iterator[Way]:
    """A way of the test's own to the ZooKeeper that nothing happens to."""
    way = Way(int(zookeeper_address.rpartition(":")[2]))
    yield way
    way.close()


@pytest.fixture
def exposed(own_zookeeper: ZooKeeper, cluster: Cluster, tmp_path: Path) -> Iterator[MakeMember]:
    """The same over a ZooKeeper that the test harms."""
    yield from makes(own_zookeeper.address, cluster, tmp_path, SESSION)


def pair(make: MakeMember) -> tuple[Member, Member]:
    """A leader and its standby."""
    first = make("one:1")
    eventually(lambda: first.ready)
    second = make("two:2")
    eventually(lambda: second.replica.leader == "http://one:1")
    return first, second


# -- the decision ----------------------------------------------------------------------------------


def test_the_lowest_sequence_leads() -> None:
    nodes = [
        f"candidate-{'ab' * 16}-{session}-{number:010d}" for session, number in (("f1", 7), ("02", 3))
    ]
    assert first_of(["lock", *nodes, "candidate-x-1-0000000001"]) == nodes[1]
    assert first_of(["lock"]) is None
    assert first_of([]) is None


def test_a_lease_ends_by_itself() -> None:
    now = [100.0]
    lease = Lease(lambda: now[0])
    assert lease.refusal() == "the lease has not begun"
    lease.extend(104.0, "time is up")
    assert lease.refusal() is None
    now[0] = 104.0  # however long its holder slept meanwhile
    assert lease.refusal() == "time is up"
    lease.extend(110.0, "time is up")
    lease.drop("cut off")
    assert lease.refusal() == "cut off"


# -- the order of things ---------------------------------------------------------------------------


def test_one_leads_the_other_stands_by_and_follows_at_once(member: MakeMember, cluster: Cluster) -> None:
    first, second = pair(member)
    assert first.submit("hello", 3) is None
    eventually(lambda: len(cluster.running) == 3)
    assert not second.replica.leads
    assert second.replica.status().ready
    with pytest.raises(Unavailable, match="http://one:1 leads"):
        second.submit("refused")
    first.replica.stop()
    # It has left its place: nobody waits for the end of its session.
    assert second.candidates() == 1
    assert took(lambda: second.ready) < CALM_SESSION / 2
    assert second.replica.status().epoch == 2
    assert second.replica.leader == "http://two:2"
    # The same framework, the same tasks: adopted, and in its hands.
    assert cluster.calls("TEARDOWN") == []
    assert len(cluster.launched) == len(cluster.running) == 3
    key = JobKey("devcluster", "www-data", "prod", "hello")
    second.replica.submit(KillTasks(at=0.0, key=key, instances=None)).result(PATIENCE)
    eventually(lambda: not cluster.running)


def test_leading_again_in_the_same_process(member: MakeMember, cluster: Cluster) -> None:
    first, second = pair(member)
    first.submit("one", 1)
    for leader, other in ((first, second), (second, first), (first, second)):
        before = leader.replica.terms
        assert leader.ready
        eventually(lambda: first.candidates() == 2)
        leader.election.resign(rest=0.2)
        assert took(lambda other=other: other.ready) < CALM_SESSION / 2
        eventually(lambda leader=leader, other=other: leader.replica.leader == other.replica.url)
        eventually(lambda leader=leader: not leader.replica.serves)
        assert leader.replica.terms == before
        other.submit(f"by-{other.replica.url[-1]}-{before}")
    assert second.replica.status().epoch == 4
    # What one wrote the others have read: nothing was lost on the way.
    listed = second.replica.query(lambda core: core.list_jobs("devcluster", "www-data")).result(PATIENCE)
    assert len(listed) == 4


def test_a_session_that_zookeeper_ends_is_noticed_and_another_leads(
    member: MakeMember, cluster: Cluster
) -> None:
    first, second = pair(member)
    first.submit("hello", 2)
    eventually(lambda: len(cluster.running) == 2)
    first.end_session()
    assert lasted(lambda: first.replica.leads) < CALM_SESSION / 2
    eventually(lambda: second.ready)
    # It stands again, behind the other.
    eventually(lambda: first.replica.leader == "http://two:2")
    assert len(cluster.launched) == 2


def test_a_state_that_cannot_be_read_is_left_to_the_others(
    zookeeper_address: str, cluster: Cluster, tmp_path: Path
) -> None:
    path, state = fresh_path(), tmp_path / "state.db"
    broken = Member("one:1", zookeeper_address, path, state, cluster.address)
    healthy = Member("two:2", zookeeper_address, path, tmp_path / "other.db", cluster.address)
    broken.storage.close()
    state.write_bytes(b"nothing that a database would be made of" * 100)
    for suffix in ("-wal", "-shm"):
        state.with_name(state.name + suffix).unlink(missing_ok=True)
    try:
        broken.replica.start()
        eventually(lambda: "cannot lead" in (broken.replica.failure or ""))
        healthy.replica.start()
        eventually(lambda: healthy.ready)
        eventually(lambda: broken.replica.leader == "http://two:2")
    finally:
        broken.close()
        healthy.close()


def test_a_state_that_is_not_the_shared_one_never_leads(
    zookeeper_address: str, cluster: Cluster, tmp_path: Path
) -> None:
    """Each host with a file of its own: the second would make a framework, and forget the tasks."""
    path = fresh_path()
    first = Member("one:1", zookeeper_address, path, tmp_path / "one.db", cluster.address)
    second = Member("two:2", zookeeper_address, path, tmp_path / "two.db", cluster.address)
    try:
        first.replica.start()
        eventually(lambda: first.ready)
        eventually(lambda: first.election.framework is not None)
        second.replica.start()
        eventually(lambda: second.replica.leader == "http://one:1")
        before = len(cluster.subscriptions)
        first.replica.stop()
        eventually(lambda: "all must have the same --state" in (second.replica.failure or ""))
        assert not second.replica.serves
        assert len(cluster.subscriptions) == before
    finally:
        first.close()
        second.close()


# -- F4: a leader that was stopped -----------------------------------------------------------------


@seeded(short=2)
def test_a_commit_held_up_until_another_leads_is_refused(
    member: MakeMember, cluster: Cluster, seed: int
) -> None:
    """What a SIGSTOP between a decision and its commit would do, at the worst of all moments."""
    chance = random.Random(seed)
    first, second = pair(member)
    before = [1 + chance.randrange(3) for _ in range(chance.randrange(3))]
    for number, instances in enumerate(before):
        first.submit(f"before-{number}", instances)
    # All that comes of them is stored: the next commit is that of what follows, and no other.
    eventually(lambda: len(cluster.acknowledged) == sum(before))
    first.storage.gate.clear()
    promise = first.replica.submit(create("held"))
    assert first.storage.waits.wait(PATIENCE)
    first.end_session()
    eventually(lambda: second.ready)
    second.submit("after", 1 + chance.randrange(3))
    epoch = second.replica.status().epoch
    commits = len(first.storage.committed)
    time.sleep(chance.random() * 0.2)
    first.storage.gate.set()
    with pytest.raises(Fenced):
        promise.result(PATIENCE)
    # No write of the former epoch has got in since; those of the new one go on.
    assert first.storage.committed[commits:] == []
    assert second.submit("later") is None
    assert second.replica.status().epoch == epoch
    names = second.replica.query(lambda core: core.list_jobs("devcluster", "www-data")).result(PATIENCE)
    assert "held" not in {key.name for key in names}
    wanted = second.replica.query(lambda core: core.counts()).result(PATIENCE)
    eventually(lambda: len(cluster.running) == sum(wanted.tasks.values()))
    assert len(cluster.launched) == len(set(cluster.launched))


def test_a_leader_stopped_inside_its_transaction_does_not_keep_the_state(
    postgres: Postgres,
) -> None:
    """PostgreSQL ends what it began, before the session with ZooKeeper is over; nobody waits for it."""
    url = postgres.new_database()
    stopped, heir = Storage(url), Storage(url)
    try:
        epoch = stopped.claim_epoch()
        stopped.load()
        heir.load()
        watch, claimed = Stopwatch(), 0

        def claim() -> bool:
            nonlocal claimed
            # A server that is busy may be late, and whoever is elected tries again.
            with contextlib.suppress(StorageUnavailable):
                claimed = heir.claim_epoch()
            return bool(claimed)

        def commit() -> None:
            with stopped._database.transaction() as connection:
                stopped._fence(connection, epoch)
                # Here it stops. The other one would be elected after six seconds.
                eventually(claim)

        with pytest.raises(StorageUnavailable):
            commit()
        assert claimed == epoch + 1
        assert watch.passed > 3
        assert watch.own < SESSION_SECONDS
        with pytest.raises(Fenced):
            stopped.commit((), epoch)
    finally:
        stopped.close()
        heir.close()


# -- F11: ZooKeeper goes away ----------------------------------------------------------------------


@pytest.mark.parametrize("unanswered", [0, 1])
def test_a_short_absence_suspends_and_nothing_more(
    way: Way, cluster: Cluster, tmp_path: Path, unanswered: int
) -> None:
    """``unanswered``: the first connection afterwards meets a ZooKeeper that is just starting."""
    first = Member("one:1", way.address, fresh_path(), tmp_path / "state.db", cluster.address)
    try:
        first.replica.start()
        eventually(lambda: first.ready)
        first.submit("hello", 2)
        eventually(lambda: len(cluster.acknowledged) == 2)
        way.cut()
        # At once, not when its time is up: nothing is promised, launched or acknowledged.
        assert lasted(lambda: first.replica.leads) < CALM_SESSION / 2
        with pytest.raises(Unavailable, match="ZooKeeper"):
            first.submit("refused")
        cluster.update(cluster.launched[0], "TASK_FAILED")
        assert first.replica.serves
        way.restore(unanswered)
        eventually(lambda: first.ready)
        assert way.unanswered == 0
        # The same term, and what was told meanwhile is heard now: acknowledged, and the task replaced.
        assert (first.replica.terms, first.replica.status().epoch) == (1, 1)
        eventually(lambda: len(cluster.launched) == 3)
        assert len(cluster.acknowledged) >= 3
    finally:
        first.close()


def test_nothing_is_done_while_it_is_suspended(
    exposed: MakeMember, own_zookeeper: ZooKeeper, cluster: Cluster
) -> None:
    first = exposed("one:1")
    eventually(lambda: first.ready)
    first.submit("hello", 1)
    eventually(lambda: len(cluster.acknowledged) == 1)
    own_zookeeper.freeze()  # not even a closed connection tells
    assert lasted(lambda: first.replica.leads) <= SESSION
    commits = len(first.storage.committed)
    cluster.update(cluster.launched[0], "TASK_FAILED")
    # Until it steps down, which is the end of its time.
    assert took(lambda: not first.replica.serves) <= SESSION + 1
    assert len(first.storage.committed) == commits
    assert len(cluster.acknowledged) == 1
    assert "ZooKeeper" in first.replica.status().problems[0]
    own_zookeeper.thaw()
    eventually(lambda: first.ready)
    assert first.replica.status().epoch >= 2
    eventually(lambda: len(cluster.launched) == 2)
    assert cluster.calls("TEARDOWN") == []


@seeded(short=1, long=20)
def test_zookeeper_dies_the_leader_steps_down_in_time_and_one_leads_again(
    exposed: MakeMember, own_zookeeper: ZooKeeper, cluster: Cluster, seed: int, measured: Measured
) -> None:
    chance = random.Random(seed)
    members = pair(exposed)
    members[0].submit("hello", 3)
    eventually(lambda: len(cluster.running) == 3)
    time.sleep(chance.random())
    own_zookeeper.kill()
    gone = Stopwatch()
    suspended = lasted(lambda: any(one.replica.leads for one in members))
    eventually(lambda: not any(one.replica.serves for one in members))
    gone.stop()
    # By what it hears: the lease would hold for longer.
    assert suspended < SESSION / 2
    assert gone.own <= SESSION + 0.5
    for one in members:
        eventually(lambda one=one: "ZooKeeper" in (one.replica.problem or ""))
        assert "ZooKeeper" in one.replica.status().problems[0]
    own_zookeeper.start()
    back = Stopwatch()
    eventually(lambda: any(one.ready for one in members))
    back.stop()
    measured("F11 ZooKeeper dies: suspended after, s", suspended)
    measured("F11 ZooKeeper dies: stepped down after, sessions", gone.passed / SESSION)
    measured("F11 ZooKeeper is back: one leads after, s", back.passed)
    assert sum(one.replica.leads for one in members) == 1
    assert len(cluster.launched) == len(cluster.running) == 3


def test_a_zookeeper_that_comes_later(
    own_zookeeper: ZooKeeper, exposed: MakeMember, cluster: Cluster
) -> None:
    own_zookeeper.kill()
    first = exposed("one:1")
    eventually(lambda: "ZooKeeper" in (first.replica.problem or ""))
    assert not first.replica.status().ready
    own_zookeeper.start()
    eventually(lambda: first.ready)


# -- the places in ZooKeeper -----------------------------------------------------------------------


def test_nodes_are_the_replica_s_own_when_it_has_credentials(zookeeper_address: str) -> None:
    path, changed = fresh_path(), threading.Event()
    place = ZooKeeperUrl(zookeeper_address, path, "gateway:secret")
    election = Election(place, "http://one:1", changed.set, session=SESSION)
    stranger = KazooClient(hosts=zookeeper_address)
    stranger.start()
    try:
        election.start()
        eventually(lambda: election.standing.lease is not None)
        node = stranger.get_children(path)[0]
        # Everybody may read who leads; nobody else may change it.
        assert stranger.get(f"{path}/{node}")[0] == b"http://one:1"
        acls, _ = stranger.get_acls(f"{path}/{node}")
        assert {(acl.id.scheme, acl.perms) for acl in acls} == {("digest", 31), ("world", 1)}
    finally:
        election.stop()
        stranger.stop()
        stranger.close()


def test_a_lease_is_no_longer_than_the_session_that_zookeeper_grants(zookeeper_address: str) -> None:
    """It allows 20 of its ticks at most, whatever is asked for."""
    most = 20 * TICK_MS / 1000
    place = ZooKeeperUrl(zookeeper_address, fresh_path())
    election = Election(place, "http://one:1", lambda: None, session=10 * most, clock=lambda: now[0])
    now = [0.0]
    try:
        election.start()
        eventually(lambda: election.standing.lease is not None)
        lease = election.standing.lease
        assert lease is not None
        assert lease.refusal() is None
        assert election.session == most
        now[0] = most
        assert lease.refusal() is not None
    finally:
        election.stop()


def test_a_resigned_candidate_leaves_no_node(zookeeper_address: str) -> None:
    path, seen = fresh_path(), list[Standing]()
    election = Election(
        ZooKeeperUrl(zookeeper_address, path),
        "http://one:1",
        lambda: seen.append(election.standing),
        session=SESSION,
    )
    watcher = KazooClient(hosts=zookeeper_address)
    watcher.start()
    try:
        election.start()
        eventually(lambda: election.standing.lease is not None)
        lease = election.standing.lease
        election.resign(rest=60.0)
        eventually(lambda: election.standing.lease is None)
        eventually(lambda: watcher.get_children(path) == [])
        assert lease is not None
        assert lease.refusal() == "this replica has resigned"
    finally:
        election.stop()
        watcher.stop()
        watcher.close()
