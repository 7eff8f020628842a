"""The PaaS API: products, clusters of them, networks and disks."""

from gateway.api.paas import (
    clusters,
    disks,
    events,
    framework,
    launching,
    networks,
    nodes,
    products,
)

PAAS = (
    *products.ROUTES,
    *launching.ROUTES,
    *clusters.ROUTES,
    *nodes.ROUTES,
    *events.ROUTES,
    *framework.ROUTES,
    *networks.ROUTES,
    *disks.ROUTES,
)
