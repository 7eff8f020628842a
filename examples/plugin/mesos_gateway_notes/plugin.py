"""The plugin ``notes``: one desk that writes down which readers there are, and readers with a note each.

It needs a shell on the nodes, and nothing else: any image will do, or none at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.plugins.exceptions import CannotScale, InvalidComponentCount, RedHealth
from gateway.plugins.health import HealthCheck
from gateway.plugins.provisioning import Config, settled
from gateway.plugins.spi import Plugin
from gateway.plugins.views import ClusterView, InstanceView, NodeGroupView

CONFIGS = (
    Config(
        "Greeting",
        "Notes",
        "cluster",
        default_value="Hello",
        is_optional=True,
        description="What each note begins with",
        priority=1,
    ),
)


class NotesPlugin(Plugin):
    # -- what it is --

    def get_title(self) -> str:
        return "Notes"

    def get_description(self) -> str:
        return "A desk and its readers: the example of how a plugin is written."

    def get_versions(self) -> Sequence[str]:
        return ["1.0"]

    def get_configs(self, version: str) -> Sequence[Config]:
        return CONFIGS

    def get_node_processes(self, version: str) -> Mapping[str, Sequence[str]]:
        return {"Notes": ["desk", "reader"]}

    # -- what can be --

    def validate(self, cluster: ClusterView) -> None:
        desks = cluster.count_of("desk")
        if desks != 1:
            raise InvalidComponentCount("desk", 1, desks)

    def validate_scaling(
        self, cluster: ClusterView, existing: Mapping[str, int], additional: Mapping[str, int]
    ) -> None:
        for group in cluster.groups_with("desk"):
            if str(group.id) in {**existing, **additional}:
                raise CannotScale(str(group.name), "there is one desk")

    # -- what is done --

    def configure_cluster(self, cluster: ClusterView) -> None:
        for group in cluster.node_groups:
            for instance in group.instances:
                self._write_note(instance)

    def start_cluster(self, cluster: ClusterView) -> None:
        self._list_readers(cluster, cluster.instances_with("reader"))
        (desk,) = cluster.instances_with("desk")
        cluster.show({"Notes": {"Desk": desk.hostname()}})

    def scale_cluster(self, cluster: ClusterView, instances: Sequence[InstanceView]) -> None:
        for instance in instances:
            self._write_note(instance)
        self._list_readers(cluster, cluster.instances_with("reader"))

    def decommission_nodes(self, cluster: ClusterView, instances: Sequence[InstanceView]) -> None:
        gone = {one.id for one in instances}
        readers = cluster.instances_with("reader")
        self._list_readers(cluster, [one for one in readers if one.id not in gone])

    def get_health_checks(self, cluster: ClusterView) -> Sequence[HealthCheck]:
        return [HealthCheck("readers", lambda: self._check(cluster))]

    # -- how --

    def _write_note(self, instance: InstanceView) -> None:
        options = settled(CONFIGS, _options(instance.node_group))["Notes"]
        with instance.remote() as remote:
            remote.write_file_to("notes/note", f"{options['Greeting']}, {instance.hostname()}\n")

    def _list_readers(self, cluster: ClusterView, readers: Sequence[InstanceView]) -> None:
        (desk,) = cluster.instances_with("desk")
        with desk.remote() as remote:
            remote.write_file_to("notes/readers", "".join(f"{one.hostname()}\n" for one in readers))

    def _check(self, cluster: ClusterView) -> str:
        (desk,) = cluster.instances_with("desk")
        with desk.remote() as remote:
            listed = remote.read_file_from("notes/readers").split()
        there = [one.hostname() for one in cluster.instances_with("reader")]
        if sorted(listed) != sorted(there):
            raise RedHealth(f"the desk has the readers {listed}, and there are {there}")
        return f"the desk has all {len(there)} readers"


def _options(group: NodeGroupView) -> dict[str, dict[str, object]]:
    return group.configuration()
