"""Configurations: odd values of their fields, also of those inside of fields, and models that are built of them."""

import copy
import json
from dataclasses import fields
from functools import cache

import torch
from hypothesis import strategies as st
from tiny_models import (
    tiny_codec_config,
    tiny_local_config,
    tiny_local_v1_config,
    tiny_nano_config,
    tiny_tts_config,
)
from transformers import AutoConfig, AutoModel, PreTrainedConfig

from .outcomes import Case
from .values import JSON_VALUES, anything, json_values, show


@cache
def configurations() -> list:
    return [tiny_tts_config(), tiny_local_v1_config(), tiny_local_config(), tiny_nano_config(), tiny_codec_config()]


def places_in(value, path: tuple = ()) -> list[tuple]:
    """Paths of all values inside of a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    places = [place for key, item in inner for place in [(*path, key), *places_in(item, (*path, key))]]
    # AutoConfig itself reads this one.
    return [place for place in places if place != ("model_type",)]


def changed(content: dict, path: tuple, value) -> dict:
    """A copy with another value at a path."""
    content = copy.deepcopy(content)
    holder = content
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return content


@cache
def _places(number: int) -> list[tuple]:
    return places_in(json.loads(configurations()[number].to_json_string(use_diff=False)))


def _built(config):
    """The model of a configuration, without its weights."""
    json.loads(config.to_json_string())
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    return sum(weight.numel() for weight in model.parameters())


def names_of(path: tuple) -> tuple[str, ...]:
    """Words that an error about a field has: the field, those that it is inside of, what is computed of them."""
    return (
        *(str(key) for key in path if isinstance(key, str)),
        "variant",
        "config",
        "size",
        "module",
        "stage",
        "quantizer",
    )


@st.composite
def _files(draw) -> Case:
    """A config.json with another value somewhere."""
    number = draw(st.integers(0, 3))
    path = draw(st.sampled_from(_places(number)))
    value = draw(st.one_of(st.sampled_from(JSON_VALUES), json_values))
    content = changed(json.loads(configurations()[number].to_json_string(use_diff=False)), path, value)

    def call():
        with open("config.json", "w", encoding="utf-8", errors="surrogatepass") as file:
            json.dump(content, file)
        return _built(AutoConfig.from_pretrained("."))

    name = type(configurations()[number]).__name__
    return Case(f"{name} file {'.'.join(map(str, path))}={show(value)}", call, names_of(path))


@st.composite
def _arguments(draw) -> Case:
    number = draw(st.integers(0, 3))
    config_class = type(configurations()[number])
    own = sorted({field.name for field in fields(config_class)} - {field.name for field in fields(PreTrainedConfig)})
    name, value = draw(st.sampled_from(own)), draw(anything)
    content = {key: item for key, item in configurations()[number].to_dict().items() if key != "model_type"}
    return Case(
        f"{config_class.__name__}({name}={show(value)})",
        lambda: _built(config_class(**content | {name: value})),
        names_of((name,)),
    )


cases = st.one_of(_files(), _files(), _arguments())
