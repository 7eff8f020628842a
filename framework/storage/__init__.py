"""The durable record of the scheduler's state: :class:`Storage`."""

from framework.storage.records import StoredEvent
from framework.storage.store import Fenced, Storage, StorageUnavailable

__all__ = ["Fenced", "Storage", "StorageUnavailable", "StoredEvent"]
