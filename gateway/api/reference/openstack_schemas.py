"""What the bodies of the facades look like: identity, compute, image, network, and the catalogue's."""

from __future__ import annotations

from gateway.api.reference.shapes import (
    ANY,
    FLAG,
    MAP,
    NUMBER,
    Schema,
    integer,
    listed,
    nullable,
    record,
    ref,
    text,
    without,
)

_TEXT = nullable(text())
_ID = record(id=text(), name=text())
_LINK = record(rel=text(), href=text())
_LINKS = listed(_LINK)
_VERSION = without(
    ("version", "min_version", "updated", "media-types"),
    record(
        id=text(),
        status=text(),
        version=text(),
        min_version=text(),
        updated=text(),
        links=_LINKS,
        **{"media-types": listed(MAP)},
    ),
)
_OWNED = record(id=text(), name=text(), domain=_ID)
_ENDPOINT = record(
    id=text(),
    interface=text(enum=["public", "internal", "admin"]),
    region=text(),
    region_id=text(),
    url=text(),
)
_CATALOG = listed(record(id=text(), type=text(), name=text(), endpoints=listed(_ENDPOINT)))
_TOKEN = without(
    ("catalog",),
    record(
        methods=listed(text()),
        user=record(id=text(), name=text(), domain=_ID, password_expires_at=_TEXT),
        audit_ids=listed(text()),
        expires_at=text(),
        issued_at=text(),
        project=_OWNED,
        is_domain=FLAG,
        roles=listed(_ID),
        catalog=_CATALOG,
    ),
)
_LOGIN: Schema = {
    "type": "object",
    "required": ["auth"],
    "properties": {
        "auth": {
            "type": "object",
            "required": ["identity"],
            "properties": {
                "identity": {
                    "type": "object",
                    "required": ["methods"],
                    "properties": {
                        "methods": {"enum": [["password"], ["token"]]},
                        "password": MAP,
                        "token": MAP,
                    },
                },
                "scope": ANY,
            },
        }
    },
}
_PROJECT = record(
    id=text(),
    name=text(),
    domain_id=text(),
    parent_id=text(),
    description=text(),
    enabled=FLAG,
    is_domain=FLAG,
    tags=listed(text()),
    links=MAP,
)
_FLAVOR = record(
    id=text(),
    name=text(),
    links=_LINKS,
    ram=integer("MiB"),
    disk=integer("GiB"),
    vcpus=NUMBER,
    swap=text(),
    rxtx_factor=NUMBER,
    **{
        "OS-FLV-EXT-DATA:ephemeral": integer(),
        "OS-FLV-DISABLED:disabled": FLAG,
        "os-flavor-access:is_public": FLAG,
    },
)
_KEY = record(name=text(), public_key=text(), fingerprint=text())
_KEYPAIR_ASKED: Schema = {
    "type": "object",
    "required": ["keypair"],
    "properties": {
        "keypair": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": text(maxLength=255),
                "public_key": nullable(text("without it a pair is made")),
                "type": text(const="ssh"),
            },
        }
    },
}
_IMAGE = record(
    id=text(),
    name=text(),
    status=text(const="active"),
    visibility=text(const="public"),
    protected=FLAG,
    os_hidden=FLAG,
    container_format=text(),
    disk_format=text(),
    size=integer("bytes"),
    virtual_size=nullable(integer()),
    min_disk=integer("GiB"),
    min_ram=integer("MiB"),
    owner=_TEXT,
    checksum=_TEXT,
    tags=listed(text()),
    docker_image=text("what Docker calls it; empty: plain processes"),
    created_at=text(),
    updated_at=text(),
    self=text(),
    file=text(),
    schema=text(),
)
_NETWORK = record(
    id=text(),
    name=text(),
    description=text(),
    status=text(const="ACTIVE"),
    admin_state_up=FLAG,
    shared=FLAG,
    subnets=listed(text()),
    availability_zones=listed(text()),
    availability_zone_hints=listed(text()),
    tenant_id=text(),
    project_id=text(),
    mtu=integer(),
    port_security_enabled=FLAG,
    tags=listed(text()),
    cidr=text("of its pool; empty: nodes are given no addresses"),
    **{"router:external": FLAG},
)
_FLAVOR_ENTRY = record(
    id=text(),
    name=text(),
    vcpus={"type": "number", "minimum": 0.01},
    ram=integer("MiB", minimum=1),
    disk=integer("GiB", minimum=0),
)
_IMAGE_ENTRY = record(
    id=text(),
    name=text(),
    reference=text("what Docker calls it; empty: plain processes"),
    username=nullable(text("registers it for everybody")),
    tags=listed(text()),
    size=integer("bytes", minimum=0),
    min_disk=integer("GiB", minimum=0),
    min_ram=integer("MiB", minimum=0),
    keep_entrypoint=FLAG,
)

OPENSTACK_SCHEMAS: dict[str, Schema] = {
    "OpenStackFailure": {
        "type": "object",
        "description": "as the service words it: error, itemNotFound …, NeutronError, message",
    },
    "ServiceVersions": record(versions=listed(_VERSION)),
    "ServiceVersion": record(version=_VERSION),
    "IdentityVersions": record(versions=record(values=listed(_VERSION))),
    "CloudLogin": _LOGIN,
    "CloudToken": record(token=_TOKEN),
    "CloudCatalog": record(catalog=_CATALOG, links=MAP),
    "CloudProjects": record(projects=listed(_PROJECT), links=MAP),
    "FlavorNames": without(
        ("flavors_links",),
        record(flavors=listed(record(id=text(), name=text(), links=_LINKS)), flavors_links=_LINKS),
    ),
    "Flavors": without(("flavors_links",), record(flavors=listed(_FLAVOR), flavors_links=_LINKS)),
    "Flavor": record(flavor=_FLAVOR),
    "FlavorSpecs": record(extra_specs=MAP),
    "KeypairAsked": _KEYPAIR_ASKED,
    "Keypairs": record(keypairs=listed(record(keypair=_KEY))),
    "NewKeypair": record(
        keypair=without(
            ("private_key",),
            record(**_KEY["properties"], user_id=text(), private_key=text("told this once")),
        )
    ),
    "Keypair": record(
        keypair=record(
            **_KEY["properties"],
            id=integer(),
            user_id=text(),
            created_at=text(),
            updated_at=_TEXT,
            deleted=FLAG,
            deleted_at=_TEXT,
        )
    ),
    "CloudImages": without(
        ("next",),
        record(images=listed(_IMAGE), schema=text(), first=text(), next=text()),
    ),
    "CloudImage": _IMAGE,
    "NetworkResources": record(resources=listed(record(name=text(), collection=text(), links=_LINKS))),
    "NetworkExtensions": record(extensions=listed(MAP)),
    "CloudNetworks": without(
        ("networks_links",), record(networks=listed(_NETWORK), networks_links=_LINKS)
    ),
    "CloudNetwork": record(network=_NETWORK),
    "FlavorEntry": without(("id", "disk"), _FLAVOR_ENTRY),
    "OfferedFlavor": _FLAVOR_ENTRY,
    "OfferedFlavors": record(flavors=listed(ref("OfferedFlavor"))),
    "ImageEntry": without(
        ("id", "reference", "username", "tags", "size", "min_disk", "min_ram", "keep_entrypoint"),
        _IMAGE_ENTRY,
    ),
    "OfferedImage": _IMAGE_ENTRY,
    "OfferedImages": record(images=listed(ref("OfferedImage"))),
}
