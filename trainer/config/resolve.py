"""Combines settings: defaults, then a preset, then a settings file, then options; later ones override.

What is still open then follows from the machine and the weights.
"""

import difflib
import json
import math
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from upscaler.errors import UsageError, WeightsError
from upscaler.inference import devices
from upscaler.models import find_weights, registry, shipped, transfer
from upscaler.trainer.config.config import SIZES, TrainConfig
from upscaler.trainer.config.gan import GanConfig
from upscaler.trainer.config.presets import PRESETS

# Default length of a run.
_MINUTES = {"cuda": 20.0, "mps": 60.0, "xpu": 20.0, "cpu": 60.0}

_LENGTHS = {"minutes", "steps", "epochs"}

# Settings of the shipped weights, by the names of their files.
_RECIPES = Path(__file__).parents[1] / "recipes"

Settings = dict[str, Any]


def resolve_config(given: Settings, file: Path | None = None) -> tuple[TrainConfig, list[str]]:
    """The complete settings of a run.

    Args:
        given: Settings by name, with ``gan`` as a table, as in a settings file; ``preset`` names a preset.
        file: A TOML file with settings, or the name of a recipe (``fast-x4``).

    Returns:
        The settings, and lines for the user about what was chosen here.

    Raises:
        UsageError: Names all unknown and wrong settings.
        WeightsError: The weights to start from cannot be used.
    """
    layers = [given]
    if file is not None:
        layers.insert(0, _read(file))
    errors = [line for layer in layers for line in _unknown(layer)]
    if errors:
        raise UsageError("; ".join(errors))
    preset = next((layer["preset"] for layer in reversed(layers) if "preset" in layer), "balanced")
    if preset not in PRESETS:
        raise UsageError(
            f"unknown preset '{preset}'{_nearest(preset, list(PRESETS))}", f"known are {', '.join(PRESETS)}"
        )
    settings: Settings = {}
    for layer in [PRESETS[preset], *layers]:
        if not _LENGTHS.isdisjoint(layer):  # only one length: that of the later layer
            settings = {name: value for name, value in settings.items() if name not in _LENGTHS}
        settings |= layer | {"gan": settings.get("gan", {}) | layer.get("gan", {})}
    settings.pop("preset", None)
    for name, typed in (("photos", "a folder of photographs"), ("output", "-o FILE")):
        if name not in settings:
            errors.append(f"{name} must be set ({typed})")
    if errors:
        raise UsageError("; ".join(errors))
    notes = _resolve_open(settings)
    gan = GanConfig(**_tuples(settings.pop("gan")))
    return TrainConfig(**_tuples(settings), gan=gan), notes


def _read(file: Path) -> Settings:
    recipes = {path.stem: path for path in sorted(_RECIPES.glob("*.toml"))}
    if not file.exists():  # a file takes precedence over the recipe of the same name
        file = recipes.get(str(file), file)
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))  # editors on Windows write a BOM
    except OSError as error:
        hint = f"use a file, or one of the recipes {', '.join(recipes)}"
        raise UsageError(f"cannot read '{file}': {error.strerror}", hint) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"'{file}' is not TOML: {error}") from error
    except RecursionError as error:
        raise UsageError(f"'{file}' is nested too deeply") from error


def parse_assignment(text: str) -> Settings:
    """``gan.batch=16`` -> ``{"gan": {"batch": 16}}``; anything but a TOML value is a string.

    Raises:
        UsageError: There is no ``=``, or no name before it.
    """
    name, equals, value = text.partition("=")
    *tables, key = (part.strip() for part in name.split("."))
    if not equals or not all((*tables, key)):
        raise UsageError(f"'{text}' is not a setting", "use NAME=VALUE, for example gan.batch=16")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    except RecursionError as error:
        raise UsageError(f"the value of {name.strip()} is nested too deeply") from error
    if tables == ["network"]:  # the name of the network is a setting, its sizes are a table
        tables = ["network_size"]
    settings: Settings = {key: parsed}
    for table in reversed(tables):
        settings = {table: settings}
    return settings


def merged(settings: Settings, later: Settings) -> Settings:
    """Both, table by table; later settings override earlier ones."""
    found = dict(settings)
    for name, value in later.items():
        earlier = found.get(name)
        if isinstance(earlier, dict) and isinstance(value, dict):
            value = merged(earlier, value)
        found[name] = value
    return found


def _unknown(settings: Settings) -> Iterator[str]:
    """A line for every setting that does not exist or has the wrong type."""
    known = typing.get_type_hints(TrainConfig) | {"preset": str, "gan": dict}
    tables: list[tuple[str, Settings, dict[str, Any]]] = [("", settings, known)]
    if isinstance(settings.get("gan"), dict):
        tables.append(("gan.", settings["gan"], typing.get_type_hints(GanConfig)))
    for table, values, hints in tables:
        for name, value in values.items():
            if name not in hints:
                full = [*known, *(f"gan.{each}" for each in typing.get_type_hints(GanConfig))]
                yield f"unknown setting '{table}{name}'{_nearest(table + name, full)}"
            elif not _fits(value, hints[name]):
                yield f"{table}{name} = {value!r} is not {_type_name(hints[name])}"


def _nearest(name: str, known: list[str]) -> str:
    last = name.rpartition(".")[2]
    same = [each for each in known if each.rpartition(".")[2] == last]  # right name in the wrong table
    longer = [each for each in known if each.startswith(f"{name}_")]  # without its unit
    near = same or longer or difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f" (did you mean '{near[0]}'?)" if near else ""


def _fits(value: object, hint: Any) -> bool:  # noqa: ANN401 - a type
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, each) for each in arguments)
    if origin is typing.Literal:
        return isinstance(value, str)  # its values are checked with the ranges
    if origin is tuple:
        return isinstance(value, list | tuple) and all(_fits(each, arguments[0]) for each in value)
    if origin in (dict, Mapping):
        return isinstance(value, dict) and all(_fits(each, arguments[1]) for each in value.values())
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _type_name(hint: Any) -> str:  # noqa: ANN401 - a type
    names = {int: "an integer", float: "a number", str: "a string", bool: "true or false", dict: "a table"}
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _type_name(arguments[0])
    if origin is tuple:
        return "a list"
    if origin in (dict, Mapping):
        return "a table of numbers"
    return names.get(hint, "a string")


def _tuples(settings: Settings) -> Settings:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}


def _resolve_open(settings: Settings) -> list[str]:
    """Fill in what depends on the machine and the weights; returns lines about what was chosen."""
    notes: list[str] = []
    if settings.get("device", "auto") == "auto":
        notes += filter(None, [devices.unused_gpu(devices.select("auto"))])
    start = settings.get("start_from", "shipped")
    if "scale" not in settings:
        settings["scale"] = 4 if start in ("shipped", "none") else round(find_weights.default_scale([start]))
    for_films = registry.PRESETS.get(settings.get("network", ""), ("",))[0] == "film"
    if "stages" not in settings:
        settings["stages"] = "1" if settings["scale"] == 1 or for_films else "1,2"
    if for_films:  # every crop is a clip of several frames
        settings.setdefault("batch", 6)
        settings.setdefault("phase2_batch", 3)
        settings.setdefault("clip_frames", 7)
        settings.setdefault("calm_weight", 1.0)
        if start != "none":  # annealed already: at the full rate, balanced-x4 lost 0.07 dB in 300 steps
            settings.setdefault("plain_rate", 0.15)
    if settings["stages"] == "1" and settings["gan"].get("vgg", "small") != "small":
        notes.append("--vgg has no effect: it is for stage two, which this run skips")
    notes += _resolve_network(settings, start)
    if all(settings.get(name) is None for name in _LENGTHS):
        settings["minutes"] = _MINUTES[devices.select(settings.get("device", "auto")).type]
        notes.append(
            f"training for {settings['minutes']:.0f} minutes; change it with --minutes, --steps or --epochs"
        )
    elif settings.get("steps") is not None and settings["steps"] >= 100_000:
        notes.append(f"training for {settings['steps']:,} steps; change it with --minutes or --steps")
    return notes


def _resolve_network(settings: Settings, start: str) -> list[str]:
    """Fill in the network and what it starts from; returns lines about what was chosen."""
    if start not in ("shipped", "none"):
        return _resolve_own_start(settings, start)
    network = settings.setdefault("network", "balanced")
    if start == "none":
        return []
    if settings.get("network_size"):
        settings["start_from"] = "none"
        return [f"network {network} of a size of its own, from scratch"]
    name = settings["start_from"] = _shipped_start(network, settings.get("degradation", ""))
    start = "from scratch" if name == "none" else f"from the shipped weights '{name}'"
    return [f"network {network}, {start}"]


def _resolve_own_start(settings: Settings, start: str) -> list[str]:
    """The same for weights that the user named."""
    if "network" not in settings:
        settings["network"], sizes = _network_of(start, settings)
        settings["network_size"] = sizes | settings.get("network_size", {})
    files, scale = find_weights.weight_files(start), settings["scale"]
    if scale in files:
        return []
    known = " and ".join(f"x{known}" for known in files)
    weights = transfer.load_start(files[min(files, key=lambda known: abs(known - scale))])
    averaged = transfer.averages_tail(weights, scale)
    last_layer = "with its output averaged" if averaged else "whose last layer is new"
    return [f"'{start}' is for {known}: its body starts the network for x{scale}, {last_layer}"]


def _shipped_start(network: str, degradation: str) -> str:
    """The shipped weights to start from: those trained on the most similar LR images."""
    plain = degradation in ("clean", "bilinear")
    variants = [network] if plain else [network + shipped.PHOTO, network]
    if registry.PRESETS.get(network, ("",))[0] == "film":
        variants.append("balanced")
    return next((name for name in variants if shipped.installed_scales(name)), "none")


def _network_of(start: str, settings: Settings) -> tuple[str, dict[str, int]]:
    """The name of the network in a weight file or in shipped weights, and its sizes if they are its own."""
    files = find_weights.weight_files(start)
    weights = transfer.load_start(files[min(files, key=lambda scale: abs(scale - settings["scale"]))])
    scale = {"scale": weights.scale}
    candidates: list[tuple[str, dict[str, int]]] = []
    for name, (architecture, arguments) in registry.PRESETS.items():
        if architecture == weights.architecture:
            with torch.device("meta"):  # without memory
                known = registry.build(architecture, arguments | scale).arguments
                own = registry.build(architecture, weights.arguments).arguments
            other = {key for key in known.keys() | own.keys() if known.get(key) != own.get(key)}
            if other <= set(SIZES):
                candidates.append((name, {key: own[key] for key in sorted(other)}))
    if candidates:
        return min(candidates, key=lambda candidate: len(candidate[1]))
    raise WeightsError(f"the network of '{start}' is none of those that --network offers")


def public(config: TrainConfig) -> Settings:
    """The settings without folder names, for files that are passed on."""
    settings = config.as_dict()
    for name in ("photos", "lr_dirs", "valid", "valid_lr_dirs"):
        settings[name] = [Path(folder).name for folder in settings[name]]
    for name in ("output", "start_from", "teacher", "lpips_trunk", "lpips_heads"):
        settings[name] = Path(settings[name]).name
    for name in ("vgg", "from_discriminator"):
        settings["gan"][name] = Path(settings["gan"][name]).name
    return settings


def as_toml(config: TrainConfig, versions: dict[str, str]) -> str:
    """All settings as a settings file that ``--config`` takes; versions as comments."""
    settings = config.as_dict()
    gan = settings.pop("gan")
    lines = [f"# {name} {version}" for name, version in versions.items()]
    lines += list(_lines(settings))
    lines += ["", "[gan]", *_lines(gan)]
    return "\n".join(lines) + "\n"


def _lines(settings: Settings) -> Iterator[str]:
    for name, value in settings.items():
        yield f"# {name} is not set" if value is None else f"{name} = {_value(value)}"


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # TOML's basic strings are JSON's, but for control characters that no path should have.
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_value(each)}" for name, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    assert not isinstance(value, float) or math.isfinite(value), (
        f"{value} cannot be written to a settings file"
    )
    return repr(value)
