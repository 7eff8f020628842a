"""Clusters of containers: one model and one life cycle, whichever API asks for them."""
