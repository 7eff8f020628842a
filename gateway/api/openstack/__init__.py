"""What clients of OpenStack look names up in: flavors, images, networks, keys, and who one is."""

from __future__ import annotations

from gateway.api.openstack import compute, identity, image, network, offers

OPENSTACK = (
    *identity.ROUTES,
    *compute.ROUTES,
    *image.ROUTES,
    *network.ROUTES,
    *offers.ROUTES,
)
