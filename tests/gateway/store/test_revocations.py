"""Which tokens are taken no more: kept, read again, forgotten when they would have expired."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework.model.errors import Unavailable
from gateway.store import Store, revocations
from gateway.store.revocations import Revocations


def test_they_are_kept_until_the_tokens_expire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, now = Store(str(tmp_path / "state.db")), [1000.0]
    kept = Revocations(store.objects, store.transaction, lambda: now[0])
    kept.add("a", 1010.0)
    kept.add("a", 1010.0)
    kept.add("b", 1100.0)
    after = Revocations(store.objects, store.transaction, lambda: now[0])
    assert "a" not in after
    after.read()
    assert [name in after for name in ("a", "b", "c")] == [True, True, False]
    monkeypatch.setattr(revocations, "_MOST", 2)
    with pytest.raises(Unavailable, match="no more at once"):
        after.add("c", 1100.0)
    assert "c" not in after
    now[0] = 1010.0
    after.add("c", 1100.0)
    assert [one.id for one in store.objects.find("revoked-token")] == ["b", "c"]
    store.close()
