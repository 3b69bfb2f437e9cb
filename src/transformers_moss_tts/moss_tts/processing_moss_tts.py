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
"""Processor base class of the MOSS-TTS generators."""

import copy
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar

import torch
from huggingface_hub import CommitInfo, HfApi
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
from transformers.processing_utils import ProcessorMixin
from transformers.utils import GENERATION_CONFIG_NAME, PROCESSOR_NAME, cached_file, logging

from ..audio_io import DEFAULT_LIMITS, AudioLimits
from ..loading.remote_code import RemoteCodeMixin, add_module, class_reference, needs_module
from ..utils.atomic_files import final_folder, replacing, replacing_files
from ..utils.checks import check_number
from ..utils.text_files import read_text
from .abilities import Abilities
from .audio_codes import AudioCodesMixin
from .codec_path import OWN_CODEC, codec_name_in, is_bundled, load_codec, locate_codec
from .conversations import ConversationsMixin
from .prompt import PromptEncoder
from .text_normalization import NormalizedText
from .variants import find_variant, keep_variant


logger = logging.get_logger(__name__)

# The papers clone from recordings of up to 30 seconds.
MAX_REFERENCE_DURATION = 30.0

_ABILITIES = tuple(field.name for field in fields(Abilities))
_FIELDS = ("variant", "normalize_inputs", "max_reference_duration", *_ABILITIES)
_HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "token", "revision")
_TOKENIZER_OPTIONS = (
    "use_fast",
    "padding_side",
    "truncation_side",
    "model_max_length",
    "extra_special_tokens",
    *PreTrainedTokenizerBase.SPECIAL_TOKENS_ATTRIBUTES,
)
# What AutoProcessor passes along.
_AUTO_OPTIONS = ("trust_remote_code", "code_revision", "_from_auto", "_commit_hash")


class MossTTSProcessor(AudioCodesMixin, ConversationsMixin, ProcessorMixin):
    r"""
    Builds prompts from text, audio and instructions, and turns generated codes into audio.

    Args:
        tokenizer ([`PreTrainedTokenizerBase`]):
            Tokenizer of the checkpoint.
        audio_tokenizer ([`MossAudioTokenizerModel`], *optional*):
            Codec. Without one, prompts can still be built from codes.
        model_config ([`PreTrainedConfig`], *optional*):
            Configuration of the model, for its token ids and codebooks.
        codec_path (`str`, *optional*):
            Folder or Hub id of the codec, for what is saved. A processor names a codec inside or beside its folder by the
            relative path, another by the absolute one. Defaults to the name that `audio_tokenizer` was loaded from.
        max_reference_duration (`float`, *optional*, defaults to 30.0):
            Longest reference in seconds.
        variant (`str`, *optional*):
            Name of the release whose prompts the model knows, such as `"MOSS-TTSD-v1.0"`. Defaults to the one that
            `model_config` says or whose name it has.
        normalize_inputs (`bool`, *optional*):
            Whether texts are cleaned before they are spoken. Defaults to what the variant does.
        languages (`list[str]`, *optional*), max_speakers (`int`, *optional*), clones_voices (`bool`, *optional*, defaults to `True`):
            What the model was taught, see [`Abilities`]; what it was not is refused, unless it is to be trained on it.
        audio_limits ([`~transformers_moss_tts.audio_io.AudioLimits`], *optional*):
            Bounds on the recordings that are read, such as their size; not saved. A server whose callers send URLs passes
            `AudioLimits(allow_private_addresses=False)`.

    Raises:
        ValueError: a configuration of another architecture, an unknown variant, `normalize_inputs=True` for a variant that does
            not normalise, a `max_reference_duration` that is not above 0, or a codec that does not fit.
        TypeError: arguments of a wrong kind.
    """

    # Not through a base class: transformers looks at the first one.
    register_for_auto_class = RemoteCodeMixin.register_for_auto_class

    # Of a processor that is made without a configuration.
    config_class: ClassVar[type[PreTrainedConfig]]

    # Tokens of the prompt that a text cannot spell, by their names in the configuration.
    special_tokens: ClassVar[tuple[str, ...]] = (
        "pad",
        "im_start",
        "im_end",
        "audio_start",
        "audio_end",
        "audio_user_slot",
        "audio_assistant_gen_slot",
    )

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        audio_tokenizer: Any = None,
        model_config: PreTrainedConfig | None = None,
        codec_path: str | None = None,
        max_reference_duration: float = MAX_REFERENCE_DURATION,
        variant: str | None = None,
        normalize_inputs: bool | None = None,
        languages: list[str] | None = None,
        max_speakers: int | None = None,
        clones_voices: bool = True,
        audio_limits: AudioLimits = DEFAULT_LIMITS,
    ):
        super().__init__(tokenizer)
        self.model_config = self.config_class() if model_config is None else model_config
        _check_class(type(self), self.model_config)
        self.variant = find_variant(self.model_config, name=variant)
        if not isinstance(normalize_inputs, bool | None):
            raise TypeError(f"`normalize_inputs` must be True, False or None, got {normalize_inputs!r}.")
        self.normalize_inputs = normalize_inputs
        if normalize_inputs and self.variant.normalize_text is None:
            raise ValueError(
                f"{self.variant.name} speaks texts as they are: leave `normalize_inputs` out, or say another `variant`."
            )
        check_number("max_reference_duration", max_reference_duration, math.ulp(0), unit="seconds")
        if not isinstance(audio_limits, AudioLimits):
            raise TypeError(f"`audio_limits` must be an AudioLimits, got {audio_limits!r:.80}.")
        self.max_reference_duration = max_reference_duration
        self.abilities = Abilities(languages, max_speakers, clones_voices)
        self.audio_limits = audio_limits
        # Where codecs were found, by their names.
        self._codec_locations: dict[str, str] = {}
        self._codec_name: str | None = None
        self.codec_path = None
        # Not through the base class, which takes transformers' own codecs only.
        self.audio_tokenizer = audio_tokenizer
        if codec_path is not None:
            self._name_codec(codec_path)
        self._encoder = self._new_encoder(
            tokenizer, [getattr(self.model_config, f"{name}_token_id") for name in self.special_tokens]
        )
        if audio_tokenizer is not None:
            self._codec()

    def _new_encoder(self, tokenizer: PreTrainedTokenizerBase, special_ids: Iterable[int]) -> PromptEncoder:
        """What encodes the text of prompts."""
        return PromptEncoder(tokenizer, special_ids)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        loaded_from = getattr(value, "name_or_path", None) if name == "audio_tokenizer" else None
        # A codec that takes the place of another is saved by its own name.
        if loaded_from and loaded_from != self._codec_name:
            self._codec_name = loaded_from
            self._name_codec(loaded_from)

    def _name_codec(self, name: str | os.PathLike) -> None:
        self.codec_path = os.fspath(name)
        # The working directory may be another one when the processor is saved.
        if Path(name).is_dir():
            self._codec_locations[self.codec_path] = str(Path(name).resolve())

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        codec_path: str | os.PathLike | None = None,
        *,
        codec_dtype: str | torch.dtype | None = None,
        model_config: PreTrainedConfig | None = None,
        audio_limits: AudioLimits = DEFAULT_LIMITS,
        **kwargs,
    ):
        r"""
        Loads tokenizer, configuration and codec. The class follows from the configuration of the model, whichever is called.

        Args:
            pretrained_model_name_or_path (`str` or `os.PathLike`):
                Folder or Hub id of the checkpoint.
            codec_path (`str` or `os.PathLike`, *optional*):
                Folder or Hub id of the codec, instead of the one that processor_config.json or config.json names or the variant
                has. A codec that was asked for here must load; another may be missing, with a warning.
            codec_dtype (`str` or `torch.dtype`, *optional*):
                Type of the codec's weights, for example `"float16"`; its quantizer stays in float32.
            model_config ([`PreTrainedConfig`], *optional*):
                Configuration of the model, instead of the checkpoint's.
            audio_limits ([`~transformers_moss_tts.audio_io.AudioLimits`], *optional*):
                Bounds on the recordings that are read.
            kwargs:
                `variant`, `normalize_inputs` and `max_reference_duration` of the class; the Hub's `revision`, `token`,
                `cache_dir`, `force_download`, `local_files_only`; `use_fast`, `padding_side`, `truncation_side`,
                `model_max_length`, `extra_special_tokens` and the special tokens (`pad_token`, ...) of the tokenizer.

        Raises:
            TypeError: for other options.
            ValueError: if a file of the checkpoint names a codec outside of it; see [`locate_codec`], and the class.
            OSError: if the checkpoint, or the codec of `codec_path`, cannot be found.
        """
        checkpoint = pretrained_model_name_or_path
        codec_dtype = kwargs.pop("codec_weight_dtype", codec_dtype)
        fields, hub_options, tokenizer_options = _split_options(kwargs)
        saved = read_json(checkpoint, PROCESSOR_NAME, **hub_options)
        if model_config is None:
            model_config = AutoConfig.from_pretrained(checkpoint, **hub_options)
        fields = {name: saved[name] for name in _FIELDS if name in saved} | fields
        generation = read_json(checkpoint, GENERATION_CONFIG_NAME, **hub_options)
        variant = find_variant(model_config, checkpoint, generation, fields.get("variant"))
        fields["variant"] = variant.name
        named = codec_path or _codec_named_by(saved) or getattr(model_config, "audio_tokenizer_name_or_path", None)
        location = locate_codec(checkpoint, named or variant.codec, is_argument=codec_path is not None)
        codec = _load_codec(checkpoint, location, codec_path is not None, codec_dtype, hub_options)
        processor = _class_for(cls, model_config)(
            _load_tokenizer(checkpoint, hub_options | tokenizer_options),
            audio_tokenizer=codec,
            model_config=model_config,
            codec_path=named,
            audio_limits=audio_limits,
            **fields,
        )
        if named is not None:
            processor._codec_locations[processor.codec_path] = location
        return processor

    @property
    def model_name(self) -> str:
        """Name of the model for people: the last part of its folder or Hub id."""
        return Path(getattr(self.model_config, "name_or_path", None) or "The model").name

    def normalize_text(self, text: str) -> str:
        """What is done to a text before it is spoken."""
        return self._normalize_field("text", text)

    def _normalize_field(self, name: str, value: str) -> str:
        variant = self.variant
        is_left = self.normalize_inputs is False or isinstance(value, NormalizedText)
        if variant.normalize_text is None or is_left or name not in variant.normalized_fields:
            return value
        return variant.normalize_text(value)

    def to_dict(self) -> dict[str, Any]:
        output = {
            "processor_class": type(self).__name__,
            "variant": self.variant.name,
            "max_reference_duration": self.max_reference_duration,
        }
        output |= self.abilities.to_dict()
        if self.normalize_inputs is not None:
            output["normalize_inputs"] = self.normalize_inputs
        if self.codec_path is not None:
            # The reference reads this key too. Under `audio_tokenizer`, AutoProcessor would load the codec by itself.
            output["audio_tokenizer_name_or_path"] = self._codec_locations.get(self.codec_path, str(self.codec_path))
        return output

    def to_json_file(self, json_file_path: str | os.PathLike) -> None:
        """Writes the fields, and the class for `trust_remote_code=True` where the folder has the module for it."""
        path, fields = Path(json_file_path), self.to_dict()
        folder = final_folder(path.parent)
        if self.codec_path is not None:
            fields["audio_tokenizer_name_or_path"] = self._codec_name_in(folder)
        if needs_module(folder):
            fields["auto_map"] = {"AutoProcessor": class_reference(type(self).__name__)}
        with replacing(path) as temporary:
            Path(temporary).write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def _codec_name_in(self, folder: Path) -> str:
        name = str(self.codec_path)
        if name in self._codec_locations:
            return codec_name_in(folder, self._codec_locations[name])
        if Path(name).is_dir() and not Path(folder, name).is_dir():
            return codec_name_in(folder, str(Path(name).resolve()))
        return name

    def _save_bundled_codec(self, folder: Path) -> None:
        location = self._codec_locations.get(str(self.codec_path))
        if location is None or self._codec_name_in(folder) != OWN_CODEC or not is_bundled(location):
            return
        with replacing_files(folder / OWN_CODEC) as temporary:
            for path in Path(location).iterdir():
                if path.suffix in (".json", ".safetensors"):
                    shutil.copyfile(path, Path(temporary, path.name))

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs):
        """
        Saves tokenizer and processor, the codec by its name, a bundled codec itself in the folder `codec`, and, where the model has not been saved yet, the config.json
        that [`~MossTTSProcessor.from_pretrained`] reads. `push_to_hub=True` pushes them to `repo_id`, by default the
        name of the folder, with the arguments of [`~MossTTSProcessor.push_to_hub`]. Files that are written over stay until all
        new ones are whole.

        Raises:
            OSError: if the files cannot be written, for instance on a full disk.
        """
        Path(save_directory).mkdir(parents=True, exist_ok=True)
        if not Path(save_directory, "config.json").exists():
            config = copy.deepcopy(self.model_config)
            keep_variant(config, self.variant)
            config.save_pretrained(save_directory)
        if needs_module(save_directory):
            add_module(save_directory)
        self._save_bundled_codec(Path(save_directory))
        with replacing_files(save_directory) as folder:
            saved = super().save_pretrained(folder)
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", Path(save_directory).name), **kwargs)
        return [str(Path(save_directory, Path(file).name)) for file in saved]

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str = "Upload processor",
        private: bool | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        create_pr: bool = False,
    ) -> CommitInfo:
        """
        Pushes tokenizer and processor, and the config.json unless the repository has one, which is its model's.

        Args:
            repo_id (`str`):
                Name of the repository, `"namespace/name"`; made if there is none.
            commit_message (`str`, *optional*, defaults to `"Upload processor"`):
                Summary of the commit.
            private (`bool`, *optional*):
                Whether a repository that is made is private; by default as the namespace has it.
            token (`str` or `bool`, *optional*):
                By default the one of `hf auth login`.
            revision (`str`, *optional*):
                Branch to push to, made if there is none; by default the main one.
            create_pr (`bool`, *optional*, defaults to `False`):
                Open a pull request with the files.

        Raises:
            ValueError: if the codec is a folder of this machine, which nobody else has.
        """
        api = HfApi(library_name="transformers-moss-tts", token=token)
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            if self.codec_path is not None and Path(self._codec_name_in(Path(folder))).is_absolute():
                raise ValueError(
                    f"The codec is {self._codec_name_in(Path(folder))}, which nobody else has. Push it too, and set "
                    "`processor.codec_path` to its Hub id."
                )
            api.create_repo(repo_id, private=private, exist_ok=True)
            # A branch that there is not yet begins as the main one.
            if any(api.file_exists(repo_id, "config.json", revision=name) for name in {revision, None}):
                Path(folder, "config.json").unlink()
            if revision is not None and not revision.startswith("refs/"):
                api.create_branch(repo_id, branch=revision, exist_ok=True)
            return api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                commit_message=commit_message,
                revision=revision,
                create_pr=create_pr,
            )


def _split_options(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Options of `from_pretrained` as those of the class, the Hub and the tokenizer."""
    # The options of a pipeline's generator come along, and one of them is for both.
    is_pipeline = options.pop("_from_pipeline", None) is not None
    if "moss_tts_variant" in options:
        options.setdefault("variant", options.pop("moss_tts_variant"))
    fields, hub_options, tokenizer_options = (
        {name: options.pop(name) for name in names if name in options}
        for names in (_FIELDS, _HUB_OPTIONS, _TOKENIZER_OPTIONS)
    )
    unknown = sorted(options.keys() - set(_AUTO_OPTIONS))
    if unknown and not is_pipeline:
        raise TypeError(
            f"A processor has no option {', '.join(f'`{name}`' for name in unknown)}. The options are `codec_path`, "
            f"`codec_dtype`, `model_config`, {', '.join(f'`{name}`' for name in (*_FIELDS, *_HUB_OPTIONS))} and those of "
            "tokenizers."
        )
    return {name: value for name, value in fields.items() if value is not None}, hub_options, tokenizer_options


def _load_tokenizer(checkpoint: str | os.PathLike, options: dict[str, Any]) -> PreTrainedTokenizerBase:
    try:
        return AutoTokenizer.from_pretrained(checkpoint, **options)
    except (OSError, ImportError):
        raise
    except Exception as error:
        # Its files may be damaged in any way, and `tokenizers` raises plain exceptions.
        raise ValueError(f"The tokenizer of {checkpoint!s} cannot be loaded: {error}") from error


def read_json(checkpoint: str | os.PathLike, name: str, **hub_options) -> dict[str, Any]:
    """
    A file of a checkpoint, without entries where there is none.

    Raises:
        ValueError: if it holds no JSON object.
    """
    path = cached_file(
        checkpoint,
        name,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        **hub_options,
    )
    try:
        fields = {} if path is None else json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} of {checkpoint!s} is no JSON: {error}.") from error
    if not isinstance(fields, dict):
        raise ValueError(f"{name} of {checkpoint} must hold a JSON object, got {type(fields).__name__}.")
    return fields


def _codec_named_by(saved: dict[str, Any]) -> str | None:
    nested = saved.get("audio_tokenizer") or {}
    names = [place.get("audio_tokenizer_name_or_path") for place in (saved, nested) if isinstance(place, dict)]
    name = next((name for name in names if name), None)
    if not isinstance(name, str | None):
        raise ValueError(f"`audio_tokenizer_name_or_path` of {PROCESSOR_NAME} must be a string, got {name!r}.")
    return name


def _load_codec(
    checkpoint: str | os.PathLike,
    location: str,
    is_required: bool,
    dtype: str | torch.dtype | None,
    hub_options: dict[str, Any],
):
    if not location.startswith(f"{checkpoint}/"):
        # The revision is one of the checkpoint's repository.
        hub_options = {name: value for name, value in hub_options.items() if name != "revision"}
    try:
        return load_codec(location, dtype, hub_options)
    except OSError as error:
        if is_required:
            raise
        logger.warning(
            f"The codec {location!r} could not be loaded ({str(error).splitlines()[0]}). Prompts can be built from codes; to "
            "encode or decode audio, pass `codec_path=`."
        )
        return None


def _class_for(called: type[MossTTSProcessor], config: PreTrainedConfig) -> type[MossTTSProcessor]:
    """The registered class of a configuration, unless the one that was called is of it."""
    registered = PROCESSOR_MAPPING.get(type(config), called)
    return called if issubclass(called, registered) else registered


def _check_class(cls: type[MossTTSProcessor], config: PreTrainedConfig) -> None:
    wanted = _class_for(cls, config)
    if wanted is not cls:
        raise ValueError(f"`model_config` is a {type(config).__name__}, whose processor is {wanted.__name__}.")
