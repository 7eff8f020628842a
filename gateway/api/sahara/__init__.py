"""The API of data clusters: Savanna v1.0 and Sahara v1.1."""

from gateway.api.sahara import images, jobs, plugins, templates, versions

SAHARA = (
    *versions.ROUTES,
    *plugins.ROUTES,
    *images.ROUTES,
    *templates.ROUTES,
    *jobs.ROUTES,
)
