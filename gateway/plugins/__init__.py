"""Plugins that configure data clusters: what they must offer, and how they are found and called."""
