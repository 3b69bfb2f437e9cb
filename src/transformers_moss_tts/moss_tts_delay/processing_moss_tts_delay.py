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
"""Processor class for MossTTSDelay."""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from huggingface_hub import CommitInfo, file_exists
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedTokenizerBase
from transformers.feature_extraction_utils import BatchFeature
from transformers.processing_utils import ProcessorMixin
from transformers.utils import PROCESSOR_NAME, cached_file, logging

from ..audio_io import AudioInput, load_audio, normalize_loudness, save_audio
from ..hub.upload import upload
from ..loading.remote_code import RemoteCodeMixin, add_module, class_reference, needs_module
from ..moss_tts.generation_moss_tts import MossTTSGenerateOutput
from ..moss_tts.prompt import (
    AUDIO_PLACEHOLDER,
    USER_FIELDS,
    Part,
    PromptEncoder,
    UserText,
    content_parts,
    merge_adjacent_audio,
    user_parts,
)
from ..moss_tts.text_normalization import normalize_text
from .configuration_moss_tts_delay import MossTTSDelayConfig
from .delay_pattern import apply_delay_pattern, split_audio_codes


logger = logging.get_logger(__name__)

# The codec of every released MossTTSDelay checkpoint.
DEFAULT_CODEC = "OpenMOSS-Team/MOSS-Audio-Tokenizer"
# Frames a second of the family's codecs, in Hz.
FRAME_RATE = 12.5
# The reports clone from recordings of up to 30 seconds.
MAX_REFERENCE_DURATION = 30.0

_MODES = ("generation", "continuation", "computing_loss")
_HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "token", "revision")
_SCALAR_FIELDS = tuple(field for field in USER_FIELDS if field != "reference")

Audio = AudioInput | torch.LongTensor


class MossTTSDelayProcessor(ProcessorMixin):
    r"""
    Builds prompts from text, audio and instructions, and turns generated codes into audio.

    Args:
        tokenizer ([`PreTrainedTokenizerBase`]):
            Tokenizer of the checkpoint.
        audio_tokenizer ([`MossAudioTokenizerModel`], *optional*):
            Codec. Without one, prompts can still be built from codes.
        model_config ([`MossTTSDelayConfig`], *optional*):
            Configuration of the model, for its token ids and codebooks.
        codec_path (`str`, *optional*):
            Folder or Hub id that is saved as the codec's name; a relative folder is looked for beside the processor's files
            first, a single name in their repository too. Defaults to the name that `audio_tokenizer` was loaded from.
        max_reference_duration (`float`, *optional*, defaults to 30.0):
            Longest reference in seconds.
    """

    # Not through a base class: transformers looks at the first one.
    register_for_auto_class = RemoteCodeMixin.register_for_auto_class

    # Tokens of the prompt that a text cannot spell, by their names in the configuration.
    special_tokens: ClassVar[tuple[str, ...]] = (
        "pad",
        "im_start",
        "im_end",
        "audio_start",
        "audio_end",
        "audio_user_slot",
        "audio_assistant_gen_slot",
        "audio_assistant_delay_slot",
    )

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        audio_tokenizer: Any = None,
        model_config: MossTTSDelayConfig | None = None,
        codec_path: str | None = None,
        max_reference_duration: float = MAX_REFERENCE_DURATION,
    ):
        super().__init__(tokenizer)
        # Not through the base class, which takes transformers' own codecs only.
        self.audio_tokenizer = audio_tokenizer
        self.model_config = MossTTSDelayConfig() if model_config is None else model_config
        self.codec_path = codec_path or getattr(audio_tokenizer, "name_or_path", None) or None
        self.max_reference_duration = max_reference_duration
        self._encoder = PromptEncoder(
            tokenizer, [getattr(self.model_config, f"{name}_token_id") for name in self.special_tokens]
        )
        if audio_tokenizer is not None:
            self._codec()

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike, codec_path: str | None = None, **kwargs
    ):
        r"""
        Loads tokenizer, configuration and codec.

        Args:
            pretrained_model_name_or_path (`str` or `os.PathLike`):
                Folder or Hub id of the checkpoint.
            codec_path (`str`, *optional*):
                Folder or Hub id of the codec, instead of the one that the checkpoint names. A codec that was asked for here
                must load; one that the checkpoint names may be missing, with a warning.
            kwargs:
                `max_reference_duration`, the Hub's `revision`, `token`, `cache_dir`, `force_download`, `local_files_only`,
                and what else the tokenizer takes.
        """
        for ignored in ("trust_remote_code", "_from_auto"):
            kwargs.pop(ignored, None)
        hub_options = {name: kwargs.pop(name) for name in _HUB_OPTIONS if name in kwargs}
        saved = cls._saved_fields(pretrained_model_name_or_path, hub_options)
        named = saved.get("audio_tokenizer_name_or_path")
        named = codec_path or named or saved.get("audio_tokenizer", {}).get("audio_tokenizer_name_or_path")
        codec = cls._load_codec(
            pretrained_model_name_or_path, named or DEFAULT_CODEC, codec_path is not None, hub_options
        )
        duration = kwargs.pop("max_reference_duration", saved.get("max_reference_duration", MAX_REFERENCE_DURATION))
        model_config = kwargs.pop("model_config", None)
        if model_config is None:
            model_config = AutoConfig.from_pretrained(pretrained_model_name_or_path, **hub_options)
        return cls(
            AutoTokenizer.from_pretrained(pretrained_model_name_or_path, **hub_options, **kwargs),
            audio_tokenizer=codec,
            model_config=model_config,
            codec_path=named,
            max_reference_duration=duration,
        )

    @staticmethod
    def _saved_fields(checkpoint: str | os.PathLike, hub_options: dict[str, Any]) -> dict[str, Any]:
        path = cached_file(
            checkpoint,
            PROCESSOR_NAME,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
            **hub_options,
        )
        return {} if path is None else json.loads(Path(path).read_text(encoding="utf-8"))

    @staticmethod
    def _load_codec(checkpoint: str | os.PathLike, name: str, is_required: bool, hub_options: dict[str, Any]):
        is_folder = Path(checkpoint).is_dir()
        if not is_folder and not is_required and "/" not in name:
            source, options = checkpoint, hub_options | {"subfolder": name}
        else:
            beside = Path(checkpoint, name)
            source = beside if is_folder and beside.is_dir() else name
            # The revision is one of the checkpoint's repository.
            options = {option: value for option, value in hub_options.items() if option != "revision"}
        try:
            return AutoModel.from_pretrained(source, **options).eval()
        except OSError as error:
            if is_required:
                raise
            logger.warning(
                f"The codec {name!r} could not be loaded ({str(error).splitlines()[0]}). Prompts can be built from codes; to "
                "encode or decode audio, pass `codec_path=`."
            )
            return None

    @staticmethod
    def normalize_text(text: str) -> str:
        """What is done to a text before it is spoken."""
        return normalize_text(text)

    def to_dict(self) -> dict[str, Any]:
        output = {"processor_class": type(self).__name__, "max_reference_duration": self.max_reference_duration}
        if self.codec_path is not None:
            # The reference reads this key too. Under `audio_tokenizer`, AutoProcessor would load the codec by itself.
            output["audio_tokenizer_name_or_path"] = str(self.codec_path)
        return output

    def to_json_file(self, json_file_path: str | os.PathLike) -> None:
        """Writes the fields, and the class for `trust_remote_code=True` where the folder has the module for it."""
        path, fields = Path(json_file_path), self.to_dict()
        if needs_module(path.parent):
            fields["auto_map"] = {"AutoProcessor": class_reference(type(self).__name__)}
        path.write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs):
        """
        Saves tokenizer and processor, the codec by its name, and, where the model has not been saved yet, the config.json
        that [`~MossTTSDelayProcessor.from_pretrained`] reads. `push_to_hub=True` pushes them to `repo_id`, by default the
        name of the folder, with the arguments of [`~MossTTSDelayProcessor.push_to_hub`].
        """
        Path(save_directory).mkdir(parents=True, exist_ok=True)
        if not Path(save_directory, "config.json").exists():
            self.model_config.save_pretrained(save_directory)
        if needs_module(save_directory):
            add_module(save_directory)
        saved = super().save_pretrained(save_directory)
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", Path(save_directory).name), **kwargs)
        return saved

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
        Pushes tokenizer and processor, and the config.json unless the repository has one, which is its model's. The arguments
        are those of [`~transformers_moss_tts.hub.upload`].
        """
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            # A branch that there is not yet begins as the main one.
            if any(file_exists(repo_id, "config.json", revision=name, token=token) for name in {revision, None}):
                Path(folder, "config.json").unlink()
            return upload(
                folder,
                repo_id,
                commit_message=commit_message,
                private=private,
                token=token,
                revision=revision,
                create_pr=create_pr,
            )

    @property
    def model_input_names(self) -> list[str]:
        return ["input_ids", "attention_mask"]

    def __call__(
        self,
        text: str | list[str] | dict | list | None = None,
        reference: Audio | list | None = None,
        language: str | list[str | None] | None = None,
        tokens: int | list[int | None] | None = None,
        duration_seconds: float | list[float | None] | None = None,
        instruction: str | list[str | None] | None = None,
        quality: str | list[str | None] | None = None,
        sound_event: str | list[str | None] | None = None,
        ambient_sound: str | list[str | None] | None = None,
        mode: str = "generation",
        conversations: dict | list | None = None,
        sampling_rate: int | None = None,
        padding: bool = True,
        return_tensors: str = "pt",
    ) -> BatchFeature:
        r"""
        Builds the prompts of one or many utterances, or of whole conversations.

        Args:
            text (`str` or `list[str]`, *optional*):
                What to say. (Conversations may stand here too, as in the reference.)
            reference (audio or list, *optional*):
                Recording of the voice to clone, anything [`~transformers_moss_tts.audio_io.load_audio`] reads, or its codes
                `(frames, n_vq)`. A list gives the speakers S1, S2, ... (`None` for one without); for many texts a list with
                an entry for each.
            language (`str`, *optional*):
                Name of the language, for example "English".
            tokens (`int`, *optional*):
                Length wanted in frames of 80 ms.
            duration_seconds (`float`, *optional*):
                Length wanted in seconds, instead of `tokens`.
            instruction, quality, sound_event, ambient_sound (`str`, *optional*):
                Further fields of the prompt. With `sound_event` or `ambient_sound` there may be no text.
            mode (`str`, *optional*, defaults to `"generation"`):
                `"generation"`: the conversation ends with the user. `"continuation"`: it ends with the beginning of the
                assistant's audio. `"computing_loss"`: it ends with all of it.
            conversations (`dict` or `list`, *optional*):
                A message, or a list of conversations, each a message or a list of messages: `role` and the fields above, or
                what [`~MossTTSDelayProcessor.build_user_message`] and
                [`~MossTTSDelayProcessor.build_assistant_message`] return.
            sampling_rate (`int`, *optional*):
                Rate in Hz of references that are arrays.

        Returns:
            [`BatchFeature`] with `input_ids` `(batch_size, length, 1 + n_vq)` and `attention_mask` `(batch_size, length)`,
            padded on the left.

        Raises:
            ValueError: empty text, `tokens` or `duration_seconds` not above 0 or both given, lists of different lengths, a
                reference that is too long or of another codec, a conversation that ends with the wrong role, an unknown
                role or mode, or audio without a codec.
        """
        if return_tensors != "pt" or not padding:
            raise ValueError("Prompts are left padded torch tensors: use `padding=True` and `return_tensors='pt'`.")
        if mode not in _MODES:
            raise ValueError(f"`mode` must be one of {', '.join(_MODES)}, got {mode!r}.")
        if conversations is None and _is_conversations(text):
            conversations, text = text, None
        fields = {
            "text": text,
            "reference": reference,
            "language": language,
            "tokens": tokens,
            "duration_seconds": duration_seconds,
            "instruction": instruction,
            "quality": quality,
            "sound_event": sound_event,
            "ambient_sound": ambient_sound,
        }
        if conversations is None:
            conversations = [[message] for message in _messages_of(fields)]
        elif given := [name for name, value in fields.items() if value is not None]:
            raise ValueError(f"Conversations carry their own fields; got {', '.join(given)} beside them.")
        if isinstance(conversations, dict):
            conversations = [conversations]
        conversations = [[c] if isinstance(c, dict) else list(c) for c in conversations]
        return self._encode_conversations(conversations, mode, sampling_rate)

    def apply_chat_template(
        self,
        conversation: list[dict] | list[list[dict]],
        chat_template: str | None = None,
        tokenize: bool = True,
        return_dict: bool = True,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        processor_kwargs: dict[str, Any] | None = None,
        **kwargs,
    ) -> BatchFeature | torch.LongTensor:
        r"""
        Builds prompts from chats as other transformers audio models take them.

        Args:
            conversation (`list[dict]` or `list[list[dict]]`):
                Messages with `role` and `content`, a string or a list of `{"type": "text", "text": ...}` and
                `{"type": "audio", "audio": ...}` (also under the keys `path` and `url`). The audio of a user message is its
                references, that of an assistant message what it says. Messages may carry `language`, `tokens`,
                `duration_seconds`, `instruction`, `quality`, `sound_event`, `ambient_sound`.
            add_generation_prompt (`bool`, *optional*, defaults to `True`):
                Open the assistant's turn after a last user message.
            continue_final_message (`bool`, *optional*, defaults to `False`):
                Leave a last assistant message open, to be continued.
            return_dict (`bool`, *optional*, defaults to `True`):
                `False` returns `input_ids` alone.
            kwargs, processor_kwargs:
                The fields of messages, for those that do not carry them, and `sampling_rate`.
        """
        if chat_template is not None or not tokenize:
            raise ValueError("The prompt is not a string template: audio codes are part of it. Leave `tokenize=True`.")
        options = (processor_kwargs or {}) | kwargs
        sampling_rate = options.pop("sampling_rate", None)
        for ignored in ("return_tensors", "padding"):
            options.pop(ignored, None)
        if unknown := set(options) - {*_SCALAR_FIELDS, "duration_seconds"}:
            raise TypeError(f"`apply_chat_template` got unknown options: {', '.join(sorted(unknown))}.")
        is_one = bool(conversation) and isinstance(conversation[0], dict)
        chats = [conversation] if is_one else conversation
        conversations = [[_message_of_chat(message, options) for message in chat] for chat in chats]
        ends_with_user = [bool(chat) and chat[-1]["role"] == "user" for chat in conversations]
        if any(ends_with_user) != all(ends_with_user):
            raise ValueError("All chats of a batch must end with the same role.")
        mode = "generation" if all(ends_with_user) else "continuation" if continue_final_message else "computing_loss"
        inputs = self._encode_conversations(conversations, mode, sampling_rate, add_generation_prompt)
        return inputs if return_dict else inputs["input_ids"]

    @staticmethod
    def build_user_message(
        text: str | None = None,
        reference: Audio | list[Audio | None] | None = None,
        instruction: str | None = None,
        tokens: int | None = None,
        quality: str | None = None,
        sound_event: str | None = None,
        ambient_sound: str | None = None,
        language: str | None = None,
        duration_seconds: float | None = None,
    ) -> dict[str, Any]:
        """A user message for `conversations`; the fields are those of [`~MossTTSDelayProcessor.__call__`]."""
        return {
            "role": "user",
            "text": text,
            "reference": reference,
            "instruction": instruction,
            "tokens": tokens,
            "quality": quality,
            "sound_event": sound_event,
            "ambient_sound": ambient_sound,
            "language": language,
            "duration_seconds": duration_seconds,
        }

    @staticmethod
    def build_assistant_message(audio_codes_list: list[Audio], content: str = AUDIO_PLACEHOLDER) -> dict[str, Any]:
        """An assistant message for `conversations`: one `<|audio|>` in `content` for each item of `audio_codes_list`."""
        return {"role": "assistant", "content": content, "audio_codes_list": audio_codes_list}

    def decode(
        self,
        outputs: MossTTSGenerateOutput | torch.LongTensor | list[torch.LongTensor],
        prompt_length: int | None = None,
    ) -> torch.FloatTensor | list[torch.FloatTensor]:
        r"""
        Turns what a model generated into waveforms.

        Args:
            outputs ([`MossTTSGenerateOutput`], `torch.LongTensor` or `list[torch.LongTensor]`):
                What `generate` returned, as dict or as sequences `(batch_size, length, 1 + n_vq)` or `(length, 1 + n_vq)`,
                or codes `(frames, n_vq)` or a list of them.
            prompt_length (`int`, *optional*):
                With sequences: length of the prompt, to leave out the audio that it began the assistant's turn with. A
                [`MossTTSGenerateOutput`] knows it.

        Returns:
            Waveforms `(samples,)`, of a stereo codec `(channels, samples)`, in float32 on the CPU, at the codec's rate: one
            for a single sequence or codes, else a list.
        """
        prefixes, codes = self._codes_of_outputs(outputs, prompt_length)
        waveforms = self._decode_codes([torch.cat(pair) for pair in zip(prefixes, codes)])
        frame = self._codec().config.downsample_rate
        # Decoded with its beginning, for the codec's context, which is then cut off.
        waveforms = [wave[..., len(prefix) * frame :] for wave, prefix in zip(waveforms, prefixes)]
        is_single = isinstance(outputs, torch.Tensor) and outputs.ndim == 2
        return waveforms[0] if is_single else waveforms

    def batch_decode(self, outputs, prompt_length: int | None = None) -> list[torch.FloatTensor]:
        """As [`~MossTTSDelayProcessor.decode`], always a list."""
        waveforms = self.decode(outputs, prompt_length)
        return waveforms if isinstance(waveforms, list) else [waveforms]

    def save_audio(
        self,
        audio: torch.Tensor | np.ndarray | list[torch.Tensor | np.ndarray],
        path: str | os.PathLike | list[str | os.PathLike],
        sampling_rate: int | None = None,
    ) -> None:
        """
        Writes one waveform, or a list of them to as many paths, at `sampling_rate` Hz (the model's by default). The suffix
        of the path says the format: wav, flac, mp3, ogg or opus.
        """
        paths = path if isinstance(path, list) else [path]
        waveforms = audio if isinstance(audio, list) else [audio]
        if len(paths) != len(waveforms):
            raise ValueError(f"There are {len(waveforms)} waveforms for {len(paths)} paths: give one path for each.")
        for waveform, target in zip(waveforms, paths):
            save_audio(waveform, target, sampling_rate or self.model_config.sampling_rate)

    def encode_audio(self, audio: list[Audio], sampling_rate: int | None = None) -> list[torch.LongTensor]:
        """
        Codes `(frames, n_vq)` of recordings, encoded as one batch after the family's loudness rule. Items that are codes
        already are checked and returned.
        """
        codes = [self._check_codes(item) if _is_codes(item) else None for item in audio]
        recordings = [item for item, done in zip(audio, codes) if done is None]
        if not recordings:
            return codes
        codec = self._codec()
        rate, channels = codec.config.sampling_rate, codec.config.num_channels
        waves = [
            load_audio(item, rate, array_sampling_rate=sampling_rate, num_channels=channels) for item in recordings
        ]
        waves = [torch.from_numpy(normalize_loudness(wave)).view(channels, -1) for wave in waves]
        lengths = torch.tensor([wave.shape[1] for wave in waves])
        values = torch.nn.utils.rnn.pad_sequence([wave.T for wave in waves], batch_first=True).transpose(1, 2)
        mask = torch.arange(values.shape[2]) < lengths[:, None]
        with torch.inference_mode():
            encoded = codec.encode(
                values.to(codec.device), padding_mask=mask.to(codec.device), num_quantizers=self.model_config.n_vq
            )
        encoded_rows = zip(encoded.audio_codes.permute(1, 2, 0).cpu(), encoded.audio_codes_lengths.tolist())
        fresh = iter([row[:length].clone() for row, length in encoded_rows])
        return [next(fresh) if done is None else done for done in codes]

    def _encode_conversations(
        self, conversations: list[list[dict]], mode: str, sampling_rate: int | None, opens_reply: bool = True
    ) -> BatchFeature:
        if not conversations:
            raise ValueError("There is nothing to encode: the list of conversations is empty.")
        last_role = "user" if mode == "generation" else "assistant"
        rows = []
        for conversation in conversations:
            roles = [_role_of(message) for message in conversation]
            expected = ["user", "assistant"] * len(roles)
            if not roles or roles != expected[: len(roles)] or roles[-1] != last_role:
                raise ValueError(
                    f"With mode {mode!r} a conversation alternates user and assistant, starts with user and ends with "
                    f"{last_role}; got {', '.join(roles) or 'no messages'}."
                )
            turns = [
                self._encode_turn(
                    message, sampling_rate, is_open=mode == "continuation" and message is conversation[-1]
                )
                for message in conversation
            ]
            if mode == "generation" and opens_reply:
                turns.append(self._text_rows(self._reply_opening()))
            rows.append(torch.cat(turns))
        return self._pad(rows)

    def _reply_opening(self) -> list[int]:
        """Tokens after which the model begins."""
        return [self.model_config.im_start_token_id, *self._encoder.encode(["assistant\n"])]

    @staticmethod
    def _joined(parts: list[Part]) -> list[Part]:
        return merge_adjacent_audio(parts)

    def _encode_texts(self, parts: list[str]) -> list[int]:
        """Token ids of neighbouring text parts of a turn."""
        return self._encoder.encode(parts)

    def _encode_turn(self, message: dict, sampling_rate: int | None, is_open: bool) -> torch.LongTensor:
        config, role = self.model_config, message["role"]
        has_fields = role == "user" and "content" not in message
        parts_of = self._field_parts if has_fields else self._content_parts
        parts = self._joined(parts_of(message, sampling_rate))
        if is_open:
            while parts and isinstance(parts[-1], str) and not parts[-1]:
                parts.pop()
            if not parts or not isinstance(parts[-1], torch.Tensor):
                raise ValueError(
                    "A continuation must end with audio: put nothing after the last audio of the assistant."
                )
        rows, text = [self._text_rows([config.im_start_token_id])], [f"{role}\n"]
        for index, part in enumerate(parts):
            if isinstance(part, str):
                text.append(part)
                continue
            rows += [
                self._text_rows(self._encode_texts(text)),
                self._audio_rows(part, role, is_open and index == len(parts) - 1),
            ]
            text = []
        if not is_open:
            rows += [
                self._text_rows(self._encode_texts(text)),
                self._text_rows([config.im_end_token_id, *self._encoder.encode(["\n"])]),
            ]
        return torch.cat(rows)

    def _text_rows(self, tokens: list[int]) -> torch.LongTensor:
        rows = torch.full((len(tokens), 1 + self.model_config.n_vq), self.model_config.audio_pad_code)
        rows[:, 0] = torch.tensor(tokens, dtype=torch.long)
        return rows

    def _audio_rows(self, codes: torch.LongTensor, role: str, is_open: bool) -> torch.LongTensor:
        config = self.model_config
        if len(codes) == 0:
            return self._text_rows([config.audio_start_token_id, config.audio_end_token_id])
        delayed = apply_delay_pattern(codes, config.audio_pad_code)
        slots = torch.full((len(delayed),), config.audio_user_slot_token_id)
        if role == "assistant":
            slots[: len(codes)] = config.audio_assistant_gen_slot_token_id
            slots[len(codes) :] = config.audio_assistant_delay_slot_token_id
        rows = torch.cat([slots[:, None], delayed], dim=1)
        start = self._text_rows([config.audio_start_token_id])
        if is_open:
            return torch.cat([start, rows[: len(codes)]])
        return torch.cat([start, rows, self._text_rows([config.audio_end_token_id])])

    def _pad(self, rows: list[torch.LongTensor]) -> BatchFeature:
        config = self.model_config
        lengths = torch.tensor([len(row) for row in rows])
        longest = int(lengths.max())
        input_ids = torch.full((len(rows), longest, 1 + config.n_vq), config.audio_pad_code)
        input_ids[..., 0] = config.pad_token_id
        for index, row in enumerate(rows):
            input_ids[index, longest - len(row) :] = row
        attention_mask = torch.arange(longest) >= (longest - lengths)[:, None]
        return BatchFeature({"input_ids": input_ids, "attention_mask": attention_mask})

    def _field_parts(self, message: dict, sampling_rate: int | None) -> list[Part]:
        fields = {name: message.get(name) for name in _SCALAR_FIELDS}
        fields["tokens"] = self._num_tokens(message.get("tokens"), message.get("duration_seconds"))
        fields["text"] = _checked_text(message, self.normalize_text)
        references = message.get("reference")
        if references is not None and not isinstance(references, list):
            references = [references]
        if references is not None:
            references = self._encode_references(references, sampling_rate)
        return self._parts_of_fields(references, fields)

    def _parts_of_fields(self, references: list[torch.LongTensor | None] | None, fields: dict[str, Any]) -> list[Part]:
        return user_parts(references, **fields)

    def _encode_references(self, references: list, sampling_rate: int | None) -> list[torch.LongTensor | None]:
        codes = iter(self.encode_audio([item for item in references if item is not None], sampling_rate))
        encoded = [None if item is None else next(codes) for item in references]
        for number, item in enumerate(encoded, 1):
            if item is not None and len(item) > self.max_reference_duration * self.frame_rate:
                raise ValueError(
                    f"Reference {number} lasts {len(item) / self.frame_rate:.1f} s; at most "
                    f"{self.max_reference_duration:g} s are allowed. Cut it, or raise `max_reference_duration`."
                )
        return encoded

    def _content_parts(self, message: dict, sampling_rate: int | None) -> list[Part]:
        audio = self.encode_audio(list(message.get("audio_codes_list") or []), sampling_rate)
        return content_parts(message.get("content", AUDIO_PLACEHOLDER), audio)

    def _num_tokens(self, tokens: int | None, duration_seconds: float | None) -> int | None:
        if tokens is not None and duration_seconds is not None:
            raise ValueError("Pass `tokens` or `duration_seconds`, not both: they say the same.")
        if duration_seconds is not None:
            if duration_seconds <= 0:
                raise ValueError(f"`duration_seconds` must be above 0, got {duration_seconds}.")
            return max(1, round(duration_seconds * self.frame_rate))
        if tokens is not None and (int(tokens) != tokens or tokens <= 0):
            raise ValueError(f"`tokens` must be a whole number above 0 (frames of 80 ms), got {tokens}.")
        # Tables give 12.0 where another row has none.
        return None if tokens is None else int(tokens)

    @property
    def frame_rate(self) -> float:
        """Frames of codes a second, in Hz."""
        return FRAME_RATE if self.audio_tokenizer is None else self.audio_tokenizer.config.frame_rate

    def _check_codes(self, codes: torch.Tensor | np.ndarray) -> torch.LongTensor:
        codes, config = torch.as_tensor(codes).cpu().long(), self.model_config
        if codes.shape[1] != config.n_vq:
            raise ValueError(
                f"Codes must have shape (frames, {config.n_vq}), got {tuple(codes.shape)}. Of a codec with more codebooks "
                f"take the first: `codes[:, :{config.n_vq}]`; `encode` returns codebooks first: `codes[:, 0].T`."
            )
        if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < config.audio_vocab_size:
            raise ValueError(
                f"Codes must be between 0 and {config.audio_vocab_size - 1}, got {int(codes.min())} to "
                f"{int(codes.max())}: are they of another codec, or still delayed and padded?"
            )
        return codes

    def _codec(self):
        codec, config = self.audio_tokenizer, self.model_config
        if codec is None:
            raise ValueError(
                f"Audio needs a codec and this processor has none (the checkpoint names {self.codec_path!r}). Load it with "
                "`codec_path=`, set `processor.audio_tokenizer`, or pass ready codes of shape (frames, n_vq)."
            )
        wanted = (config.sampling_rate, config.audio_vocab_size)
        if (codec.config.sampling_rate, codec.config.codebook_size) != wanted:
            raise ValueError(
                f"The codec has {codec.config.sampling_rate} Hz and {codec.config.codebook_size} codes a codebook, the model "
                f"{wanted[0]} Hz and {wanted[1]}: they do not fit."
            )
        if codec.config.num_quantizers < config.n_vq:
            raise ValueError(
                f"The codec has {codec.config.num_quantizers} codebooks, the model needs {config.n_vq}: they do not fit."
            )
        return codec

    def _codes_of_outputs(self, outputs, prompt_length: int | None) -> tuple[list, list]:
        config = self.model_config
        if isinstance(outputs, dict):
            return outputs["prefix_codes"], outputs["audio_codes"]
        if isinstance(outputs, list):
            return [codes[:0] for codes in outputs], [self._check_codes(codes) for codes in outputs]
        if not isinstance(outputs, torch.Tensor) or outputs.ndim not in (2, 3):
            raise TypeError(
                "`decode` takes what `generate` returned, sequences (batch_size, length, 1 + n_vq), codes (frames, n_vq) or "
                f"a list of codes, got {type(outputs).__name__}."
            )
        if outputs.shape[-1] == config.n_vq and outputs.ndim == 2:
            return [outputs[:0].cpu()], [self._check_codes(outputs)]
        if outputs.shape[-1] != 1 + config.n_vq:
            raise ValueError(
                f"Sequences must have {1 + config.n_vq} channels, codes {config.n_vq}, got {tuple(outputs.shape)}."
            )
        sequences = (outputs[None] if outputs.ndim == 2 else outputs).cpu()
        if prompt_length is not None:
            return self._split_codes(sequences, prompt_length)
        codes, _ = self._split_codes(sequences, sequences.shape[1])
        return [item[:0] for item in codes], codes

    def _split_codes(
        self, sequences: torch.LongTensor, prompt_length: int
    ) -> tuple[list[torch.LongTensor], list[torch.LongTensor]]:
        """Codes of the last turn of each sequence: those of its prompt, and the generated ones."""
        return split_audio_codes(self.model_config, sequences, prompt_length)

    def _decode_codes(self, codes: list[torch.LongTensor]) -> list[torch.FloatTensor]:
        codec = self._codec()
        lengths = torch.tensor([len(item) for item in codes])
        if lengths.max() == 0:
            return [torch.zeros(0) for _ in codes]
        padded = torch.nn.utils.rnn.pad_sequence([item.cpu() for item in codes], batch_first=True)
        mask = torch.arange(padded.shape[1]) < lengths[:, None]
        with torch.inference_mode():
            decoded = codec.decode(padded.permute(2, 0, 1).to(codec.device), padding_mask=mask.to(codec.device))
        # `(samples,)` of one channel, `(channels, samples)` of more.
        waveforms = decoded.audio.float().cpu()
        waveforms = waveforms[:, 0] if waveforms.shape[1] == 1 else waveforms
        return [row[..., :length].clone() for row, length in zip(waveforms, decoded.audio_lengths.tolist())]


def _is_conversations(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and isinstance(value[0], dict | list | tuple)
    return isinstance(value, dict)


def _is_codes(item: Any) -> bool:
    if isinstance(item, torch.Tensor):
        return item.ndim == 2 and not item.is_floating_point()
    return isinstance(item, np.ndarray) and item.ndim == 2 and np.issubdtype(item.dtype, np.integer)


def _messages_of(fields: dict[str, Any]) -> list[dict[str, Any]]:
    """User messages of fields that are one value for all or a list with one for each text."""
    text = fields["text"]
    count = len(text) if isinstance(text, list | tuple) else 1
    if count == 0:
        raise ValueError("There is nothing to say: the list of texts is empty.")
    is_many = isinstance(text, list | tuple)
    columns = {}
    for name, value in fields.items():
        is_column = isinstance(value, list | tuple) and (is_many or name != "reference")
        if is_column and len(value) != count:
            raise ValueError(
                f"`{name}` has {len(value)} entries for {count} texts: give one value, or one for each text."
            )
        columns[name] = value if is_column else [value] * count
    return [{"role": "user"} | dict(zip(columns, row)) for row in zip(*columns.values())]


def _message_of_chat(message: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """A message with `content` items as one with our fields."""
    role = _role_of(message)
    content = message.get("content")
    items = [{"type": "text", "text": content}] if isinstance(content, str) else list(content or [])
    texts = [item["text"] for item in items if item.get("type") == "text"]
    audio = [_audio_of_item(item) for item in items if item.get("type") == "audio"]
    if unknown := {item.get("type") for item in items} - {"text", "audio"}:
        raise ValueError(f"Content must be of type 'text' or 'audio', got {unknown}.")
    if role == "assistant":
        return {"role": role, "content": "".join(texts) + AUDIO_PLACEHOLDER * len(audio), "audio_codes_list": audio}
    fields = options | {name: message[name] for name in (*_SCALAR_FIELDS, "duration_seconds") if name in message}
    return {"role": role, "reference": audio or None, "text": "\n".join(texts) or None} | fields


def _audio_of_item(item: dict[str, Any]) -> Audio:
    for key in ("audio", "path", "url"):
        if item.get(key) is not None:
            return item[key]
    raise ValueError(f"An audio item needs 'audio', 'path' or 'url', got the keys {sorted(item)}.")


def _role_of(message: Any) -> str:
    if not isinstance(message, dict) or "role" not in message:
        raise TypeError(f"A message must be a dict with a 'role', got {type(message).__name__}.")
    if message["role"] not in ("user", "assistant"):
        raise ValueError(f"The role of a message must be 'user' or 'assistant', got {message['role']!r}.")
    return message["role"]


def _checked_text(message: dict[str, Any], normalize: Callable[[str], str]) -> UserText | None:
    text = message.get("text")
    if text is None and message.get("sound_event") is None and message.get("ambient_sound") is None:
        raise ValueError("There is nothing to say: pass `text`, or `sound_event` or `ambient_sound`.")
    if text is None:
        return None
    if not isinstance(text, str):
        raise TypeError(f"`text` must be a string, got {type(text).__name__}.")
    normalized = normalize(text)
    if not normalized.strip():
        raise ValueError(f"`text` is empty after normalisation: {text!r}.")
    return UserText(normalized)


__all__ = ["MossTTSDelayProcessor"]
