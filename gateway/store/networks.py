"""Networks, who has which of their addresses, and the marks of data disks, as rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from framework.model.errors import Conflict, NotFound
from framework.model.shapes import known
from gateway.clusters.model import Interface
from gateway.clusters.networks import (
    Address,
    AddressAsk,
    DiskMark,
    Network,
    Status,
    check_address,
    check_network,
)
from gateway.store import tables
from gateway.store.sessions import Sessions

_ADDRESSES = tables.addresses
known(Network, DiskMark)


class NetworkStore:
    """Every address of a pool is free, or has one node that it belongs to."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    # -- networks -----------------------------------------------------------------------------------

    def define(self, network: Network) -> Network:
        """Stores a network, or another shape of it; returns it in its usual notation.

        Raises :class:`Invalid` for what is no network, :class:`Conflict` if nodes have addresses that
        would be gone.
        """
        network = check_network(network)
        with self._sessions.write() as session:
            connection = session.connection
            before = _network(connection, network.name)
            if before == network:
                return network
            used = {a.address: a for a in _addresses(connection, network.name, "used")}
            if lost := [address for address in used if address not in network.addresses]:
                raise Conflict(
                    f"network {network.name}: the address {lost[0]} belongs to {_who(used[lost[0]])} "
                    "and must stay in the pool until that is gone"
                )
            if before is not None and used and before.subnet != network.subnet:
                raise Conflict(
                    f"network {network.name}: its subnet can be changed once no address is in use"
                )
            table = tables.networks
            connection.execute(table.delete().where(table.c.name == network.name))
            body = msgspec.json.encode(network).decode()
            connection.execute(table.insert().values(name=network.name, body=body))
            connection.execute(_ADDRESSES.delete().where(_ADDRESSES.c.network == network.name))
            rows = [_row(network.name, n, a, used.get(a)) for n, a in enumerate(network.addresses)]
            if rows:
                connection.execute(_ADDRESSES.insert(), rows)
            session.changed("network", network.name)
        return network

    def get(self, name: str) -> Network:
        """Raises :class:`NotFound`."""
        with self._sessions.read() as connection:
            return _existing(connection, name)

    def list(self) -> Sequence[Network]:
        """Returns the networks by name."""
        query = sa.select(tables.networks.c.body).order_by(tables.networks.c.name)
        with self._sessions.read() as connection:
            rows = connection.execute(query).scalars().all()
        return [msgspec.json.decode(body, type=Network) for body in rows]

    def delete(self, name: str) -> None:
        """Raises :class:`NotFound`, and :class:`Conflict` while a node has an address of it."""
        with self._sessions.write() as session:
            _existing(session.connection, name)
            if used := _addresses(session.connection, name, "used"):
                raise Conflict(
                    f"network {name}: {len(used)} of its addresses are in use, "
                    f"{used[0].address} by {_who(used[0])}"
                )
            session.connection.execute(_ADDRESSES.delete().where(_ADDRESSES.c.network == name))
            table = tables.networks
            session.connection.execute(table.delete().where(table.c.name == name))
            session.changed("network", name)

    # -- addresses ----------------------------------------------------------------------------------

    def addresses(self, name: str, status: Status | None = None) -> Sequence[Address]:
        """Returns the addresses of a pool, in its order. Raises :class:`NotFound`."""
        with self._sessions.read() as connection:
            _existing(connection, name)
            return _addresses(connection, name, status)

    def of(self, cluster_id: str) -> Sequence[Address]:
        """Returns the addresses that a cluster has, of every network."""
        with self._sessions.read() as connection:
            query = _select().where(_ADDRESSES.c.used, _ADDRESSES.c.cluster == cluster_id)
            return [_address(row) for row in connection.execute(query)]

    def take(self, cluster_id: str, asks: Sequence[AddressAsk]) -> tuple[Interface, ...]:
        """Gives an address for each ask, in the order of the asks; all or none.

        Raises :class:`NotFound` for a network that is not there, :class:`Invalid` for a certain address
        that is none of its pool, :class:`Conflict` for one that is in use and for a pool that is empty.
        """
        with self._sessions.write() as session:
            networks = {name: _existing(session.connection, name) for name in _names(asks)}
            taken: dict[int, str] = {}
            # Certain ones first: nobody else of the same launch shall get them by chance.
            for number, ask in enumerate(asks):
                if ask.address is not None:
                    network = networks[ask.network]
                    taken[number] = self._take_this(session.connection, cluster_id, ask, network)
            for name in networks:
                rest = [n for n, a in enumerate(asks) if a.network == name and a.address is None]
                free = _take_any(session.connection, name, len(rest))
                for number, address in zip(rest, free, strict=True):
                    _mark(session.connection, name, address, True, cluster_id, asks[number].node)
                    taken[number] = address
            for name in networks:
                session.changed("network", name)
        return tuple(
            _interface(networks[ask.network], ask, taken[number]) for number, ask in enumerate(asks)
        )

    def release(self, cluster_id: str, node: str | None = None) -> int:
        """Frees what a cluster has, or one node of it; returns how many addresses that were."""
        mine = (_ADDRESSES.c.cluster == cluster_id) & _ADDRESSES.c.used
        if node is not None:
            mine &= _ADDRESSES.c.node == node
        with self._sessions.write() as session:
            names = session.connection.execute(sa.select(_ADDRESSES.c.network).where(mine)).scalars()
            for name in sorted(set(names)):
                session.changed("network", name)
            freed = _ADDRESSES.update().where(mine).values(used=False, cluster="", node="")
            return session.connection.execute(freed).rowcount

    def set_status(
        self, name: str, address: str, status: Status, cluster: str = "", node: str = ""
    ) -> Address:
        """Marks an address as an operator wants it; raises :class:`NotFound`, :class:`Invalid`."""
        with self._sessions.write() as session:
            found = check_address(_existing(session.connection, name), address)
            used = status == "used"
            _mark(session.connection, name, found, used, cluster if used else "", node if used else "")
            session.changed("network", name)
            return _one(session.connection, name, found)

    def _take_this(
        self, connection: sa.Connection, cluster_id: str, ask: AddressAsk, network: Network
    ) -> str:
        address = check_address(network, ask.address or "")
        found = _one(connection, network.name, address)
        if found.status == "used":
            raise Conflict(
                f"network {network.name}: the address {address}, which node {ask.node} is to have, "
                f"belongs to {_who(found)}"
            )
        _mark(connection, network.name, address, True, cluster_id, ask.node)
        return address


class DiskStore:
    """Marks of the agents' data disks; a disk that nobody has said anything of is not here."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def list(self, host: str | None = None, status: Status | None = None) -> Sequence[DiskMark]:
        table = tables.disks
        query = sa.select(table.c.body).order_by(table.c.host, table.c.name)
        if host is not None:
            query = query.where(table.c.host == host)
        with self._sessions.read() as connection:
            rows = connection.execute(query).scalars().all()
        marks = [msgspec.json.decode(body, type=DiskMark) for body in rows]
        return [mark for mark in marks if status is None or mark.status == status]

    def get(self, host: str, name: str) -> DiskMark | None:
        return next((mark for mark in self.list(host) if mark.name == name), None)

    def put(self, mark: DiskMark) -> None:
        table = tables.disks
        with self._sessions.write() as session:
            mine = (table.c.host == mark.host) & (table.c.name == mark.name)
            session.connection.execute(table.delete().where(mine))
            body = msgspec.json.encode(mark).decode()
            session.connection.execute(table.insert().values(host=mark.host, name=mark.name, body=body))
            session.changed("disk", f"{mark.host}/{mark.name}")


def _names(asks: Sequence[AddressAsk]) -> Sequence[str]:
    return sorted({ask.network for ask in asks})


def _existing(connection: sa.Connection, name: str) -> Network:
    found = _network(connection, name)
    if found is None:
        raise NotFound(f"there is no network {name[:255]!r}")
    return found


def _network(connection: sa.Connection, name: str) -> Network | None:
    if "\0" in name:
        return None
    query = sa.select(tables.networks.c.body).where(tables.networks.c.name == name)
    body = connection.execute(query).scalar()
    return None if body is None else msgspec.json.decode(body, type=Network)


def _take_any(connection: sa.Connection, name: str, count: int) -> Sequence[str]:
    free = sa.select(_ADDRESSES.c.address).where(_ADDRESSES.c.network == name, ~_ADDRESSES.c.used)
    query = free.order_by(_ADDRESSES.c.position).limit(count)
    found = list(connection.execute(query).scalars()) if count else []
    if len(found) < count:
        raise Conflict(
            f"network {name}: {count} addresses are needed and {len(found)} are free; "
            "delete clusters, or give the network a larger pool"
        )
    return found


def _mark(
    connection: sa.Connection, network: str, address: str, used: bool, cluster: str, node: str
) -> None:
    mine = (_ADDRESSES.c.network == network) & (_ADDRESSES.c.address == address)
    values = {"used": used, "cluster": cluster, "node": node}
    connection.execute(_ADDRESSES.update().where(mine).values(**values))


def _select() -> sa.Select[Any]:
    c = _ADDRESSES.c
    query = sa.select(c.network, c.address, c.used, c.cluster, c.node)
    return query.order_by(c.network, c.position)


def _addresses(connection: sa.Connection, name: str, status: Status | None) -> Sequence[Address]:
    query = _select().where(_ADDRESSES.c.network == name)
    if status is not None:
        query = query.where(_ADDRESSES.c.used == (status == "used"))
    return [_address(row) for row in connection.execute(query)]


def _one(connection: sa.Connection, network: str, address: str) -> Address:
    query = _select().where(_ADDRESSES.c.network == network, _ADDRESSES.c.address == address)
    return _address(connection.execute(query).one())


def _address(row: Any) -> Address:
    return Address(row.network, row.address, "used" if row.used else "free", row.cluster, row.node)


def _row(network: str, position: int, address: str, holder: Address | None) -> dict[str, Any]:
    return {
        "network": network,
        "address": address,
        "position": position,
        "used": holder is not None,
        "cluster": holder.cluster if holder else "",
        "node": holder.node if holder else "",
    }


def _who(address: Address) -> str:
    if not address.cluster:
        return "somebody whom the operator has given it"
    return f"node {address.node} of the cluster {address.cluster}"


def _interface(network: Network, ask: AddressAsk, address: str) -> Interface:
    return Interface(
        name=ask.interface,
        network=network.name,
        address=address,
        subnet=network.subnet,
        gateway=network.gateway,
        driver=network.driver,
        parent=network.parent,
    )
