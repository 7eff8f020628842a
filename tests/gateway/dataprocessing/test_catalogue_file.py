"""The file of ``--catalogue``: what it offers, and what it says of each thing that is wrong in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from framework.model.errors import Invalid
from gateway.clusters.networks import Network
from gateway.dataprocessing.catalogue import Flavor, Image
from gateway.dataprocessing.catalogue_file import (
    DEFAULT_FLAVORS,
    FlavorEntry,
    ImageEntry,
    Offers,
    default_image,
    flavor_of,
    id_of,
    image_of,
    read_catalogue,
)

ID = "0c0ffee0-0000-4000-8000-000000000001"
FLAVOR = '[[flavors]]\nid = "7"\nname = "big"\nvcpus = 2\nram = 512\n'
IMAGE = '[[images]]\nname = "spark"\n'


def read(directory: Path, text: str | bytes) -> Offers:
    path = directory / "catalogue.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_catalogue(path)


def test_what_stands_there_is_offered(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        f"""
        [[flavors]]
        id = "7"
        name = "half"
        vcpus = 0.5
        ram = 512
        disk = 3

        [[images]]
        id = "{ID.upper()}"
        name = "spark"
        reference = "apache/spark:3.5.1"
        username = "spark"
        tags = ["spark", "3.5", "spark"]
        size = 10
        min_disk = 1
        min_ram = 64
        keep_entrypoint = true
        transport = "ssh"

        [[images]]
        name = "plain"

        [[networks]]
        name = "data"
        network = "10.9.0.0/24"
        addresses = ["10.9.0.10-10.9.0.11"]
        """,
    )
    assert found.flavors == (Flavor("7", "half", 0.5, 512, 3),)
    spark, plain = found.images
    assert spark == Image(
        id=ID,
        name="spark",
        reference="apache/spark:3.5.1",
        username="spark",
        tags=("spark", "3.5"),
        size=10,
        min_disk=1,
        min_ram=64,
        keep_entrypoint=True,
        transport="ssh",
    )
    # Nobody has said its id: it is the same on every start, and on every replica.
    assert plain == Image(id=id_of("image", "plain"), name="plain")
    assert id_of("image", "plain") == "d08438cd-2587-5402-9b93-ec3a64de5dc7"
    assert found.networks == (Network("data", "10.9.0.0/24", ("10.9.0.10", "10.9.0.11")),)


def test_without_flavors_there_are_the_usual_ones(tmp_path: Path) -> None:
    assert read(tmp_path, "") == Offers(DEFAULT_FLAVORS, (), ())
    assert read(tmp_path, "flavors = []").flavors == ()


def test_there_is_an_image_for_nodes_that_need_none() -> None:
    assert default_image(None) == Image(id=id_of("image", "default"), name="default")
    assert default_image("debian:12").reference == "debian:12"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none.toml"
    with pytest.raises(Invalid, match=rf"^--catalogue {re.escape(str(path))}: .*No such file"):
        read_catalogue(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        # -- no catalogue
        ("[[flavors]", "Expected ']]' at the end of an array declaration"),
        (b"\xff", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        ("x = " + "[" * 5000, "maximum recursion depth exceeded"),
        ("disks = []", "Object contains unknown field `disks`"),
        ("flavors = 1", "Expected `array | null`, got `int` - at `$.flavors`"),
        # -- flavors
        ('[[flavors]]\nname = "x"', "Object missing required field `vcpus` - at `$.flavors[0]`"),
        (FLAVOR + "cpu = 1", "Object contains unknown field `cpu` - at `$.flavors[0]`"),
        (FLAVOR.replace("512", '"512"'), "Expected `int`, got `str` - at `$.flavors[0].ram`"),
        (FLAVOR.replace('id = "7"', ""), "a flavor's id is a number or a UUID, not ''"),
        (FLAVOR.replace('"7"', '"m1.big"'), "a flavor's id is a number or a UUID, not 'm1.big'"),
        (FLAVOR.replace("big", " "), "flavor 7: a name has 1 to 255 characters that can be printed"),
        (FLAVOR.replace("big", "b" * 256), "flavor 7: a name has 1 to 255 characters that can be"),
        (FLAVOR.replace("big", "b\\u0007"), "flavor 7: a name has 1 to 255 characters that can be"),
        (FLAVOR.replace("= 2", "= 0"), "flavor 7: vcpus is between 0.01 and 4096, not 0"),
        (FLAVOR.replace("= 2", "= nan"), "flavor 7: vcpus is between 0.01 and 4096, not nan"),
        (FLAVOR.replace("= 2", "= inf"), "flavor 7: vcpus is between 0.01 and 4096, not inf"),
        (FLAVOR.replace("512", "0"), "flavor 7: ram is between 1 and 67108864, not 0"),
        (FLAVOR.replace("512", "9" * 30), "flavor 7: ram is between 1 and 67108864, not 9999"),
        (FLAVOR + "disk = -1", "flavor 7: disk is between 0 and 1048576, not -1"),
        (FLAVOR * 2, "there are two flavors with the id '7'"),
        (FLAVOR + FLAVOR.replace('"7"', '"8"'), "there are two flavors with the name 'big'"),
        # -- images
        ("[[images]]", "Object missing required field `name` - at `$.images[0]`"),
        (IMAGE + 'id = "7"', "an image's id is a UUID, not '7'"),
        (IMAGE.replace("spark", ""), "image '': a name has 1 to 255 characters that can be printed"),
        (
            IMAGE + 'reference = "apache spark"',
            "image 'spark': reference is what Docker calls an image, such as apache/spark:3.5.1",
        ),
        (
            IMAGE + f'reference = "{"a" * 1001}"',
            "image 'spark': reference is what Docker calls an image, such as apache/spark:3.5.1",
        ),
        (
            IMAGE + 'username = "u"\ntags = ["a b"]',
            "image 'spark': 'a b' is not a tag; write letters, digits, . _ and -",
        ),
        (
            IMAGE + f'username = "u"\ntags = ["{"a" * 256}"]',
            f"image 'spark': '{'a' * 60}' is not a tag; write letters, digits, . _ and -",
        ),
        (IMAGE + 'username = " "', "image 'spark': username ' ' is no name of a user in it"),
        (IMAGE + 'username = "../x"', "image 'spark': username '../x' is no name of a user in it"),
        (
            IMAGE + 'tags = ["spark"]',
            "image 'spark': tags are those of a registered image, which has a username, too",
        ),
        (IMAGE + "min_ram = -1", "image 'spark': min_ram is between 0 and 67108864, not -1"),
        (IMAGE + "min_disk = -1", "image 'spark': min_disk is between 0 and 1048576, not -1"),
        (IMAGE + "size = -1", f"image 'spark': size is between 0 and {2**62}, not -1"),
        (
            IMAGE + 'transport = "telnet"',
            "Invalid enum value 'telnet' - at `$.images[0].transport`",
        ),
        (
            IMAGE + f'id = "{ID}"\n' + IMAGE.replace("spark", "x") + f'id = "{ID.upper()}"',
            f"there are two images with the id '{ID}'",
        ),
        (IMAGE + IMAGE + f'id = "{ID}"', "there are two images with the name 'spark'"),
        # -- networks
        (
            '[[networks]]\nname = "a"\nnetwork = "10.9.0.0/24"\nbridge = "x"\nparent = "y"',
            "the network: bridge and parent are the same thing; give one of them",
        ),
        (
            '[[networks]]\nname = "a"\nnetwork = "10.9.0.0/24"\n' * 2,
            "there are two networks with the name 'a'",
        ),
    ],
)
def test_what_is_wrong_is_said_with_the_file(tmp_path: Path, text: str | bytes, words: str) -> None:
    with pytest.raises(Invalid) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(f"--catalogue {tmp_path / 'catalogue.toml'}: {words}")


def test_entries_of_requests_are_judged_alike() -> None:
    """Their ids stand in the path."""
    with pytest.raises(Invalid, match=r"^flavor 9: ram is between 1 and 67108864, not -1$"):
        flavor_of(FlavorEntry("x", 1, -1), "9")
    with pytest.raises(Invalid, match=rf"^image '{ID}': tags are those of a registered image"):
        image_of(ImageEntry("x", tags=("a",)), ID)
