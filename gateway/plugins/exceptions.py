"""What a plugin raises for its user; ``code`` is the name of the error in the Sahara API."""

from __future__ import annotations

from framework.model.errors import Invalid


class PluginError(Invalid):
    """Something is wrong with the cluster that was asked for, or has gone wrong with it."""

    code = "PLUGIN_ERROR"


class NodeError(PluginError):
    """A node does not do what it was told."""

    code = "REMOTE_COMMAND_FAILED"


class InvalidValue(PluginError):
    """An option has been given a value that it cannot have."""

    code = "INVALID_DATA"


class InvalidComponentCount(PluginError):
    """There are too few or too many of a process. ``expected`` is in words: "1", "1 or more"."""

    code = "INVALID_COMPONENT_COUNT"

    def __init__(self, component: str, expected: object, count: int, description: str = "") -> None:
        more = f". {description}" if description else ""
        super().__init__(
            f"Hadoop cluster should contain {expected} {component} component(s). "
            f"Actual {component} count is {count}{more}"
        )


class RequiredServiceMissing(PluginError):
    """A process needs another one that is not there."""

    code = "MISSING_SERVICE"

    def __init__(self, missing: str, required_by: str = "") -> None:
        whom = f", required by service: {required_by}" if required_by else ""
        super().__init__(f"Cluster is missing a service: {missing}{whom}")


class CannotScale(PluginError):
    """Node groups of this kind do not grow or shrink."""

    code = "NODE_GROUP_CANNOT_BE_SCALED"

    def __init__(self, node_group: str, reason: str) -> None:
        super().__init__(f"Chosen node group {node_group} cannot be scaled : {reason}")


class TooFewNodes(PluginError):
    """Scaling would leave fewer nodes than the cluster's configuration needs."""

    code = "CLUSTER_CANNOT_BE_SCALED"

    def __init__(self, cluster: str, reason: str) -> None:
        super().__init__(f"Cluster {cluster} cannot be scaled : {reason}")


class RedHealth(PluginError):
    """A health check has found the cluster not to work; the sentence says what."""

    code = "RED_HEALTH"


class YellowHealth(PluginError):
    """A health check has found the cluster to work in part."""

    code = "YELLOW_HEALTH"
