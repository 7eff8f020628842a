"""Identities and what they may do with a role's jobs. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

Reading = Literal["own", "any"]


class Identity(msgspec.Struct, frozen=True):
    """Who asks. ``roles``: those whose jobs belong to this user; an ``admin`` has all of them.

    ``user`` None: nobody is asked who they are (``--auth none``), and everybody may do everything.
    """

    user: str | None = None
    roles: frozenset[str] = frozenset()
    admin: bool = False

    @property
    def is_anonymous(self) -> bool:
        return self.user is None

    def owns(self, role: str) -> bool:
        """Whether the role's jobs may be changed."""
        return self.is_anonymous or self.admin or role in self.roles

    def sees(self, role: str, reading: Reading) -> bool:
        """Whether the role's jobs may be read."""
        return reading == "any" or self.owns(role)

    def visible_roles(self, reading: Reading) -> frozenset[str] | None:
        """Returns the roles whose jobs may be read; None: all."""
        if self.is_anonymous or self.admin or reading == "any":
            return None
        return self.roles


ANONYMOUS = Identity()
