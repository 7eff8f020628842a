"""Identities and what they may do with a role's jobs, and with clusters. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

Reading = Literal["own", "any"]


class Identity(msgspec.Struct, frozen=True):
    """Who asks. ``roles``: those whose jobs belong to this user; an ``admin`` has all of them.

    ``user`` None: nobody is asked who they are (``--auth none``), and everybody may do everything.
    ``cluster``: this is a script of the cluster with this key (``clusters/U/P/V/ID``), which may touch
    that cluster's part of the registry and its nodes, and nothing else.
    ``project``: the one whose data clusters are this user's; None: those that are named like the user
    or one of its roles.
    """

    user: str | None = None
    roles: frozenset[str] = frozenset()
    admin: bool = False
    cluster: str | None = None
    project: str | None = None

    @property
    def is_anonymous(self) -> bool:
        return self.user is None

    @property
    def is_trusted(self) -> bool:
        """Whether products, networks and disks may be changed: an operator, or nobody is asked."""
        return (self.is_anonymous or self.admin) and self.cluster is None

    def owns(self, role: str) -> bool:
        """Whether the role's jobs may be changed."""
        return self.cluster is None and (self.is_anonymous or self.admin or role in self.roles)

    def sees(self, role: str, reading: Reading) -> bool:
        """Whether the role's jobs may be read."""
        return self.cluster is None and (reading == "any" or self.owns(role))

    def has(self, owner: str, key: str) -> bool:
        """Whether the cluster ``key`` of the user ``owner`` is this one's to see and to change."""
        if self.cluster is not None:
            return self.cluster == key
        return self.is_trusted or self.user == owner

    def visible_roles(self, reading: Reading) -> frozenset[str] | None:
        """Returns the roles whose jobs may be read; None: all."""
        if self.cluster is not None:
            return frozenset()
        if self.is_anonymous or self.admin or reading == "any":
            return None
        return self.roles


ANONYMOUS = Identity()
