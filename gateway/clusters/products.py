"""Products: what a user can have a cluster of, and when one of its parts is right. Pure.

Whether the template and the options fit together is decided by :mod:`gateway.clusters.rendering`.
"""

from __future__ import annotations

import ast
import warnings
from typing import Any, Literal

import msgspec

from framework.model.errors import Invalid, TooLarge
from framework.model.jobs import check_segment

MOST_SCRIPT_BYTES = 256 * 1024
_MOST_TEXT = 10_000

TemplateType = Literal["json+jinja2", "yaml+jinja2"]


class ProductOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The options of a product's template.

    Every one of ``required`` has to be given (its value here is an example); ``optional`` and
    ``advanced`` hold defaults; ``descriptions`` are for people.
    """

    required: dict[str, Any] = {}
    optional: dict[str, Any] = {}
    advanced: dict[str, Any] = {}
    descriptions: dict[str, str] = {}


class Product(msgspec.Struct, frozen=True):
    """A product: ``template`` renders to the document of a cluster, ``orchestrator`` is the script that
    configures one. "" where nothing has been given yet. Times in seconds since the epoch."""

    name: str
    version: str
    description: str = ""
    logo_url: str = ""
    template: str = ""
    template_type: TemplateType = "json+jinja2"
    options: ProductOptions = ProductOptions()
    orchestrator: str = ""
    created_at: float = 0.0
    updated_at: float = 0.0

    @property
    def dn(self) -> str:
        return f"products/{self.name}/{self.version}"


def check_names(name: str, version: str) -> None:
    """Raises :class:`Invalid` unless both can stand in URLs and in names of jobs."""
    for what, part in (("the name of a product", name), ("the version of a product", version)):
        check_segment(what, part)
        if len(part) > 100:
            raise Invalid(f"{what} has {len(part)} characters; at most 100 are allowed")
        if "--" in part or "__" in part:
            raise Invalid(
                f"{what} {part!r} holds '--' or '__', which stand for '/' and '.' in ids of clusters"
            )


def check_texts(description: str, logo_url: str) -> None:
    """Raises :class:`Invalid` for a description or the address of a logo that cannot be shown."""
    for field, text in (("description", description), ("logo_url", logo_url)):
        if len(text) > _MOST_TEXT or "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
            raise Invalid(
                f"{field}: is longer than {_MOST_TEXT} characters or holds what is no character"
            )
    if logo_url and not logo_url.startswith(("http://", "https://", "/")):
        raise Invalid("logo_url: expects an address that begins with https:// or http://")


def template_type_of(content_type: str) -> TemplateType:
    """Returns the type of a template that is sent with this Content-Type; JSON where it says nothing."""
    kind = content_type.partition(";")[0].strip().lower()
    return "yaml+jinja2" if kind.endswith(("/yaml", "/x-yaml", "+yaml")) else "json+jinja2"


def check_orchestrator(script: str) -> None:
    """Raises :class:`Invalid` for a script that cannot run: too large, or Python that does not parse."""
    size = len(script.encode("utf-8", "surrogatepass"))
    if size > MOST_SCRIPT_BYTES:
        raise TooLarge(f"the orchestrator has {size} bytes, at most {MOST_SCRIPT_BYTES} are accepted")
    if "\0" in script or any("\ud800" <= c <= "\udfff" for c in script):
        raise Invalid("orchestrator: a script is a text; this one holds a NUL or half a character")
    if not script.strip():
        raise Invalid("orchestrator: the script is empty")
    kind_of_script(script)


ScriptKind = Literal["fabfile", "program"]


def kind_of_script(script: str) -> ScriptKind:
    """Returns how an orchestrator is called: as a fabfile, whose tasks are the verbs, or as a program
    that takes the verb as its argument.

    A fabfile is Python that defines ``start`` and does not run itself. Raises :class:`Invalid` for
    Python that does not parse, or that is a fabfile of Fabric 1, whose API is no longer there.
    """
    first = script.partition("\n")[0].strip()
    if first.startswith("#!") and "python" not in first:
        return "program"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(script)
    except SyntaxError as error:
        raise Invalid(f"orchestrator line {error.lineno}: {error.msg}{_old(script)}") from None
    except (ValueError, RecursionError, MemoryError):
        raise Invalid("orchestrator: the script is nested too deeply to be read") from None
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            ("fabric.api", "fabric.con")
        ):
            raise Invalid(
                f"orchestrator line {node.lineno}: {node.module} belongs to Fabric 1; Fabric 3 is "
                "installed: use `from fabric import task`, and node.connection() or node.run() of "
                "registry instead of run() and env.hosts"
            )
    defines = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    runs_itself = any(
        isinstance(node, ast.If) and "__name__" in ast.dump(node.test) for node in tree.body
    )
    if first.startswith("#!") and (runs_itself or "start" not in defines):
        return "program"
    if "start" not in defines:
        raise Invalid(
            "orchestrator: it defines no task `start`; write a fabfile with the tasks start, stop, "
            "restart and status, or a program that begins with #! and takes one of these words as "
            "its argument"
        )
    return "fabfile"


def _old(script: str) -> str:
    return " (is this Python 2? Scripts run with Python 3)" if "print " in script else ""
