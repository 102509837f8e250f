"""From a name or a YAML file to a back-end: ``config/models/*.yaml``, one file per model."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from roboref_node.config import config_directories, load_yaml
from roboref_node.pointing.pointer import Pointer
from roboref_node.status import Refused, Status

DEFAULT_MODEL = "nano"
_NOTES = ("description", "license")
Settings = TypeVar("Settings")


def available_models() -> tuple[str, ...]:
    """Names of the models with a file in ``config/models``, sorted."""
    return tuple(sorted({file.stem for folder in config_directories() for file in (folder / "models").glob("*.yaml")}))


def load_pointer(name_or_yaml_path: str | Path = DEFAULT_MODEL, **overrides: Any) -> Pointer:
    """Make the back-end that a model file describes; local models are loaded.

    Args:
        name_or_yaml_path: Name of a file in ``config/models`` without its ending, or the path of a YAML file.
        **overrides: Settings that replace the file's; nested ones with dots, as ``**{"http.url": "http://robot:25547"}``.

    Raises:
        Refused: BAD_REQUEST for an unknown name, an unreadable file or a wrong setting; MODEL_UNAVAILABLE when weights are missing.
    """
    name, raw = read_model_file(name_or_yaml_path, overrides)
    backend = raw.pop("backend", None)
    # Each back-end is imported only when it is used: clients of a server need no torch.
    if backend == "local":
        from roboref_node.pointing.local_settings import LocalModelSettings, check_weights

        settings = build_settings(LocalModelSettings, raw, name)
        check_weights(settings.path, settings.fetch)
        from roboref_node.pointing.local import LocalPointer

        return LocalPointer(settings, name)
    if backend == "transformers":
        from roboref_node.pointing.transformers_model import TransformersPointer, TransformersSettings

        return TransformersPointer(build_settings(TransformersSettings, raw, name), name)
    if backend == "roborefer_server":
        from roboref_node.pointing.roborefer_server import RoboReferServerPointer, RoboReferServerSettings

        return RoboReferServerPointer(build_settings(RoboReferServerSettings, raw, name), name)
    if backend == "openai":
        from roboref_node.pointing.openai_server import OpenAIPointer, OpenAISettings

        return OpenAIPointer(build_settings(OpenAISettings, raw, name), name)
    if backend == "several_looks":
        from roboref_node.pointing.several_looks import SeveralLooks, SeveralLooksSettings

        looks = build_settings(SeveralLooksSettings, raw, name)
        if read_model_file(looks.model, {})[1].get("backend") == backend:
            raise Refused(Status.BAD_REQUEST, f"model {name}: `model` must be a model that looks once, not {looks.model!r}.")
        return SeveralLooks(load_pointer(looks.model), looks, name)
    known = "local, transformers, roborefer_server, openai or several_looks"
    raise Refused(Status.BAD_REQUEST, f"model {name}: `backend` must be {known}, not {backend!r}.")


def read_model_file(name_or_yaml_path: str | Path, overrides: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name and settings of a model file, overrides applied and notes for people left out.

    Raises:
        Refused: BAD_REQUEST.
    """
    path = _find(str(name_or_yaml_path))
    raw = load_yaml(path)
    for key in _NOTES:
        raw.pop(key, None)
    for dotted, value in overrides.items():
        *parents, last = dotted.split(".")
        target = raw
        for parent in parents:
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise Refused(Status.BAD_REQUEST, f"model {path.stem}: {dotted!r} cannot be set, because {parent!r} is a single value.")
        target[last] = value
    return path.stem, raw


def _find(name: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        return Path(name).expanduser()
    if Path(name).name == name:
        for folder in config_directories():
            file = folder / "models" / f"{name}.yaml"
            if file.is_file():
                return file
    known = available_models()
    raise Refused(
        Status.BAD_REQUEST, f"There is no model {name!r}; known are {', '.join(known) or 'none'}, or give a .yaml file.", known=list(known)
    )


def build_settings(kind: type[Settings], raw: Mapping[str, Any], where: str) -> Settings:
    """Fill a settings dataclass from plain data, strictly: unknown keys, missing keys and wrong types are errors.

    Raises:
        Refused: BAD_REQUEST naming the key, what it is and what it should be.
    """
    types = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(raw) - set(fields))
    if unknown:
        raise Refused(Status.BAD_REQUEST, f"model {where}: unknown setting {unknown[0]!r}; known are {', '.join(fields)}.")
    values = {key: _convert(types[key], value, f"{where}: {key}") for key, value in raw.items()}
    required = [
        n for n, f in fields.items() if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING and n not in values
    ]
    if required:
        raise Refused(Status.BAD_REQUEST, f"model {where}: the setting {required[0]!r} is missing.")
    return kind(**values)


def _convert(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        return build_settings(typing.cast(type, kind), value, where)
    if isinstance(kind, type) and issubclass(kind, Enum):
        names = [member.value for member in kind]
        if value in names:
            return kind(value)
        raise Refused(Status.BAD_REQUEST, f"model {where} must be one of {', '.join(map(str, names))}, not {value!r}.")
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is kind:
        return value
    expected = "a section of settings" if dataclasses.is_dataclass(kind) else kind.__name__
    raise Refused(Status.BAD_REQUEST, f"model {where} must be {expected}, not {value!r}.")
