"""The storage: what is committed comes back, all or nothing, and only from the one who leads."""

from __future__ import annotations

import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from executor.task import Attachment, Container, DiskMount, Node, NodeFile, Volume
from framework.core.messages import (
    DeleteJob,
    DeleteTask,
    DeleteUpdate,
    Job,
    Publish,
    SaveFrameworkId,
    SaveJob,
    SaveTask,
    SaveUpdate,
    Snapshot,
)
from framework.model.errors import Invalid
from framework.model.jobs import Constraint, JobKey, JobSpec, Resources, TaskConfig, UpdateSettings
from framework.model.tasks import Home, Task, TaskEvent, TaskState
from framework.model.updates import InstanceAction, InstanceEvent, Update, UpdateEvent, UpdateStatus
from framework.storage import Fenced, Storage, StorageUnavailable
from framework.storage.engine import make_engine, parse_url
from framework.storage.records import JOB, TASK, Unpacker, fold
from tests.postgres import Postgres

KEY = JobKey("devcluster", "www-data", "prod", "hello")


def a_config(text: str = "{}") -> TaskConfig:
    return TaskConfig(
        resources=Resources(0.1, 16, 16, 0, ("http",)),
        executor_data=text,
        constraints=(Constraint("rack", "value", ("a", "b"), negated=True),),
        container=Container("debian:12", volumes=(Volume("/in", "/out", "RW"),)),
        metadata=(("owner", "me"),),
    )


def a_job(config: TaskConfig, key: JobKey = KEY) -> Job:
    return Job(JobSpec(key, 2, config), 1.5, "me", {0: config, 1: config})


def a_task(number: int, config: TaskConfig) -> Task:
    return Task(
        task_id=f"task-{number}",
        key=KEY,
        instance=number,
        config=config,
        state=TaskState.RUNNING,
        events=(
            TaskEvent(1.0, TaskState.PENDING),
            TaskEvent(2.25, TaskState.RUNNING, "up ✓", "executor"),
        ),
        ports={"http": 31000 + number},
        agent_id="agent",
    )


def an_update(initial: TaskConfig, desired: TaskConfig) -> Update:
    return Update(
        update_id="u-1",
        key=KEY,
        kind="update",
        status=UpdateStatus.ROLLING_FORWARD,
        settings=UpdateSettings(strategy="variable_batch", group_sizes=(1, 2)),
        scope=(0, 1),
        initial={0: initial},
        desired={0: desired, 1: desired},
        user="me",
        created_at=3.0,
        events=(UpdateEvent(3.0, UpdateStatus.ROLLING_FORWARD, "go"),),
        instance_events=(InstanceEvent(3.5, 0, InstanceAction.INSTANCE_UPDATING),),
        failures={0: 1},
    )


def a_line(number: int, key: JobKey = KEY) -> Publish:
    return Publish(float(number), "task", key, "RUNNING", "STARTING", number, f"task-{number}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, path: Path) -> str:
    """What --state says."""
    if request.param == "sqlite":
        return str(path)
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database()


# For tests of what only a file can do.
on_sqlite = pytest.mark.parametrize("place", ["sqlite"], indirect=True)


@pytest.fixture
def opened(place: str) -> Iterator[Callable[..., Storage]]:
    """Opens storages on the same state and closes them."""
    storages: list[Storage] = []

    def open_one(url: str | None = None, **options: int) -> Storage:
        storages.append(Storage(url or place, **options))
        return storages[-1]

    yield open_one
    for storage in storages:
        storage.close()


@pytest.fixture
def storage(opened: Callable[..., Storage]) -> Storage:
    return opened()


def test_everything_comes_back_as_it_was(storage: Storage, opened: Callable[..., Storage]) -> None:
    old, new = a_config('{"task": "old"}'), a_config('{"task": "new"}')
    job, tasks, update = a_job(new), (a_task(0, old), a_task(1, new)), an_update(old, new)
    writes = (SaveJob(job), *map(SaveTask, tasks), SaveUpdate(update), SaveFrameworkId("f-1"))
    storage.commit(writes, storage.claim_epoch())
    assert opened().load() == Snapshot((job,), tasks, (update,), "f-1")


def test_nodes_with_their_disks_gangs_and_homes_come_back(
    storage: Storage, opened: Callable[..., Storage]
) -> None:
    config = msgspec.structs.replace(
        a_config(),
        resources=Resources(0.1, 16, 16, data_disks=2, disk_names=("disk7", "disk1")),
        constraints=(Constraint("host", "limit", limit=1, among="datanode"),),
        node=Node(
            "n1.example",
            networks=(Attachment("net", "10.0.0.7", "10.0.0.0/24", parent="br0"),),
            hosts=(("n1", "10.0.0.7"),),
            disks=(DiskMount("/data/0"), DiskMount("/data/1", "RO")),
            files=(NodeFile("/etc/a", "text ✓", 0o600),),
            check_ports=(22,),
            environment=(("A", "b"),),
        ),
        tags=("datanode", "all"),
        sticky=True,
    )
    home = Home("a0.example", ("disk7", "disk1"), "S1")
    task = msgspec.structs.replace(a_task(0, config), disks=home.disks, gang="g-1", home=home)
    storage.commit([SaveJob(a_job(config)), SaveTask(task)], storage.claim_epoch())
    assert opened().load() == Snapshot((a_job(config),), (task,))


def test_what_a_release_without_disks_and_gangs_wrote_is_read() -> None:
    config = a_config()
    task, job = a_task(0, config), a_job(config)
    batch = fold([SaveTask(task), SaveJob(job)])

    def without(body: str, *names: str) -> str:
        fields = msgspec.json.decode(body)
        return msgspec.json.encode({k: v for k, v in fields.items() if k not in names}).decode()

    ((key, body),) = batch.configs.items()
    old = msgspec.json.decode(without(body, "node", "tags", "sticky"))
    for name in ("data_disks", "disk_names"):
        del old["resources"][name]
    del old["constraints"][0]["among"]
    unpacker = Unpacker({key: msgspec.json.encode(old).decode()})
    (row,) = batch.rows[TASK].values()
    assert unpacker.task(without(row["body"], "disks", "gang", "home"))[0] == task
    (row,) = batch.rows[JOB].values()
    assert unpacker.job(row["body"])[0] == job


def test_a_new_state_is_empty(storage: Storage) -> None:
    assert storage.load() == Snapshot()
    assert storage.events_after(0) == []


def test_what_is_deleted_is_gone_and_the_last_write_counts(storage: Storage) -> None:
    epoch, config = storage.claim_epoch(), a_config()
    other = JobKey("devcluster", "www-data", "prod", "other")
    storage.commit(
        (SaveJob(a_job(config)), SaveTask(a_task(0, config)), SaveUpdate(an_update(config, config))),
        epoch,
    )
    moved = msgspec.structs.replace(a_task(1, config), state=TaskState.KILLING)
    storage.commit(
        (
            DeleteUpdate("u-1"),
            DeleteTask("task-0"),
            SaveTask(a_task(1, config)),
            SaveTask(moved),
            SaveTask(a_task(2, config)),
            DeleteTask("task-2"),
            DeleteJob(KEY),
            SaveJob(a_job(config)),
            SaveJob(a_job(config, other)),
            DeleteJob(other),
        ),
        epoch,
    )
    assert storage.load() == Snapshot((a_job(config),), (moved,), ())


@on_sqlite
def test_equal_configs_lie_once_and_go_with_their_last_user(storage: Storage, path: Path) -> None:
    epoch = storage.claim_epoch()
    large, other = a_config("x" * 100_000), a_config("other")
    storage.commit([SaveJob(a_job(large)), *(SaveTask(a_task(n, large)) for n in range(50))], epoch)
    assert configs(path) == 1
    assert path.stat().st_size + Path(f"{path}-wal").stat().st_size < 1_000_000
    storage.commit([SaveJob(a_job(other)), *(DeleteTask(f"task-{n}") for n in range(49))], epoch)
    assert configs(path) == 2
    storage.commit([DeleteTask("task-49")], epoch)
    storage.commit([], epoch)  # what nobody uses goes with the next commit
    assert configs(path) == 1
    storage.commit([SaveTask(a_task(60, a_config("passing"))), DeleteTask("task-60")], epoch)
    storage.commit([], epoch)
    assert configs(path) == 1
    storage.commit([SaveTask(a_task(3, large))], epoch)  # and comes back when it is needed again
    assert storage.load().tasks == (a_task(3, large),)


@pytest.mark.alone
@on_sqlite
def test_a_commit_takes_no_longer_where_many_configs_are_stored(storage: Storage) -> None:
    epoch = storage.claim_epoch()

    def commits(first: int) -> float:
        took = []
        for number in range(first, first + 30):
            began = time.perf_counter()
            storage.commit([SaveTask(a_task(number, a_config(str(number))))], epoch)
            took.append(time.perf_counter() - began)
        return statistics.median(took)

    few = commits(0)
    references = storage._references
    stored = [f"hash-{number}" for number in range(500_000)]
    for one in stored:
        references.set((TASK, one), frozenset({one}))
    references.found([*references.stored, *stored])
    # To copy the hashes once takes more than ten commits.
    assert commits(30) < 4 * few + 0.002


@on_sqlite
def test_configs_that_a_former_process_left_unused_go(
    storage: Storage, path: Path, opened: Callable[..., Storage]
) -> None:
    epoch = storage.claim_epoch()
    storage.commit([SaveTask(a_task(0, a_config("a")))], epoch)
    storage.commit([SaveTask(a_task(0, a_config("b")))], epoch)
    again = opened()
    again.load()
    # One commit deletes the unused config and brings it back at once.
    again.commit([SaveTask(a_task(1, a_config("a")))], again.claim_epoch())
    assert configs(path) == 2
    assert again.load().tasks == (a_task(0, a_config("b")), a_task(1, a_config("a")))


def configs(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        count = connection.execute("select count(*) from scheduler_configs").fetchone()[0]
    connection.close()
    return int(count)


def test_a_deposed_leader_writes_nothing(storage: Storage, opened: Callable[..., Storage]) -> None:
    first, second = storage.claim_epoch(), (other := opened()).claim_epoch()
    assert second > first
    with pytest.raises(Fenced, match="taken over"):
        storage.commit([SaveTask(a_task(0, a_config()))], first)
    with pytest.raises(Fenced):
        storage.commit([], first)
    with pytest.raises(Fenced):
        storage.forget_framework(first)
    assert other.load() == Snapshot()
    other.commit([SaveTask(a_task(0, a_config()))], second)


def test_nothing_is_written_over_a_state_that_has_been_restored(
    storage: Storage, opened: Callable[..., Storage], place: str
) -> None:
    """A backup of this epoch, or a replica that lacks the last commits, lacks configs that are used."""
    epoch = storage.claim_epoch()
    storage.commit([a_line(1)], epoch)
    storage.commit([SaveTask(a_task(0, a_config())), a_line(2)], epoch)
    engine = make_engine(parse_url(place))
    with engine.begin() as connection:
        for table in ("scheduler_tasks", "scheduler_configs"):
            connection.execute(sa.text(f"DELETE FROM {table}"))
        connection.execute(sa.text("DELETE FROM scheduler_events WHERE sequence = 2"))
    engine.dispose()
    for _ in range(2):
        with pytest.raises(StorageUnavailable, match="has been restored"):
            storage.commit([SaveTask(a_task(1, a_config())), a_line(3)], epoch)
    assert opened().load() == storage.load() == Snapshot()
    assert storage.commit([SaveTask(a_task(1, a_config())), a_line(3)], epoch)[0].sequence == 2
    assert [task.instance for task in opened().load().tasks] == [1]


def test_events_are_numbered_and_read_by_role_and_job(
    storage: Storage, opened: Callable[..., Storage]
) -> None:
    epoch = storage.claim_epoch()
    other = JobKey("devcluster", "alice", "prod", "hello")
    first = storage.commit([a_line(1), a_line(2, other)], epoch)
    second = storage.commit([a_line(3)], epoch)
    assert [event.sequence for event in (*first, *second)] == [1, 2, 3]
    reader = opened()
    assert reader.events_after(0) == [*first, *second]
    assert reader.events_after(1, 1) == [first[1]]
    assert reader.events_after(0, role="alice", cluster="devcluster") == [first[1]]
    assert reader.events_after(0, key=KEY) == [first[0], second[0]]
    assert reader.events_after(0, cluster="elsewhere") == []
    # The numbers go on after a restart.
    reader.load()
    assert reader.commit([a_line(4)], reader.claim_epoch())[0].sequence == 4


def test_old_events_are_forgotten(opened: Callable[..., Storage]) -> None:
    storage = opened(kept_events=100)
    epoch = storage.claim_epoch()
    for start in range(0, 300, 20):
        storage.commit([a_line(n) for n in range(start, start + 20)], epoch)
    kept = storage.events_after(0)
    assert kept[-1].sequence == 300
    assert 100 <= len(kept) <= 120


@on_sqlite
def test_a_failed_commit_leaves_nothing_behind(storage: Storage, path: Path) -> None:
    epoch = storage.claim_epoch()
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageUnavailable, match="locked") as caught:
        storage.commit([SaveTask(a_task(0, a_config())), a_line(1)], epoch)
    assert str(path) in str(caught.value)
    assert storage.load() == Snapshot()  # reading goes on
    blocker.execute("ROLLBACK")
    blocker.close()
    published = storage.commit([SaveTask(a_task(0, a_config())), a_line(1)], epoch)
    assert [event.sequence for event in published] == [1]
    assert storage.load().tasks == (a_task(0, a_config()),)


@on_sqlite
def test_a_full_disk_is_unavailable_until_there_is_room(storage: Storage, path: Path) -> None:
    epoch = storage.claim_epoch()
    large = [SaveTask(a_task(n, a_config(str(n) * 100_000))) for n in range(9)]
    with storage._database._engine.connect() as connection:
        # What SQLite itself says when there is no room.
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 2}")
    with pytest.raises(StorageUnavailable, match="full"):
        storage.commit(large, epoch)
    with storage._database._engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count=100000")
    storage.commit(large, epoch)
    assert len(storage.load().tasks) == 9


@on_sqlite
def test_readers_do_not_wait_for_the_writer(storage: Storage, path: Path) -> None:
    storage.commit([a_line(1)], storage.claim_epoch())
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    seen: list[int] = []
    reader = threading.Thread(target=lambda: seen.append(len(storage.events_after(0))))
    reader.start()
    reader.join()  # one that waited would give up, for the writer stays
    blocker.execute("ROLLBACK")
    blocker.close()
    assert seen == [1]


def test_the_framework_is_forgotten_only_on_command(storage: Storage) -> None:
    epoch = storage.claim_epoch()
    storage.commit([SaveFrameworkId("f-1")], epoch)
    storage.commit([SaveTask(a_task(0, a_config()))], epoch)
    assert storage.load().framework_id == "f-1"
    storage.forget_framework(epoch)
    assert storage.load().framework_id is None


@on_sqlite
def test_the_file_is_private_and_its_directory_is_made(
    tmp_path: Path, opened: Callable[..., Storage]
) -> None:
    opened(str(tmp_path / "new" / "deep" / "state.db"))
    assert (tmp_path / "new" / "deep" / "state.db").stat().st_mode & 0o777 == 0o600
    opened(f"{tmp_path}/dir/")
    assert (tmp_path / "dir" / "scheduler.db").exists()
    opened(f"sqlite:///{tmp_path}/by-url.db").claim_epoch()
    assert (tmp_path / "by-url.db").exists()


@on_sqlite
def test_the_journal_survives_power_loss(storage: Storage) -> None:
    with storage._database._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL


@on_sqlite
def test_memory_is_shared_by_all_threads(opened: Callable[..., Storage]) -> None:
    storage = opened("sqlite://")
    storage.commit([a_line(1)], storage.claim_epoch())
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(len(storage.events_after(0))))
    thread.start()
    thread.join()
    assert seen == [1]


def test_a_file_that_is_no_database_is_named(path: Path) -> None:
    path.write_text("this is a text, long enough to be looked at as a header of a database file\n" * 20)
    with pytest.raises(Invalid, match=f"{path} is not a SQLite database"):
        Storage(str(path))


@on_sqlite
def test_a_row_that_cannot_be_read_is_named(storage: Storage, path: Path) -> None:
    storage.commit([SaveTask(a_task(0, a_config()))], storage.claim_epoch())
    with sqlite3.connect(path) as connection:
        connection.execute("update scheduler_tasks set body = '{\"task_id\": 5}'")
    connection.close()
    with pytest.raises(Invalid, match=r"task task-0 in .* cannot be read"):
        storage.load()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "no place"),
        ("nonsense://x/y", "give the path of a SQLite file"),
        ("mysql://u:secret@x/y", "'mysql'"),
        ("postgresql://u:secret@x:port/y", "'postgresql://…@x:port/y' is not a database URL; write "),
        ("://u:se/cret@x/y", "'://…@x/y' is not a database URL; write "),
        ("sqlite:///{path}/file/deeper/below", "cannot be kept in"),
        ("{path}/file/below", "is not a directory"),
    ],
)
def test_a_place_that_cannot_be_is_refused(tmp_path: Path, url: str, words: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Invalid, match=words):
        Storage(url.format(path=tmp_path))


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that everybody may enter: not one of pytest's, which each of its runs closes again."""
    with tempfile.TemporaryDirectory(prefix="storage-test-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("readable", [True, False])
def test_a_file_of_somebody_else_is_refused(open_directory: Path, readable: bool) -> None:
    """As another user (root may do everything), on a file that can be read at most."""
    path = open_directory / "state.db"
    Storage(str(path)).close()
    script = (
        "import os, sys\n"
        "from framework.storage import Storage\n"
        "from framework.model.errors import GatewayError\n"
        "Storage('sqlite://').close()  # everything is imported while that is allowed\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        "try: Storage(sys.argv[1])\n"
        "except GatewayError as error: print(type(error).__name__, error)\n"
    )
    path.chmod(0o444 if readable else 0o000)
    result = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert result.stderr == ""
    expected = (
        "cannot be used now: attempt to write a readonly database" if readable else "Permission denied"
    )
    assert expected in result.stdout
