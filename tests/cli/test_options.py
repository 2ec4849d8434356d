"""One field per option: what command line, Python functions and checks derive from it."""

import inspect
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest
from support.command import run
from support.makers import Ship
from support.media import save

from upscaler import Upscaler
from upscaler.errors import UsageError, WeightsError
from upscaler.option_fields import SWITCH, convert_options, number, option, options_of, takes_options, whole
from upscaler.options import (
    EngineOptions,
    FileOptions,
    ImageOptions,
    Options,
    VideoOptions,
    WorkerOptions,
)


def test_the_command_line_offers_every_field_with_its_default() -> None:
    said = run("--help")
    words = without_spaces(said)  # lines break at hyphens, too
    for each in options_of(Options):
        assert re.search(rf"--{each.flag}\s", said), each.name
        assert not each.default_text or without_spaces(f"[default: {each.default_text}]") in words, each.name
        assert without_spaces(each.help.replace("{models}", "")[-20:]) in words, each.name


def without_spaces(text: str) -> str:
    return "".join(text.split())


def test_all_options_are_those_of_the_parts() -> None:
    parts = [FileOptions, EngineOptions, ImageOptions, VideoOptions, WorkerOptions]
    assert options_of(Options) == [each for part in parts for each in options_of(part)]
    options = Options(output="out", scale=2, crf=20, tile_px=64)
    assert (options.engine, options.video) == (EngineOptions(scale=2, tile_px=64), VideoOptions(crf=20))
    assert options.output_path == Path("out")


def test_the_engine_takes_the_fields_of_its_options() -> None:
    own, fields = inspect.signature(Upscaler), inspect.signature(EngineOptions)
    assert list(own.parameters.values()) == list(fields.parameters.values())


def test_all_wrong_options_are_reported_with_value_range_and_nearest_name(tmp_path: Path) -> None:
    wrong = [
        "--scale",
        9,
        "--codec",
        "h246",
        "--precision",
        "fp61",
        "--tile",
        "huge",
        "--crf",
        "low",
        "--end",
        "x",
    ]
    said = run(save(tmp_path / "a.png"), *wrong, code=2)
    assert said == (
        "error: --scale '9' must be a number from 1 to 8; "
        "--precision 'fp61' must be auto, fp32, bf16, fp16 or int8 (did you mean 'fp16'?); "
        "--tile 'huge' must be auto or a whole number of at least 1; "
        "--codec 'h246' must be h264, hevc, av1, vp9, prores or ffv1 (did you mean 'h264'?); "
        "--crf 'low' must be a whole number from 0 to 63; "
        "--end 'x' must be seconds, minutes:seconds or hours:minutes:seconds\n"
    )


def test_all_wrong_arguments_are_reported_in_python() -> None:
    with pytest.raises(UsageError) as caught:
        Upscaler("fast", scal=2, tile=64, precision="fp8", batch=0)  # type: ignore[call-arg]
    assert str(caught.value) == (
        "unknown option 'scal' (did you mean 'scale'?); unknown option 'tile' (did you mean 'tile_px'?); "
        "--precision 'fp8' must be auto, fp32, bf16, fp16 or int8; "
        "--batch 0 must be auto or a whole number of at least 1"
    )


def test_all_options_that_exclude_each_other_are_reported() -> None:
    with pytest.raises(UsageError) as caught:
        Options(
            scale=2,
            size_px=(9, 9),
            overwrite=True,
            skip_existing=True,
            start_s=5,
            end_s=5,
            audio=False,
            audio_codec="aac",
            deinterlace="off",
            field_order="top",
        )
    assert str(caught.value).split("; ") == [
        "--overwrite and --skip-existing exclude each other",
        "--scale and --size exclude each other",
        "--end must come after --start",
        "--audio-codec and --no-audio exclude each other",
        "--field-order and --deinterlace off exclude each other",
    ]


def message(make: Callable[..., object], **options: object) -> str:
    with pytest.raises(UsageError) as caught:
        make(**options)
    return str(caught.value)


@pytest.mark.parametrize("scale", [0.5, 8.01, 9, math.nan, math.inf, "two", True, (2,)])
def test_numbers_out_of_range(scale: object) -> None:
    assert "from 1 to 8" in message(EngineOptions, scale=scale)


@pytest.mark.parametrize("limit", [0, -1, math.inf, math.nan, "much"])
def test_a_limit_is_above_zero_and_finite(limit: object) -> None:
    assert "must be a number above 0" in message(EngineOptions, memory_limit_gb=limit)


@pytest.mark.parametrize("count", [0, -3, 1.5, True, "1.5", ""])
def test_whole_numbers(count: object) -> None:
    assert "must be auto or a whole number of at least 1" in message(EngineOptions, batch=count)


def test_text_of_the_command_line_and_values_of_python_are_the_same() -> None:
    assert EngineOptions(scale="2.5", size_px=None, tile_px="64", batch="auto") == EngineOptions(  # type: ignore[arg-type]
        scale=2.5, tile_px=64
    )
    assert EngineOptions(size_px="3840x2160") == EngineOptions(size_px=[3840, 2160])  # type: ignore[arg-type]
    assert VideoOptions(encoder_options=["x264-params=a=1:b=2"]).encoder_options == (  # type: ignore[arg-type]
        ("x264-params", "a=1:b=2"),
    )
    assert VideoOptions(encoder_options=(("tune", "film"),)).encoder_options == (("tune", "film"),)


@pytest.mark.parametrize("size", ["3840", "x", "0x4", "4x-1", "axb", (0, 4), (4,), (4, 4.0), 7])
def test_sizes(size: object) -> None:
    assert "must be WIDTHxHEIGHT in pixels, for example 3840x2160" in message(EngineOptions, size_px=size)


def test_times_are_exact() -> None:
    for time, seconds in {
        "83.5": Fraction(167, 2),
        "1:23.5": Fraction(167, 2),
        "0:01:23.5": Fraction(167, 2),
        "2:00:01": 7201,
        1.5: Fraction(3, 2),
        3: 3,
        "0.1": Fraction(1, 10),
    }.items():
        assert VideoOptions(start_s=time).from_s == seconds  # type: ignore[arg-type]


@pytest.mark.parametrize("time", ["", "x", "1:2:3:4", "1.5:00", "-1", "1:", -1, math.inf, math.nan, True])
def test_invalid_times(time: object) -> None:
    assert "must be seconds, minutes:seconds or hours:minutes:seconds" in message(VideoOptions, start_s=time)


@pytest.mark.parametrize("device", ["cud", "cuda:", "cuda:x", "mps:1", 0])
def test_devices(device: object) -> None:
    assert "must be auto, cpu, cuda, cuda:N, mps or xpu" in message(EngineOptions, device=device)
    assert EngineOptions(device="cuda:3").device == "cuda:3"


def test_an_unknown_model_names_the_nearest(ship: Ship) -> None:
    ship("balanced", 2, 4)
    for wrong, near in (("balancd", "balanced"), ("balanced-xx2", "balanced-x2")):
        with pytest.raises(WeightsError, match=rf"\(did you mean '{near}'\?\)"):
            Upscaler(wrong)


@pytest.mark.parametrize("pair", ["tune", "=film", "tune="])
def test_pairs(pair: str) -> None:
    assert "must be NAME=VALUE" in message(VideoOptions, encoder_options=[pair])
    assert "must be NAME=VALUE" in message(VideoOptions, encoder_options=pair)


def test_options_that_differ_from_their_defaults_are_spelled_as_on_the_command_line() -> None:
    options = VideoOptions(crf=20, start_s=1, audio=False, encoder_options=(("a", "b"),), decoder="software")
    assert options.given() == ["--crf", "--encoder-option", "--no-audio", "--start"]


def test_a_function_that_takes_options_derives_all_from_their_fields() -> None:
    @dataclass(frozen=True)
    class Oven:
        degrees: float = option(180.0, "How hot.", number(50, 250))
        racks: int = option(1, "How many.", whole(1, 4))
        fan_px: bool = option(False, "A unit ends the name.", SWITCH)

        def __post_init__(self) -> None:
            convert_options(self, list)

    @takes_options(Oven)
    def bake(dish: str, oven: Oven) -> str:
        return f"{dish} at {oven.degrees:g} on {oven.racks}"

    assert bake("bread", degrees=220) == "bread at 220 on 1"
    assert bake("bread", 90, 2) == "bread at 90 on 2"
    assert str(inspect.signature(bake)).startswith("(dish: str, /, degrees: float = 180.0, racks: int = 1")
    assert [each.flag for each in options_of(Oven)] == ["degrees", "racks", "fan"]
    assert "unknown option 'rack' (did you mean 'racks'?); --degrees 999 must" in message(
        lambda **given: bake("bread", **given), rack=1, degrees=999
    )
