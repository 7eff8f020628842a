"""A plugin that configures nothing: to learn the API with, and to test what stands behind it."""
