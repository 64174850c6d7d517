"""From typed models to OpenAPI v3 schemas, in the structural form that CustomResourceDefinitions ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import inspect

from dstk.api.model import Model

__all__ = ["schema_of"]

_BOUNDS = {
    "ge": "minimum",
    "le": "maximum",
    "min_length": "minLength",
    "max_length": "maxLength",
    "pattern": "pattern",
}


def schema_of(model: type[Model]) -> dict[str, Any]:
    """The schema of a model: description, properties, required, rules; keys in a stable order.

    Raises TypeError for a type that has no structural schema.
    """
    info = inspect.type_info(model)
    assert isinstance(info, inspect.StructType)
    return _struct(info)


def _struct(info: inspect.StructType) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "description": _first_line(info.cls.__doc__),
        "properties": {field.encode_name: _field(field) for field in info.fields},
    }
    required = [field.encode_name for field in info.fields if field.required]
    if required:
        schema["required"] = required
    rules = getattr(info.cls, "rules", ())
    if rules:
        schema["x-kubernetes-validations"] = [rule.schema() for rule in rules]
    return schema


def _field(field: inspect.Field) -> dict[str, Any]:
    schema = _type(field.type)
    default = _default(field, schema)
    if default is not None:
        schema["default"] = default
    return _ordered(schema)


def _default(field: inspect.Field, schema: dict[str, Any]) -> Any:
    """What the API server fills in. An empty text, tuple or mapping says no more than an absent one.

    The default of a struct is spelled out: the API server tries its rules on it without filling in the inner ones.
    """
    if isinstance(field.default_factory, type) and issubclass(field.default_factory, Model):
        inner = schema["properties"]
        return {name: value["default"] for name, value in inner.items() if "default" in value}
    if field.default in (msgspec.NODEFAULT, None, "", ()):
        return None
    return msgspec.to_builtins(field.default)


def _type(info: inspect.Type) -> dict[str, Any]:
    match info:
        case inspect.Metadata(type=inner, extra_json_schema=extra):
            return _merged(_type(inner), extra or {})
        case inspect.UnionType(types=types):
            inner, *rest = (t for t in types if not isinstance(t, inspect.NoneType))
            if rest:
                raise TypeError(f"a union of {types} has no structural schema")
            return _type(inner)
        case inspect.StructType():
            return _struct(info)
        case inspect.EnumType(cls=cls):
            return {"type": "string", "enum": [member.value for member in cls]}
        case inspect.DateTimeType():
            return {"type": "string", "format": "date-time", "maxLength": 64}
        case inspect.BoolType():
            return {"type": "boolean"}
        case inspect.IntType():
            wide = info.le is None or info.le >= 2**31
            return {"type": "integer", "format": "int64" if wide else "int32", **_bounds(info, _BOUNDS)}
        case inspect.FloatType():
            return {"type": "number", "format": "double", **_bounds(info, _BOUNDS)}
        case inspect.StrType():
            return {"type": "string", **_bounds(info, _BOUNDS)}
        case inspect.VarTupleType():
            sizes = _bounds(info, {"min_length": "minItems", "max_length": "maxItems"})
            return {"type": "array", **sizes, "items": _ordered(_type(info.item_type))}
        case inspect.DictType():
            sizes = _bounds(info, {"min_length": "minProperties", "max_length": "maxProperties"})
            return {"type": "object", **sizes, "additionalProperties": _ordered(_type(info.value_type))}
    raise TypeError(f"{info} has no structural schema")


def _bounds(info: inspect.Type, names: Mapping[str, str]) -> dict[str, Any]:
    found = {name: getattr(info, attribute, None) for attribute, name in names.items()}
    return {name: value for name, value in found.items() if value is not None}


def _merged(schema: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    rules = [*schema.get("x-kubernetes-validations", ()), *extra.get("x-kubernetes-validations", ())]
    merged = {**schema, **extra}
    if rules:
        merged["x-kubernetes-validations"] = rules
    return merged


_ORDER = ("description", "type", "format", "enum", "default")


def _ordered(schema: dict[str, Any]) -> dict[str, Any]:
    """What a person looks for first comes first."""
    first = {name: schema[name] for name in _ORDER if name in schema}
    return first | schema


def _first_line(docstring: str | None) -> str:
    return (docstring or "").strip().partition("\n\n")[0].replace("\n    ", " ")
