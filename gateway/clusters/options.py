"""The options of a product: read from a document, merged with what a user gives. Pure."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from typing import Any

from framework.model.errors import Invalid
from gateway.clusters.products import ProductOptions
from gateway.jobs.faults import invalid, shown, suggestion

_SECTIONS = ("required", "optional", "advanced", "descriptions")
_MOST = 500
_LONGEST_NUMBER = 40
_KINDS: Mapping[type, str] = {
    str: "a text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


def read_options(document: Any) -> ProductOptions:
    """Returns the options that a document describes; raises :class:`Invalid` with all that is wrong."""
    if not isinstance(document, dict):
        raise Invalid('options: expects an object: {"required": {}, "optional": {}, "advanced": {}}')
    problems = [
        f"options: there is no section {shown(name)}{suggestion(str(name), _SECTIONS)}"
        for name in document
        if name not in _SECTIONS
    ]
    sections: dict[str, dict[str, Any]] = {}
    for name in _SECTIONS:
        section = document.get(name)
        sections[name] = section if isinstance(section, dict) else {}
        if section is not None and not isinstance(section, dict):
            problems.append(f"options.{name}: expects an object, not {kind_of(section)}")
    problems += _contradictions(sections)
    if problems:
        raise invalid(problems)
    return ProductOptions(**sections)


def _contradictions(sections: Mapping[str, Mapping[str, Any]]) -> list[str]:
    problems = []
    homes: dict[str, str] = {}
    for section in ("required", "optional", "advanced"):
        for name in sections[section]:
            if not name or len(name) > 200 or not name.isprintable():
                problems.append(f"options.{section}: {shown(name)} is not a name for an option")
            if name in homes:
                problems.append(
                    f"options.{section}.{name}: the option stands in {homes[name]} as well; "
                    "leave one of them out"
                )
            homes.setdefault(name, section)
    if len(homes) > _MOST:
        problems.append(f"options: there are {len(homes)}, at most {_MOST} are allowed")
    for name, text in sections["descriptions"].items():
        if not isinstance(text, str):
            problems.append(f"options.descriptions.{name}: expects a text, not {kind_of(text)}")
        if name not in homes:
            hint = suggestion(name, homes)
            problems.append(f"options.descriptions.{name}: there is no option of this name{hint}")
    return problems


def sample(options: ProductOptions) -> dict[str, Any]:
    """Returns a value for each option: its default, or the example of a required one."""
    return {**options.advanced, **options.optional, **options.required}


def merge(options: ProductOptions, given: Any) -> dict[str, Any]:
    """Returns the value of every option.

    ``given`` is an object of the user's. A text with a number is taken for a number where the default
    (or the example) is one. Raises :class:`Invalid` with a sentence for each option that is missing,
    unknown or of another type.
    """
    if not isinstance(given, Mapping):
        raise Invalid(f"options: expects an object with the product's options, not {kind_of(given)}")
    models = sample(options)
    problems = []
    for name, example in options.required.items():
        if name not in given:
            about = options.descriptions.get(name)
            hint = f" ({about})" if about else ""
            problems.append(f"{name}: this option is required{hint}, for example {shown(example)}")
    merged = {**options.advanced, **options.optional}
    for name, value in given.items():
        if name not in models:
            problems.append(f"{shown(name)[1:-1]}: {_unknown(name, models)}")
            continue
        try:
            merged[name] = _like(models[name], value)
        except ValueError as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise invalid(problems)
    return merged


def _unknown(name: str, models: Mapping[str, Any]) -> str:
    if not models:
        return "the product has no options"
    hint = suggestion(name, models)
    return f"the product has no such option{hint or '; it has ' + ', '.join(sorted(models))}"


def _like(model: Any, value: Any) -> Any:
    """Returns ``value`` as a value of the model's type; raises ``ValueError``."""
    if model is None:  # a default of null says nothing about the type
        return value
    if isinstance(model, bool):
        if isinstance(value, str) and value.strip().lower() in ("true", "false"):
            return value.strip().lower() == "true"
        fits = isinstance(value, bool)
    elif isinstance(model, int | float):
        if isinstance(value, str):
            return _number(value, model)
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        if fits and isinstance(model, int) and isinstance(value, float):
            if not value.is_integer():
                raise ValueError(f"expects a whole number (such as {shown(model)}), not {shown(value)}")
            return int(value)
    else:
        fits = type(value) is type(model)
    if not fits:
        raise ValueError(f"expects {kind_of(model)} (such as {shown(model)}), not {shown(value)}")
    return value


def _number(text: str, model: float) -> int | float:
    plain = text.strip()
    if plain.isascii() and len(plain) <= _LONGEST_NUMBER and "_" not in plain:
        if plain.removeprefix("-").isdigit():
            return int(plain)
        if not isinstance(model, int) and any(c.isdigit() for c in plain):
            with contextlib.suppress(ValueError):
                number = float(plain)
                if math.isfinite(number):
                    return number
    kind = "a whole number" if isinstance(model, int) else "a number"
    raise ValueError(f"expects {kind} (such as {shown(model)}), not {shown(text)}")


def kind_of(value: Any) -> str:
    """Returns what a plain value is, for a sentence."""
    return _KINDS.get(type(value), type(value).__name__)
