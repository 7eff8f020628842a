"""Who is offered what: a pure decision over the state of the cluster.

As in Mesos's hierarchical allocator all that is free on an agent goes to one framework and role:
the role, then the framework, with the smallest dominant share. Weights and quotas are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from framework.local.resources import NOTHING, Resources

MIN_CPUS = 0.01
MIN_MEM = 32.0


@dataclass
class Client:
    """A framework in one of its roles, as the allocator sees it. ``allocated``: used and offered."""

    framework_id: str
    role: str
    gpus: bool
    allocated: Resources = NOTHING


@dataclass(frozen=True)
class Supply:
    """What is free on an agent; ``gpu_agent``: the agent has gpus at all."""

    agent_id: str
    free: Resources
    gpu_agent: bool = False


@dataclass(frozen=True)
class Grant:
    """One offer to be made."""

    framework_id: str
    role: str
    agent_id: str
    resources: Resources


@dataclass
class Filters:
    """What frameworks declined, and until when: (framework, role, agent) -> [(resources, until)]."""

    _held: dict[tuple[str, str, str], list[tuple[Resources, float]]] = field(default_factory=dict)

    def add(self, framework_id: str, role: str, agent_id: str, bag: Resources, until: float) -> None:
        self._held.setdefault((framework_id, role, agent_id), []).append((bag, until))

    def refuses(self, grant: Grant) -> bool:
        """Whether the grant is no more than what was declined."""
        held = self._held.get((grant.framework_id, grant.role, grant.agent_id), ())
        return any(bag.contains(grant.resources) for bag, _ in held)

    def expire(self, now: float) -> None:
        for key, held in list(self._held.items()):
            kept = [(bag, until) for bag, until in held if until > now]
            if kept:
                self._held[key] = kept
            else:
                del self._held[key]

    def next_expiry(self) -> float | None:
        return min((until for held in self._held.values() for _, until in held), default=None)

    def clear(self, framework_id: str, roles: Iterable[str] | None = None) -> None:
        """Forgets a framework's filters, of some roles or of all."""
        wanted = None if roles is None else set(roles)
        for key in [k for k in self._held if k[0] == framework_id]:
            if wanted is None or key[1] in wanted:
                del self._held[key]


def allocatable(bag: Resources) -> bool:
    """Mesos's ``min_allocatable_resources``: ``cpus:0.01|mem:32``."""
    return bag.scalar("cpus") >= MIN_CPUS or bag.scalar("mem") >= MIN_MEM


def allocate(
    supplies: Sequence[Supply],
    clients: Sequence[Client],
    totals: Resources,
    refuses: Callable[[Grant], bool],
) -> list[Grant]:
    """Returns the offers to make; shares grow as they are granted, so agents spread over frameworks."""
    grants: list[Grant] = []
    for supply in supplies:
        role_shares = _role_shares(clients, totals)
        order = sorted(
            clients,
            key=lambda c: (
                role_shares[c.role],
                c.role,
                _share(c.allocated, totals),
                c.framework_id,
            ),
        )
        for client in order:
            grant = _grant(supply, client)
            if grant is None or refuses(grant):
                continue
            client.allocated = client.allocated + grant.resources
            grants.append(grant)
            break
    return grants


def _grant(supply: Supply, client: Client) -> Grant | None:
    if supply.gpu_agent and not client.gpus:
        return None  # filter_gpu_resources
    visible = supply.free.filter_roles(client.role)
    if not allocatable(visible):
        return None
    return Grant(client.framework_id, client.role, supply.agent_id, visible)


def _role_shares(clients: Sequence[Client], totals: Resources) -> dict[str, float]:
    bags: dict[str, Resources] = {}
    for client in clients:
        bags[client.role] = bags.get(client.role, NOTHING) + client.allocated
    return {role: _share(bag, totals) for role, bag in bags.items()}


def _share(bag: Resources, totals: Resources) -> float:
    """The dominant share: the largest fraction of any scalar of the cluster."""
    return max(
        (bag.scalar(n) / whole for n in ("cpus", "mem", "disk", "gpus") if (whole := totals.scalar(n))),
        default=0.0,
    )
