"""The API of data clusters: Savanna v1.0 and Sahara v1.1."""

from gateway.api.sahara import clusters, images, jobs, plugins, templates, versions

SAHARA = (
    *versions.ROUTES,
    *plugins.ROUTES,
    *images.ROUTES,
    *templates.ROUTES,
    *clusters.ROUTES,
    *jobs.ROUTES,
)
