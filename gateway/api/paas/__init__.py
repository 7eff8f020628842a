"""The PaaS API: products, clusters of them, networks and disks."""
