"""``gatewayctl``: products and clusters of a gateway from the command line, over its REST API."""
