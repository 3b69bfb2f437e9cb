# Copyright 2026 The transformers-moss-tts team. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""
The variants of the family: what the released repositories do otherwise with the same architectures. Their config.json does not
say which one it is of, so the choice is kept in `moss_tts_variant` of the configuration and `variant` of processor_config.json.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers.utils import logging

from .prompt import PiecewisePromptLayout, PromptLayout
from .text_normalization import normalize_description, normalize_sentences, normalize_text


logger = logging.get_logger(__name__)

FIRST_CODEC = "OpenMOSS-Team/MOSS-Audio-Tokenizer"
SECOND_CODEC = "OpenMOSS-Team/MOSS-Audio-Tokenizer-v2"
NANO_CODEC = "OpenMOSS-Team/MOSS-Audio-Tokenizer-Nano"

# Most variants have the same prompt.
_LAYOUT = PromptLayout()


@dataclass(frozen=True, kw_only=True)
class MossTTSVariant:
    """
    One released repository.

    Attributes:
        name (`str`): name of the repository, without its organisation.
        codec (`str`): Hub id of the codec, where neither processor_config.json nor config.json names one.
        sampling (`Mapping[str, Any]`): generation parameters, where generation_config.json says nothing else.
        normalize_text (`Callable`, *optional*): what is done to a text before it is spoken; `None` leaves it as it is.
        normalized_fields (`tuple[str, ...]`): fields of the prompt that are normalised.
        prompt (`PromptLayout`): layout of the user's turn.
        moves_loudness (`bool`): whether the level of recordings is moved towards -20 dB of full scale before they are encoded.
        has_dialogues (`bool`): whether it was trained to say several speakers' turns at once.
    """

    name: str
    codec: str
    sampling: Mapping[str, Any]
    normalize_text: Callable[[str], str] | None = None
    normalized_fields: tuple[str, ...] = ("text",)
    prompt: PromptLayout = _LAYOUT
    moves_loudness: bool = True
    has_dialogues: bool = False


def _sampling(audio: tuple[float, float, int, float], text: tuple[float, float, int], **others) -> dict[str, Any]:
    audio_names = ("temperature", "top_p", "top_k", "repetition_penalty")
    values = {f"audio_{name}": value for name, value in zip(audio_names, audio)}
    return values | {f"text_{name}": value for name, value in zip(audio_names, text)} | others


_SPEECH = _sampling((1.7, 0.8, 25, 1.0), (1.5, 1.0, 50))

VARIANTS = {
    variant.name: variant
    for variant in (
        MossTTSVariant(name="MOSS-TTS", codec=FIRST_CODEC, sampling=_SPEECH),
        MossTTSVariant(name="MOSS-TTS-v1.5", codec=FIRST_CODEC, sampling=_SPEECH, normalize_text=normalize_text),
        MossTTSVariant(
            name="MOSS-TTSD-v1.0",
            codec=FIRST_CODEC,
            sampling=_sampling((1.1, 0.9, 50, 1.1), (1.1, 0.9, 50), max_new_tokens=2000),
            prompt=PromptLayout(has_scene=True, says_tokens=False, names_silent_speakers=True),
            has_dialogues=True,
        ),
        MossTTSVariant(
            name="MOSS-VoiceGenerator",
            codec=FIRST_CODEC,
            sampling=_sampling((1.5, 0.6, 50, 1.1), (1.5, 1.0, 50)),
            normalize_text=normalize_description,
            normalized_fields=("text", "instruction"),
        ),
        MossTTSVariant(
            name="MOSS-SoundEffect", codec=FIRST_CODEC, sampling=_sampling((1.5, 0.6, 50, 1.2), (1.5, 1.0, 50))
        ),
        MossTTSVariant(
            name="MOSS-TTS-Local-Transformer",
            codec=FIRST_CODEC,
            sampling=_sampling((1.0, 0.95, 50, 1.1), (1.5, 1.0, 50)),
        ),
        MossTTSVariant(
            name="MOSS-TTS-Local-Transformer-v1.5",
            codec=SECOND_CODEC,
            sampling=_sampling((1.7, 0.8, 25, 1.0), (1.0, 1.0, 50)),
            prompt=PiecewisePromptLayout(),
        ),
        MossTTSVariant(
            name="MOSS-TTS-Nano",
            codec=NANO_CODEC,
            # Of the release's applications: users find them steadier than those of its library.
            sampling=_sampling((0.8, 0.95, 25, 1.2), (1.0, 1.0, 50), max_new_tokens=375),
            normalize_text=normalize_sentences,
            prompt=PiecewisePromptLayout(),
            moves_loudness=False,
        ),
    )
}
# The variant of each architecture that has only one.
_LOCAL_V1, _LOCAL = VARIANTS["MOSS-TTS-Local-Transformer"], VARIANTS["MOSS-TTS-Local-Transformer-v1.5"]
_NANO = VARIANTS["MOSS-TTS-Nano"]
# The Delay checkpoints that say nothing else are read as the release that is recommended.
_DEFAULT = VARIANTS["MOSS-TTS-v1.5"]

# What in a repository's name, in small letters, means which variant.
_NAMES = (
    (re.compile("ttsd"), "MOSS-TTSD-v1.0"),
    (re.compile("voice[-_ ]?generator"), "MOSS-VoiceGenerator"),
    (re.compile("sound[-_ ]?effect"), "MOSS-SoundEffect"),
    (re.compile("moss[-_ ]?tts[-_ ]?v?1[._]*5"), "MOSS-TTS-v1.5"),
    (re.compile("^moss[-_ ]?tts([-_ ]?v?1([._]*0)?)?$"), "MOSS-TTS"),
)
# Only MOSS-TTSD has these in its generation_config.json.
_TTSD_GENERATION = {"temperature": 1.1, "top_p": 0.9, "top_k": 50, "repetition_penalty": 1.1}


def get_variant(name: str) -> MossTTSVariant:
    """
    The variant of a name, in any case and with or without the organisation.

    Raises:
        ValueError: if there is none of that name.
    """
    for variant in VARIANTS.values():
        if variant.name.lower() == str(name).split("/")[-1].lower():
            return variant
    raise ValueError(f"There is no variant {name!r}. The variants are {', '.join(VARIANTS)}.")


def find_variant(
    config: Any,
    checkpoint: str | Path | None = None,
    generation: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> MossTTSVariant:
    """
    The variant of a checkpoint: the one that its configuration names or its architecture decides, else the one whose sampling
    its generation_config.json has, else the one that the name of its repository or folder means, else MOSS-TTS-v1.5. What is
    not certain is logged.

    Args:
        config ([`MossTTSDelayConfig`] or [`MossTTSLocalConfig`]):
            Configuration of the model.
        checkpoint (`str` or `Path`, *optional*, defaults to `config.name_or_path`):
            Folder or Hub id.
        generation (`Mapping[str, Any]`, *optional*):
            Fields of generation_config.json.
        name (`str`, *optional*):
            Name of the variant, instead of what the checkpoint says.

    Raises:
        ValueError: if the variant that is named is unknown or of another architecture.
    """
    only = _of_architecture(config)
    if named := name or getattr(config, "moss_tts_variant", None):
        variant = get_variant(named)
        is_of_one = variant in (_LOCAL_V1, _LOCAL, _NANO)
        if variant is not only and (is_of_one or only is not None):
            raise ValueError(f"A model with a {type(config).__name__} cannot be of the variant {named!r}.")
        return variant
    if only is not None:
        return only
    if generation is not None and _TTSD_GENERATION.items() <= dict(generation).items():
        return VARIANTS["MOSS-TTSD-v1.0"]
    checkpoint = str(checkpoint or getattr(config, "name_or_path", None) or "")
    repository = _repository_name(checkpoint).lower()
    found = next((VARIANTS[variant] for pattern, variant in _NAMES if pattern.search(repository)), None)
    if found is not None and found.name.lower() == repository:
        return found
    if checkpoint:
        reason = "by its name" if found else "because nothing in it says which release it is of"
        logger.warning_once(
            f"{checkpoint} is read as {(found or _DEFAULT).name}, {reason}. If it is of another release, pass `variant=` to the "
            "processor and `moss_tts_variant=` to the model; what they save keeps it."
        )
    return found or _DEFAULT


def keep_variant(config: Any, variant: MossTTSVariant) -> None:
    """Writes a variant into a configuration, unless the architecture says it."""
    if _of_architecture(config) is None:
        config.moss_tts_variant = variant.name


def _of_architecture(config: Any) -> MossTTSVariant | None:
    if of_model_type := {"moss_tts_local": _LOCAL, "moss_tts_nano": _NANO}.get(getattr(config, "model_type", None)):
        return of_model_type
    return _LOCAL_V1 if hasattr(config, "local_num_layers") else None


def _repository_name(checkpoint: str) -> str:
    path = Path(checkpoint)
    if path.is_dir():
        path = path.absolute()
    # Snapshots of a hub cache: models--organisation--name/snapshots/revision.
    if path.parent.name == "snapshots":
        return path.parent.parent.name.split("--")[-1]
    return path.name
