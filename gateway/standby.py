"""High availability in the gateway: --ha to a replica, and what follows when the leader changes."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable
from typing import Any

from framework.election import Election
from framework.lease import Permit
from framework.mesos.masters import Address, ZooKeeperUrl, parse_master
from framework.model.errors import Invalid
from framework.replica import Replica
from framework.service import SchedulerService
from framework.storage import Storage
from gateway.context import Gateway
from gateway.forward import Forwarder
from gateway.options import Options


def zookeeper(options: Options) -> ZooKeeperUrl | None:
    """Returns where the replicas elect their leader, None for a gateway that is alone.

    Raises :class:`Invalid` for options that do not go with --ha.
    """
    if options.ha is None:
        if options.advertise is not None:
            raise Invalid("--advertise is for several gateways, which --ha zk://host:2181/gateway makes")
        return None
    if options.executor == "external":
        raise Invalid("--ha is for the gateway's own scheduler, which --executor external lacks")
    if options.master == "local":
        raise Invalid(
            "--ha needs a Mesos that all replicas share: give --master HOST:PORT; bin/local-mesos "
            "starts one to try it with"
        )
    place = parse_master(options.ha)
    assert isinstance(place, ZooKeeperUrl)  # the option has been read
    own_url(options)
    return place


def own_url(options: Options) -> str:
    """Returns where the other replicas reach this one; raises :class:`Invalid` if that is unknown."""
    scheme = "https" if options.tls_cert is not None else "http"
    if options.advertise is not None:
        return f"{scheme}://{options.advertise}"
    if options.address != "localhost" and ipaddress.ip_address(options.address).is_unspecified:
        raise Invalid(
            f"--ha with --address {options.address}: give --advertise HOST:PORT, where the other "
            "replicas reach this one"
        )
    return f"{scheme}://{Address(options.address, options.port)}"


def make_replica(
    options: Options,
    place: ZooKeeperUrl,
    make_service: Callable[[Permit], SchedulerService],
    storage: Storage,
) -> Replica:
    """Returns a replica that has not started."""
    return Replica(
        lambda changed: Election(place, own_url(options), changed, session=options.ha_session),
        make_service,
        storage,
    )


def follow(gateway: Gateway) -> None:
    """Has the gateway go along with each change of the leader; to be called on the event loop."""
    replica, forwarder = gateway.replica, gateway.forwarder
    if replica is None or forwarder is None:
        return
    loop, served = asyncio.get_running_loop(), False

    def change() -> None:
        nonlocal served
        forwarder.changed()
        before, served = served, replica.serves
        if before and not served:
            # Readers come back, and are then served by whoever leads.
            gateway.events.reset()
            gateway.requests.end_streams()

    def hear() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(change)

    replica.watch(hear)
    hear()


def describe(replica: Replica) -> dict[str, Any]:
    """Returns what /health says of this replica."""
    role = "leader" if replica.leads else "standby"
    said: dict[str, Any] = {"role": role, "url": replica.url, "leader": replica.leader}
    if replica.leads:
        said["epoch"] = replica.status().epoch
    if replica.failure is not None:
        said["failure"] = replica.failure
    return said


def gauges(replica: Replica, forwarder: Forwarder) -> Callable[[], dict[str, tuple[str, float]]]:
    """Returns what /metrics says of this replica."""
    return lambda: {
        "leader": ("1 when this replica leads", float(replica.leads)),
        "leader_known": ("1 when some replica leads", float(replica.leader is not None)),
        "terms": ("How often this replica has become the leader", replica.terms),
        "requests_forwarded": ("Requests and streams that are with the leader", forwarder.flying),
    }
