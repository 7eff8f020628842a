"""What every query parameter and path segment means and may be, once."""

from __future__ import annotations

from typing import Any

from gateway.api.query import MAX_SHARD
from gateway.api.reference.schemas import SEGMENT_SCHEMA
from gateway.api.reference.shapes import Schema, integer, text

_FLAG: Schema = {"type": "string", "enum": ["true", "false"]}

QUERY: dict[str, tuple[str, Schema]] = {
    "limit": ("how many entries at most", integer(minimum=1, maximum=100_000)),
    "marker": ("only what follows this entry: the `next` of the page before", text()),
    "bind": (
        "NAME=VALUE, what the configuration leaves unbound; may be repeated",
        {
            "type": "array",
            "items": text(pattern=r"^[A-Za-z_][A-Za-z0-9_.]{0,20}=[a-z0-9]{0,20}$"),
            "maxItems": 5,
        },
    ),
    "dry_run": ("say what would be done, and do nothing", _FLAG),
    "shards": (
        f"instances, as numbers up to {MAX_SHARD} and ranges; without it: all",
        text(pattern=r"^[0-9]{1,3}(,[0-9]{1,3}){0,3}$", examples=["1,3-5"]),
    ),
    "stream": ("which output", text(enum=["stdout", "stderr"])),
    "offset": ("from which byte on", integer(minimum=0, maximum=2**62)),
    "length": ("how many bytes at most", integer(minimum=0, maximum=2**62)),
    "follow": ("go on until the task has ended", _FLAG),
    "process": ("whose output; by default the last process that is not a final one", text()),
    "run": ("which run of the process; by default the newest", integer(minimum=0, maximum=10**6)),
    "task": ("the id of an earlier task of the instance", text()),
    "after": ("only events after this number", integer(minimum=0, maximum=2**63 - 1)),
    "cluster": ("only events of this cluster", SEGMENT_SCHEMA),
    "role": ("only events of this role", SEGMENT_SCHEMA),
    "job": ("only events of this job: CLUSTER/ROLE/ENVIRONMENT/NAME", text()),
    "lease": ("the cluster is deleted after so many seconds", integer(minimum=1, maximum=316_224_000)),
    "active": ("only what has not been destroyed", _FLAG),
    "free": ("only what is free", _FLAG),
    "used": ("only what is used", _FLAG),
    "full": ("with who has it", _FLAG),
    "recurse": ("all keys that begin so", _FLAG),
    "keys": ("only the names of the keys", _FLAG),
    "raw": ("only the value", _FLAG),
    "separator": ("names of keys up to this, after the prefix", text()),
    "index": ("wait until there is a later change than this", integer(minimum=0, maximum=2**63 - 1)),
    "wait": ("for so long at most: 10s, 1m30s", text(pattern="^([0-9]{1,3}(ms|s|m|h)){1,3}$")),
    "flags": ("a number that goes with the value", integer(minimum=0, maximum=2**64 - 1)),
    "cas": ("only if the key's ModifyIndex is this; 0: only if it is not there", integer(minimum=0)),
    "dc": ("a datacenter; there is one", text()),
    "consistent": ("every answer is", _FLAG),
    "stale": ("no answer is", _FLAG),
    "sort_by": ("the field to sort by; with - before it: the other way round", text()),
    "id": ("only the one with this id", text()),
    "name": ("only those of this name (of images: whose name holds this)", text()),
    "description": ("only those with this description", text()),
    "plugin_name": ("only those of this plugin", text()),
    "hadoop_version": ("only those of this version of a plugin", text()),
    "tenant_id": ("only those of this tenant", text()),
    "is_public": ("only those that are, or are not", _FLAG),
    "is_protected": ("only those that are, or are not", _FLAG),
    "tags": ("only images with this tag; may be repeated", text()),
    "type": ("only this type", text()),
    "plugin": ("only what this plugin offers", text()),
    "version": ("only what this version of a plugin offers", text()),
    "hints": ("with what can be configured", _FLAG),
    "status": ("only those with this status", text()),
    "default_image_id": ("only those with this image", text()),
    "cluster_template_id": ("only those made from this template", text()),
    "user_keypair_id": ("only those with this keypair", text()),
    "neutron_management_network": ("only those in this network", text()),
    "is_transient": ("only those that are, or are not", _FLAG),
    "show_progress": ("with what has happened in steps that have not ended, or not well", _FLAG),
    "force": ("whatever its plugin says to that, or does not say", _FLAG),
    "minRam": ("only flavors with so much memory", integer("MiB", minimum=0)),
    "minDisk": ("only flavors with so much disk", integer("GiB", minimum=0)),
    "visibility": ("only those of this one; all are public", text()),
    "os_hidden": ("only those that are; none is", _FLAG),
    "shared": ("only those that are, or are not; all are", _FLAG),
    "admin_state_up": ("only those that are, or are not; all are", _FLAG),
    "router:external": ("only those that are, or are not; none is", _FLAG),
    "nocatalog": ("without the services", text()),
    **dict.fromkeys(
        ("sort", "sort_key", "sort_dir", "fields", "page_reverse", "member_status", "project_id"),
        ("taken, and without effect", text()),
    ),
    "live": ("only whether the process answers", _FLAG),
}

SEGMENTS: dict[str, tuple[str, Schema]] = {
    "cluster": ("the cluster", SEGMENT_SCHEMA),
    "role": ("whose jobs they are", SEGMENT_SCHEMA),
    "environment": ("the environment", SEGMENT_SCHEMA),
    "name": ("the job's name", SEGMENT_SCHEMA),
    "product": ("the product", SEGMENT_SCHEMA),
    "version": ("the product's version", SEGMENT_SCHEMA),
    "user": ("whose cluster it is", SEGMENT_SCHEMA),
    "id": ("the cluster's number, or the launch's id", text(pattern="^[A-Za-z0-9-]{1,64}$")),
    "clusterid": ("the cluster's dn, with / as -- and . as __", text(maxLength=255)),
    "node": ("the node's name", SEGMENT_SCHEMA),
    "verb": ("what is to be done", text(enum=["stop", "start", "restart", "status"])),
    "network": ("the network's name", SEGMENT_SCHEMA),
    "address": ("an address of its pool", text(maxLength=45)),
    "host": ("the agent's host name", SEGMENT_SCHEMA),
    "disk": ("the disk's name", SEGMENT_SCHEMA),
    "key_path": ("the key, slashes and all", text(maxLength=500)),
    "tenant": ("whose data clusters they are; may be left out", text(pattern="^[A-Za-z0-9_.-]{1,64}$")),
    "plugin": ("the plugin", SEGMENT_SCHEMA),
    "image": ("the image's UUID", text(maxLength=64)),
    "flavor": ("the flavor's id", text(maxLength=64)),
    "keypair": ("the key pair's name", text(maxLength=255)),
    "template": ("the template's UUID", text(maxLength=64)),
    "instance": ("the number of the instance (shard)", integer(minimum=0, maximum=999_999_999)),
}


def query_parameter(name: str) -> dict[str, Any]:
    """Returns the Parameter Object of a name of the query."""
    about, schema = QUERY[name]
    return {"name": name, "in": "query", "description": about, "required": False, "schema": schema}


def path_parameter(name: str) -> dict[str, Any]:
    """Returns the Parameter Object of a segment of the path."""
    about, schema = SEGMENTS[name]
    return {"name": name, "in": "path", "description": about, "required": True, "schema": schema}
