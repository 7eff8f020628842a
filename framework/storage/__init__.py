"""The durable record of the scheduler's state: :class:`Storage`."""

from framework.storage.database import StorageUnavailable
from framework.storage.records import StoredEvent
from framework.storage.store import Fenced, Storage

__all__ = ["Fenced", "Storage", "StorageUnavailable", "StoredEvent"]
