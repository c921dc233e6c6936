"""The JSON Schema of the pipeline file, for editors to complete and check from."""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import Any

from detektr import plugins
from detektr.config.cameras import CAMERAS, DEFAULTS
from detektr.config.schema import KINDS, PipelineOptions, adapter
from detektr.config.suggestions import key_of
from detektr.options import NAME_PATTERN, NodeOptions
from detektr.registry.node_kinds import NODE_KINDS


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the pipeline file, for editors to complete and check from."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **adapter(PipelineOptions).json_schema()}
    definitions = schema["$defs"]
    for kind, options in KINDS.items():
        _complete(definitions[options.__name__], kind, options)
    for name, title in (("EdgeInput", "edge"), ("RetryOptions", "retry")):
        section = definitions[name]
        section["title"] = title
        section["properties"] = {key_of(key): value for key, value in section["properties"].items()}
        section["required"] = [key_of(key) for key in section.get("required", [])]
    by_kind = [{"$ref": f"#/$defs/{options.__name__}"} for options in KINDS.values()]
    schema["properties"]["nodes"] |= {"additionalProperties": {"oneOf": by_kind}, "minProperties": 1}
    capture = definitions["CaptureOptions"]
    definitions["Camera"] = {**capture, "title": "camera", "required": ["source"]}
    shared = {key: value for key, value in capture["properties"].items() if key not in ("kind", "source", "camera")}
    schema["properties"] |= {
        CAMERAS: {
            "description": "The cameras by name: a source, or a mapping with `source`; each is a capture of its name.",
            "type": "object",
            "propertyNames": {"pattern": NAME_PATTERN},
            "additionalProperties": {"anyOf": [capture["properties"]["source"], {"$ref": "#/$defs/Camera"}]},
            "minProperties": 1,
        },
        DEFAULTS: {
            "description": "Keys that every camera has unless it says otherwise.",
            "type": "object",
            "properties": shared,
            "additionalProperties": False,
        },
    }
    _inherit(schema["properties"], PipelineOptions)
    audit = schema["properties"]["audit"]
    text = dict(definitions["AuditOptions"]["properties"]["to"])
    schema["properties"]["audit"] = {
        "anyOf": [text, {"$ref": "#/$defs/AuditOptions"}],
        "description": audit["description"],
        "default": "none",
    }
    return schema


def _complete(definition: dict[str, Any], kind: str, options: type[NodeOptions]) -> None:
    """Make pydantic's definition of a kind of node what the file has: its words, its keys, its short names."""
    keys = definition["properties"]
    _inherit(keys, options)
    definition["properties"] = {"kind": keys.pop("kind")} | {key_of(name): value for name, value in keys.items()}
    definition["required"] = ["kind", *definition.get("required", [])]
    definition["properties"]["kind"].pop("default", None)
    if NODE_KINDS[kind].plugins:  # editors complete the short names that are installed here
        use = definition["properties"]["use"]
        pattern = {"type": use.pop("type"), "pattern": f"^{plugins.REFERENCE}$"}
        use["anyOf"] = [{"enum": plugins.names(NODE_KINDS[kind].plugins)}, pattern]
        del use["pattern"]
    definition["title"] = kind


def _inherit(keys: dict[str, Any], options: type) -> None:
    """Describe keys by the docstrings of the classes above, too: pydantic reads a class's own ones only."""
    for base in filter(is_dataclass, options.__mro__[1:]):
        for name, inherited in adapter(base).json_schema()["properties"].items():
            if "description" in inherited:
                keys[name].setdefault("description", inherited["description"])
