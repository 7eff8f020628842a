"""A subscription as the calls need it: where to send them, and under which stream id."""

from __future__ import annotations

import msgspec

from framework.mesos.masters import Address


class Session(msgspec.Struct, frozen=True):
    """From SUBSCRIBED to the end of its stream. ``number`` tells one from the next."""

    number: int
    address: Address
    stream_id: str
    framework_id: str
    authorization: str | None = None

    def headers(self) -> dict[str, str]:
        """Returns the headers of a call, a new dictionary each time."""
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        headers["Mesos-Stream-Id"] = self.stream_id
        if self.authorization is not None:
            headers["Authorization"] = self.authorization
        return headers
