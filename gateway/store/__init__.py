"""What the gateway keeps besides jobs and tasks: products, clusters, addresses, disks, keys."""

from gateway.store.sessions import Change
from gateway.store.store import Store

__all__ = ["Change", "Store"]
