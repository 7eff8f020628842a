"""Templates of products -> the documents of clusters, within bounds of text, time and memory.

The sandbox of Jinja2 keeps a template away from Python's insides; it bounds nothing. So a template is
rendered in a worker process that can be killed, and what makes large things cheaply is bounded here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import jinja2
import msgspec
from jinja2 import nodes as syntax
from jinja2.sandbox import ImmutableSandboxedEnvironment

from framework.model.errors import Invalid, TooLarge
from gateway.clusters.documents import ClusterDocument, read_document
from gateway.clusters.markup import parse
from gateway.clusters.options import merge, sample
from gateway.clusters.products import Product, ProductOptions, TemplateType, check_orchestrator
from gateway.jobs.faults import Fault, invalid, printable, shown, suggestion
from gateway.workers import WorkerDied, WorkerMemory, WorkerProcesses, WorkerTimedOut

_TEMPLATE = ("<template>", "<unknown>")
_VARIABLES = ("opts", "user", "product", "version", "clusterdn", "clusterid")


class RenderLimits(msgspec.Struct, frozen=True):
    """``source_bytes`` of the template, ``output_chars`` of what it renders to; ``text_chars`` and
    ``items`` of what ``*``, ``**``, ``%`` and ``range`` make; ``seconds`` for all of it."""

    source_bytes: int = 64 * 1024
    output_chars: int = 1024 * 1024
    text_chars: int = 256 * 1024
    items: int = 10_000
    bits: int = 4096
    seconds: float = 5.0


def cluster_id_of(dn: str) -> str:
    """Returns the id of a distinguished name: ``clusters--u--p--1_0--3`` has dots as ``__``."""
    return dn.replace("/", "--").replace(".", "__")


class Renderer:
    """Renders in ``workers``. Its methods block, and may be called from several threads."""

    def __init__(self, workers: WorkerProcesses, limits: RenderLimits | None = None) -> None:
        self._workers = workers
        self._limits = limits or RenderLimits()

    def check(self, product: Product, *, has_options: bool | None = None) -> None:
        """Raises :class:`Invalid` unless the template and the options of a product fit together.

        A template without its options (``has_options`` False; None: they are empty) may refer to any;
        options without a template are fine.
        """
        if not product.template:
            return
        options = product.options
        complete = options != ProductOptions() if has_options is None else has_options
        variables = variables_of(product, sample(options), "user", f"clusters/user/{_path(product)}/1")
        self._run(_check, product.template, product.template_type, variables, complete)

    def check_orchestrator(self, script: str) -> None:
        """Does :func:`.products.check_orchestrator` where it can be killed: it parses the script."""
        self._in_worker(check_orchestrator, script, what="the orchestrator")

    def render(self, product: Product, given: Any, *, user: str, dn: str) -> ClusterDocument:
        """Returns the cluster that ``user`` gets for the options ``given``.

        ``dn`` is the name it will have (``clusters/U/P/V/ID``). Raises :class:`Invalid` with a
        sentence for each wrong option, or with what is wrong with the template.
        """
        if not product.template:
            raise Invalid(f"the product {product.name} {product.version} has no template yet")
        variables = variables_of(product, merge(product.options, given), user, dn)
        document: ClusterDocument = self._run(
            _render, product.template, product.template_type, variables
        )
        return document

    def _run(self, function: Any, source: str, kind: TemplateType, variables: Any, *more: Any) -> Any:
        size = len(source.encode("utf-8", "surrogatepass"))
        if size > self._limits.source_bytes:
            raise TooLarge(
                f"the template has {size} bytes, at most {self._limits.source_bytes} are accepted"
            )
        return self._in_worker(function, source, kind, variables, self._limits, *more)

    def _in_worker(self, function: Any, *arguments: Any, what: str = "the template") -> Any:
        seconds = self._limits.seconds
        try:
            try:
                return self._workers.run(function, *arguments, timeout=seconds)
            except WorkerDied:
                # Perhaps the kernel was short of memory: this is pure, so once more does no harm.
                return self._workers.run(function, *arguments, timeout=seconds)
        except WorkerTimedOut:
            raise Invalid(f"{what} took longer than {seconds:g} seconds; make it simpler") from None
        except WorkerMemory:
            raise Invalid(f"{what} needed too much memory; make it smaller") from None


def variables_of(product: Product, opts: Mapping[str, Any], user: str, dn: str) -> dict[str, Any]:
    """Returns what a template knows."""
    return {
        "opts": dict(opts),
        "user": user,
        "product": product.name,
        "version": product.version,
        "clusterdn": dn,
        "clusterid": cluster_id_of(dn),
    }


def _path(product: Product) -> str:
    return f"{product.name}/{product.version}"


# -- in the worker --


def _check(
    source: str, kind: TemplateType, variables: dict[str, Any], limits: RenderLimits, complete: bool
) -> None:
    try:
        _render(source, kind, variables, limits)
    except _OpenTemplate:
        if complete:
            raise


def _render(
    source: str, kind: TemplateType, variables: dict[str, Any], limits: RenderLimits
) -> ClusterDocument:
    text = render_text(source, variables, limits)
    try:
        document = parse(text, kind)
    except Fault as fault:
        raise invalid([_in_output(fault, text)]) from None
    return read_document(document)


def _in_output(fault: Fault, text: str) -> str:
    """What a template has rendered to is not seen by its author: the line at fault is quoted."""
    if fault.position is None:
        return f"the rendered template: {fault.text}"
    lines = text.splitlines()
    line = lines[fault.position.line - 1].strip() if fault.position.line <= len(lines) else ""
    quoted = f" ({shown(line)})" if line else ""
    return f"the rendered template, {fault.position}: {fault.text}{quoted}"


class _OpenTemplate(Invalid):
    """The template refers to an option that the product does not have."""


def render_text(source: str, variables: Mapping[str, Any], limits: RenderLimits | None = None) -> str:
    """Returns what the template renders to; raises :class:`Invalid` naming the line at fault.

    Bounded in text; whoever does not trust the template calls it in a worker process.
    """
    limits = limits or RenderLimits()
    environment = _Environment(limits)
    known = {**variables, "opts": _Options(variables.get("opts", {}))}
    try:
        _refuse_loading(environment.parse(source))
        template = environment.from_string(source)
        parts: list[str] = []
        size = 0
        for part in template.generate(known):
            size += len(part)
            if size > limits.output_chars:
                raise Invalid(f"the template renders to more than {limits.output_chars} characters")
            parts.append(part)
        return "".join(parts)
    except jinja2.TemplateSyntaxError as error:
        raise Invalid(
            f"template line {error.lineno}: {_sentence(error.message or 'wrong syntax')}"
        ) from None
    except _MissingOption as error:
        raise _OpenTemplate(_at_line(error)) from None
    except (jinja2.TemplateError, _Bounds) as error:
        raise Invalid(_at_line(error)) from None
    except RecursionError:
        raise Invalid("the template is nested too deeply, or a macro calls itself") from None
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise Invalid(_at_line(error)) from None


def _at_line(error: BaseException) -> str:
    """Jinja2 lets the frames of a traceback name the template's own lines."""
    line = None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename in _TEMPLATE:
            line = trace.tb_lineno
        trace = trace.tb_next
    words = _sentence(str(error) or type(error).__name__)
    return f"template line {line}: {words}" if line else f"template: {words}"


def _sentence(text: str) -> str:
    text = printable(text[:300])
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def _refuse_loading(tree: syntax.Template) -> None:
    """There is one template; nothing can be loaded into it."""
    for node in tree.find_all((syntax.Import, syntax.FromImport, syntax.Include, syntax.Extends)):
        word = "from" if isinstance(node, syntax.FromImport) else type(node).__name__.lower()
        raise jinja2.TemplateSyntaxError(
            f"{word} is not possible: a product has one template", node.lineno
        )


class _Bounds(Exception):
    """Something larger than the limits would be made."""


class _MissingOption(jinja2.UndefinedError):
    """``opts`` has nothing of this name."""


class _Options(dict[str, Any]):
    """``opts``: known apart from other mappings, so that what is missing is called an option."""


class _Undefined(jinja2.StrictUndefined):
    """Says what is missing, and what was meant."""

    __slots__ = ()

    def __init__(
        self,
        hint: str | None = None,
        obj: Any = jinja2.utils.missing,
        name: str | None = None,
        exc: type[jinja2.TemplateRuntimeError] = jinja2.UndefinedError,
    ) -> None:
        super().__init__(hint, obj, name, _MissingOption if isinstance(obj, _Options) else exc)

    def fail(self) -> NoReturn:
        self._fail_with_undefined_error()

    def __round__(self, digits: int = 0) -> NoReturn:
        self.fail()

    @property
    def _undefined_message(self) -> str:
        holder, name = self._undefined_obj, self._undefined_name
        if isinstance(holder, _Options):
            hint = suggestion(str(name), [str(key) for key in holder])
            return f"there is no option {shown(name)}{hint}"
        if isinstance(holder, dict):
            return f"there is nothing called {shown(name)} here{suggestion(str(name), holder)}"
        if holder is jinja2.utils.missing:
            return f"{shown(name)} is not defined; there are {', '.join(_VARIABLES)}"
        return super()._undefined_message


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self, limits: RenderLimits) -> None:
        super().__init__(undefined=_Undefined, autoescape=False, keep_trailing_newline=True)
        self.limits = limits
        self.globals["range"] = self._range
        # A cluster is the same however often it is rendered.
        self.globals.pop("lipsum", None)
        self.filters.pop("random", None)
        # What tojson cannot write may be what is missing: that is to be said, in those words.
        self.policies["json.dumps_kwargs"] = {"sort_keys": True, "default": _not_json}

    def _range(self, *args: int) -> range:
        made = range(*args)
        if len(made) > self.limits.items:
            raise _Bounds(f"a range of {len(made)} numbers is too long; {self.limits.items} are allowed")
        return made

    def call(self, context: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """A function that is given what is missing would say so in Python's own words."""
        for argument in (*args, *kwargs.values()):
            if isinstance(argument, _Undefined):
                argument.fail()
        return super().call(context, function, *args, **kwargs)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "*":
            self._check_product(left, right)
        elif operator == "**":
            self._check_power(left, right)
        elif isinstance(left, str | bytes) and _asks_for_width(left, self.limits.text_chars):
            raise _Bounds("a text of this width is too long")
        return super().call_binop(context, operator, left, right)

    def _check_product(self, left: Any, right: Any) -> None:
        for one, other in ((left, right), (right, left)):
            if isinstance(one, str | bytes | list | tuple) and isinstance(other, int):
                most = self.limits.text_chars if isinstance(one, str | bytes) else self.limits.items
                if len(one) * other > most:
                    raise _Bounds(f"{len(one)} * {other} is too long; {most} are allowed")
        if isinstance(left, int) and isinstance(right, int):
            self._check_bits(left.bit_length() + right.bit_length())

    def _check_power(self, left: Any, right: Any) -> None:
        if isinstance(left, int) and isinstance(right, int) and right > 0:
            self._check_bits(left.bit_length() * right)

    def _check_bits(self, bits: int) -> None:
        if bits > self.limits.bits:
            raise _Bounds(f"a number of {bits} bits is too large; {self.limits.bits} are allowed")


def _not_json(value: Any) -> NoReturn:
    if isinstance(value, _Undefined):
        value.fail()
    raise TypeError(f"a value of the type {type(value).__name__} cannot be written as JSON")


def _asks_for_width(text: str | bytes, most: int) -> bool:
    """Whether a ``%`` format holds a width or precision as large as that, or takes one (``*``)."""
    plain = text if isinstance(text, str) else text.decode("latin-1")
    digits = "".join(c if c.isdigit() else " " for c in plain).split()
    return any(len(run) > 9 or int(run) > most for run in digits) or "*" in plain
