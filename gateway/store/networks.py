"""Networks, who has which of their addresses, and the marks of data disks, as rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from framework.model.errors import Conflict, NotFound
from gateway.clusters.model import Interface
from gateway.clusters.networks import (
    Address,
    AddressAsk,
    DiskMark,
    Network,
    Status,
    check_address,
    check_apart,
    check_network,
)
from gateway.store import tables
from gateway.store.sessions import Reader, Sessions

_ADDRESSES = tables.addresses
_ALL = sa.select(tables.networks.c.body).order_by(tables.networks.c.name)
_NETWORK = msgspec.json.Decoder(Network)


class NetworkStore:
    """Every address of a pool is free, or has one node that it belongs to."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    # -- networks -----------------------------------------------------------------------------------

    def define(self, network: Network) -> Network:
        """Stores a network, or another shape of it; returns it in its usual notation.

        Raises :class:`Invalid` for what is no network, :class:`Conflict` if nodes have addresses that
        would be gone, or another network has addresses of the subnet.
        """
        network = check_network(network)
        with self._sessions.write() as session:
            reader = session
            before = _network(reader, network.name)
            if before == network:
                return network
            if before is None or before.subnet != network.subnet:
                check_apart(network, _all(reader))
            used = {a.address: a for a in _addresses(reader, network.name, "used")}
            if lost := [address for address in used if address not in network.addresses]:
                owner = _who_by_key(reader, used[lost[0]])
                raise Conflict(
                    f"network {network.name}: the address {lost[0]} belongs to {owner} "
                    "and must stay in the pool until that is gone"
                )
            if before is not None and used and before.subnet != network.subnet:
                raise Conflict(
                    f"network {network.name}: its subnet can be changed once no address is in use"
                )
            table = tables.networks
            reader.execute(table.delete().where(table.c.name == network.name))
            body = msgspec.json.encode(network).decode()
            reader.execute(table.insert().values(name=network.name, body=body))
            reader.execute(_ADDRESSES.delete().where(_ADDRESSES.c.network == network.name))
            rows = [_row(network.name, n, a, used.get(a)) for n, a in enumerate(network.addresses)]
            if rows:
                reader.execute(_ADDRESSES.insert(), rows)
            session.changed("network", network.name)
        return network

    def get(self, name: str) -> Network:
        """Raises :class:`NotFound`."""
        with self._sessions.read() as reader:
            return _existing(reader, name)

    def list(self) -> Sequence[Network]:
        """Returns the networks by name."""
        with self._sessions.read() as reader:
            return _all(reader)

    def delete(self, name: str) -> None:
        """Raises :class:`NotFound`, and :class:`Conflict` while a node has an address of it."""
        with self._sessions.write() as session:
            _existing(session, name)
            if used := _addresses(session, name, "used"):
                raise Conflict(
                    f"network {name}: {len(used)} of its addresses are in use, "
                    f"{used[0].address} by {_who_by_key(session, used[0])}"
                )
            session.execute(_ADDRESSES.delete().where(_ADDRESSES.c.network == name))
            table = tables.networks
            session.execute(table.delete().where(table.c.name == name))
            session.changed("network", name)

    # -- addresses ----------------------------------------------------------------------------------

    def addresses(self, name: str, status: Status | None = None) -> Sequence[Address]:
        """Returns the addresses of a pool, in its order. Raises :class:`NotFound`."""
        with self._sessions.read() as reader:
            _existing(reader, name)
            return _addresses(reader, name, status)

    def of(self, cluster_id: str) -> Sequence[Address]:
        """Returns the addresses that a cluster has, of every network."""
        with self._sessions.read() as reader:
            query = _select().where(_ADDRESSES.c.used, _ADDRESSES.c.cluster == cluster_id)
            return [_address(row) for row in reader.execute(query)]

    def take(self, cluster_id: str, asks: Sequence[AddressAsk]) -> tuple[Interface, ...]:
        """Gives an address for each ask, in the order of the asks; all or none.

        Raises :class:`NotFound` for a network that is not there, :class:`Invalid` for a certain address
        that is none of its pool, :class:`Conflict` for one that is in use and for a pool that is empty.
        """
        with self._sessions.write() as session:
            networks = {name: _existing(session, name) for name in _names(asks)}
            taken: dict[int, str] = {}
            # Certain ones first: nobody else of the same launch shall get them by chance.
            for number, ask in enumerate(asks):
                if ask.address is not None:
                    network = networks[ask.network]
                    taken[number] = self._take_this(session, cluster_id, ask, network)
            for name in networks:
                rest = [n for n, a in enumerate(asks) if a.network == name and a.address is None]
                free = _take_any(session, name, len(rest))
                for number, address in zip(rest, free, strict=True):
                    _mark(session, name, address, True, cluster_id, asks[number].node)
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
            names = session.execute(sa.select(_ADDRESSES.c.network).where(mine)).scalars()
            for name in sorted(set(names)):
                session.changed("network", name)
            freed = _ADDRESSES.update().where(mine).values(used=False, cluster="", node="")
            return session.execute(freed).rowcount

    def set_status(
        self, name: str, address: str, status: Status, cluster: str = "", node: str = ""
    ) -> Address:
        """Marks an address as an operator wants it; raises :class:`NotFound`, :class:`Invalid`."""
        with self._sessions.write() as session:
            found = check_address(_existing(session, name), address)
            used = status == "used"
            _mark(session, name, found, used, cluster if used else "", node if used else "")
            session.changed("network", name)
            return _one(session, name, found)

    def _take_this(self, reader: Reader, cluster_id: str, ask: AddressAsk, network: Network) -> str:
        address = check_address(network, ask.address or "")
        found = _one(reader, network.name, address)
        if found.status == "used":
            raise Conflict(
                f"network {network.name}: the address {address}, which node {ask.node} is to have, "
                f"belongs to {_who(found)}"
            )
        _mark(reader, network.name, address, True, cluster_id, ask.node)
        return address


class DiskStore:
    """Marks of the agents' data disks; a disk that nobody has said anything of is not here."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def list(self, host: str | None = None, status: Status | None = None) -> Sequence[DiskMark]:
        """Returns the marks, in order of hosts and names."""
        table = tables.disks
        query = sa.select(table.c.body).order_by(table.c.host, table.c.name)
        if host is not None:
            query = query.where(table.c.host == host)
        with self._sessions.read() as reader:
            rows = reader.execute(query).scalars().all()
        marks = [msgspec.json.decode(body, type=DiskMark) for body in rows]
        return [mark for mark in marks if status is None or mark.status == status]

    def get(self, host: str, name: str) -> DiskMark | None:
        """Returns the mark of a disk, None if it has none."""
        return next((mark for mark in self.list(host) if mark.name == name), None)

    def put(self, mark: DiskMark) -> None:
        """Puts a mark in place of what was there."""
        table = tables.disks
        with self._sessions.write() as session:
            mine = (table.c.host == mark.host) & (table.c.name == mark.name)
            session.execute(table.delete().where(mine))
            body = msgspec.json.encode(mark).decode()
            session.execute(table.insert().values(host=mark.host, name=mark.name, body=body))
            session.changed("disk", f"{mark.host}/{mark.name}")


def _names(asks: Sequence[AddressAsk]) -> Sequence[str]:
    return sorted({ask.network for ask in asks})


def _existing(reader: Reader, name: str) -> Network:
    found = _network(reader, name)
    if found is None:
        raise NotFound(f"there is no network {name[:255]!r}")
    return found


def _all(reader: Reader) -> list[Network]:
    return [_NETWORK.decode(body) for body in reader.execute(_ALL).scalars().all()]


def _network(reader: Reader, name: str) -> Network | None:
    if "\0" in name:
        return None
    query = sa.select(tables.networks.c.body).where(tables.networks.c.name == name)
    body = reader.execute(query).scalar()
    return None if body is None else msgspec.json.decode(body, type=Network)


def _take_any(reader: Reader, name: str, count: int) -> Sequence[str]:
    free = sa.select(_ADDRESSES.c.address).where(_ADDRESSES.c.network == name, ~_ADDRESSES.c.used)
    query = free.order_by(_ADDRESSES.c.position).limit(count)
    found = list(reader.execute(query).scalars()) if count else []
    if len(found) < count:
        raise Conflict(
            f"network {name}: {count} addresses are needed and {len(found)} are free; "
            "delete clusters, or give the network a larger pool"
        )
    return found


def _mark(reader: Reader, network: str, address: str, used: bool, cluster: str, node: str) -> None:
    mine = (_ADDRESSES.c.network == network) & (_ADDRESSES.c.address == address)
    values = {"used": used, "cluster": cluster, "node": node}
    reader.execute(_ADDRESSES.update().where(mine).values(**values))


def _select() -> sa.Select[Any]:
    c = _ADDRESSES.c
    query = sa.select(c.network, c.address, c.used, c.cluster, c.node)
    return query.order_by(c.network, c.position)


def _addresses(reader: Reader, name: str, status: Status | None) -> Sequence[Address]:
    query = _select().where(_ADDRESSES.c.network == name)
    if status is not None:
        query = query.where(_ADDRESSES.c.used == (status == "used"))
    return [_address(row) for row in reader.execute(query)]


def _one(reader: Reader, network: str, address: str) -> Address:
    query = _select().where(_ADDRESSES.c.network == network, _ADDRESSES.c.address == address)
    return _address(reader.execute(query).one())


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


def _who_by_key(reader: Reader, address: Address) -> str:
    """For administrators: a cluster's key tells whose it is, which its id does not."""
    table = tables.clusters
    key = reader.execute(sa.select(table.c.key).where(table.c.id == address.cluster)).scalar()
    return _who(address if key is None else msgspec.structs.replace(address, cluster=key))


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
