"""A plugin for mesos-gateway: the example of its docs/plugins.md."""
