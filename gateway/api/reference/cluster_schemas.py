"""What the bodies of the PaaS API look like, as JSON Schema, by name."""

from __future__ import annotations

from framework.model.jobs import SEGMENT
from gateway.api.reference.shapes import (
    ANY,
    FLAG,
    MAP,
    NUMBER,
    TIME,
    Schema,
    integer,
    listed,
    nullable,
    record,
    ref,
    text,
    without,
)

_NAME = text(pattern=f"^{SEGMENT.pattern}$", maxLength=100)
_STATUSES = (
    "registered",
    "scheduling",
    "scheduled",
    "configuring",
    "configured",
    "ready",
    "resizing",
    "destroying",
    "destroyed",
    "error during scheduling",
    "error during configuration",
)
_OPTIONS: Schema = {"type": "object"}
_ADDRESS = text("an address of the network's pool", examples=["10.112.0.10"])
_USED = text(enum=["free", "used"])
_OPERATION = record(
    kind=text(enum=["create", "resize", "delete", "run"]),
    verb=text(),
    user=text(),
    started_at=TIME,
    added=listed(text()),
    removed=listed(text()),
    done=listed(text()),
)
_DATA = without(
    ("pending",),
    record(
        name=text(),
        dn=text("clusters/USER/PRODUCT/VERSION/ID"),
        status=text(enum=list(_STATUSES)),
        progress=integer(minimum=0, maximum=100),
        step=text("the step under way"),
        reason=text("why it waits, or why its last operation has failed"),
        owner=text(),
        product=text(),
        version=text(),
        dnsname=text(),
        groups={"type": "object", "additionalProperties": integer(minimum=0)},
        operation=nullable(_OPERATION),
        said=text("what the product's script calls its status"),
        created_at=TIME,
        updated_at=TIME,
        expires_at=nullable(TIME),
        pending={
            "type": "object",
            "description": "why each node that waits is not placed",
            "additionalProperties": listed(
                record(reason=text(), count=integer(), agents=listed(text()))
            ),
        },
    ),
)
# What people read and see of a product.
_TEXTS = {
    "description": text(maxLength=10_000),
    "logo_url": text(maxLength=10_000, pattern="^(https?://|/|$)"),
}
_DEFINITION = {
    "name": text(pattern=f"^{SEGMENT.pattern}$", maxLength=255),
    "description": text(),
    "bridge": text("a bridge on every agent; empty: Docker makes one"),
    "driver": text(enum=["bridge", "macvlan"]),
    "network": text(examples=["10.112.0.0"]),
    "netmask": text(examples=["255.255.0.0"]),
    "gateway": nullable(text()),
    "addresses": listed(text()),
}

CLUSTER_SCHEMAS: dict[str, Schema] = {
    "PaasFailure": without(("status", "error"), record(status=integer(), error=text(), message=text())),
    "Text": text("the source, as one JSON string"),
    "Products": record(products=listed(text())),
    "Versions": record(versions=listed(text())),
    "Product": record(dn=text(), name=text(), version=text(), description=text(), logo_url=text()),
    "Registration": without(("description", "logo_url"), record(name=_NAME, version=_NAME, **_TEXTS)),
    "ProductTexts": without(("description", "logo_url"), record(**_TEXTS)),
    "ProductOptions": without(
        ("required", "optional", "advanced", "descriptions"),
        record(
            required=_OPTIONS,
            optional=_OPTIONS,
            advanced=_OPTIONS,
            descriptions={"type": "object", "additionalProperties": text()},
        ),
    ),
    "Logo": record(logo_url=_TEXTS["logo_url"]),
    "Given": {"type": "object", "description": "options of the product", "examples": [{"size": 2}]},
    "Launched": record(url=text("where the queue says what becomes of it")),
    "Pending": record(status=text(const="pending")),
    "Registered": record(status=text(enum=["registered", "error"]), url=text()),
    "Cluster": record(result=text(const="success"), uri=text(), data=_DATA),
    "Clusters": record(clusters=listed(ref("Cluster"))),
    "Message": record(message=text()),
    "Scaling": without(
        ("groups", "remove"),
        record(
            groups={"type": "object", "additionalProperties": integer(minimum=0, maximum=1000)},
            remove=listed(text()),
        ),
    ),
    "Nodes": record(
        nodes=listed(
            record(
                dn=text(),
                name=text(),
                cpu=NUMBER,
                mem=integer("MiB"),
                host=nullable(text()),
                status=text(),
                disks=listed(record(name=text(), host=nullable(text()))),
                networks=listed(record(name=text(), address=text())),
                group=text(),
                reason=text(),
            )
        )
    ),
    "Services": record(
        services=listed(record(dn=text(), name=text(), status=text(), nodes=listed(text())))
    ),
    "ClusterEvents": record(
        events=listed(
            record(
                sequence=integer(),
                at=TIME,
                kind=text(enum=["step", "output", "node", "phase"]),
                text=text(),
                step=text(),
                node=text(),
                stream=text(),
                ok=nullable(FLAG),
            )
        ),
        next=nullable(integer("the `after` of the next page")),
    ),
    "Command": without(
        ("stdin", "timeout"),
        record(
            argv={"type": "array", "items": text(), "minItems": 1},
            stdin=text(),
            timeout={"type": "number", "exclusiveMinimum": 0, "maximum": 600},
        ),
    ),
    "CommandResult": record(
        code=nullable(integer("how it ended; null: it did not by itself")),
        stdout=text(),
        stderr=text(),
        problem=text("why it did not run, or not to its end"),
    ),
    "ClusterDn": record(clusterdn=text()),
    "Submitted": record(message=text(), url=text()),
    "QueuedTasks": record(
        queued_tasks=listed(record(name=text(), dn=text(), clusterid=text(), cpu=NUMBER, mem=integer()))
    ),
    "Networks": record(networks=listed(text())),
    "Network": record(**_DEFINITION),
    "NetworkDefinition": without(
        ("description", "bridge", "driver", "netmask", "gateway", "addresses", "parent"),
        record(**_DEFINITION, parent=text()),
    ),
    "Holder": record(cluster=text(minLength=1), node=text(minLength=1)),
    "TakenAddress": record(address=_ADDRESS),
    "Address": record(address=_ADDRESS, status=_USED, cluster=text(), node=text()),
    "Addresses": record(
        addresses=listed({"anyOf": [_ADDRESS, ref("Address")]}), number=integer(minimum=0)
    ),
    "AddressMark": without(("cluster", "node"), record(status=_USED, cluster=text(), node=text())),
    "Disk": record(name=text(), host=text(), status=_USED, clustername=text(), node=text()),
    "Disks": record(disks=listed(ref("Disk"))),
    "DiskMark": without(("clustername", "node"), record(status=_USED, clustername=text(), node=text())),
    "KvAnswer": {"description": "entries, or names of keys", "type": "array", "items": ANY},
    "KvDone": {"type": "boolean"},
    "Options": MAP,
}
