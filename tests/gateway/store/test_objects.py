"""Objects of users: found by id, by name, by project; a name is one object's."""

from __future__ import annotations

import msgspec
import pytest

from framework.model.errors import NotFound
from gateway.store import Store
from gateway.store.objects import NameTaken, Object


def flavor(number: int, project: str = "p", *, shared: bool = False) -> Object:
    return Object("flavor", f"id-{number}", project, f"name-{number}", {"n": number}, shared, 1.0)


def test_an_object_is_read_as_it_was_stored(store: Store) -> None:
    store.objects.add(flavor(1))
    assert store.objects.get("flavor", "id-1") == flavor(1)
    with pytest.raises(NotFound, match="there is no image with the id 'id-1'"):
        store.objects.get("image", "id-1")
    assert store.objects.look("flavor", "a\0b") is None


def test_a_project_sees_its_own_and_what_others_share(store: Store) -> None:
    for one in (flavor(1), flavor(2, "q"), flavor(3, "q", shared=True)):
        store.objects.add(one)
    assert [o.id for o in store.objects.find("flavor", "p")] == ["id-1"]
    assert [o.id for o in store.objects.find("flavor", "p", shared=True)] == ["id-1", "id-3"]
    assert len(store.objects.find("flavor")) == 3
    assert [o.id for o in store.objects.find("flavor", "q", name="name-2")] == ["id-2"]


def test_a_name_may_be_refused_that_another_project_shows(store: Store) -> None:
    store.objects.add(flavor(1, "q", shared=True))
    store.objects.add(flavor(2, "q"))
    for number in (1, 2):
        new = msgspec.structs.replace(flavor(number + 2), name=f"name-{number}")
        if number == 1:
            with pytest.raises(NameTaken):
                store.objects.add(new, among_shared=True)
        store.objects.add(new, among_shared=number == 2)
    with pytest.raises(NameTaken):
        store.objects.add(msgspec.structs.replace(flavor(5), name="name-2"), among_shared=True)


def test_a_name_is_taken_once_in_a_project(store: Store) -> None:
    store.objects.add(flavor(1))
    with pytest.raises(NameTaken):
        store.objects.add(msgspec.structs.replace(flavor(2), name="name-1"))
    store.objects.add(msgspec.structs.replace(flavor(2, "q"), name="name-1"))
    store.objects.add(flavor(3))
    with pytest.raises(NameTaken):
        store.objects.change("flavor", "id-3", lambda o: msgspec.structs.replace(o, name="name-1"))
    assert store.objects.get("flavor", "id-3") == flavor(3)


def test_a_change_and_an_end_are_told_of_when_they_are_durable(store: Store) -> None:
    told: list[str] = []
    store.subscribe(lambda change: told.append(f"{change.kind} {change.id}"))
    store.objects.add(flavor(1))
    store.objects.change("flavor", "id-1", lambda o: msgspec.structs.replace(o, body={"n": 2}))
    store.objects.delete("flavor", "id-1")
    assert told == ["object flavor/id-1"] * 3
    with pytest.raises(NotFound):
        store.objects.delete("flavor", "id-1")
