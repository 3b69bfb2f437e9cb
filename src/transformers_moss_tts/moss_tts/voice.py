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
"""Voices that are kept: the codes of recordings, with what they say, whose codec they are of, and what may be done with them."""

import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from huggingface_hub import CommitInfo, HfApi, hf_hub_download
from transformers import PreTrainedConfig

from ..audio_io import is_array_with_rate, is_remote
from .generation_parameters import AUDIO_NAMES, SAMPLING_PARAMETERS
from .prompt import check_characters
from .voice_file import VOICE_SUFFIX, read_voice_file, write_voice_file


HUB_FILE = f"voice{VOICE_SUFFIX}"
# Shorter or softer recordings (seconds, peak) have no voice that could be heard.
_MIN_SECONDS, _MIN_PEAK = 0.5, 1e-3
# Entries of each codebook that tell codecs apart, and how far a codec that was stored in bfloat16 may be from itself.
_NUM_VALUES, _TOLERANCE = 16, 0.01


@dataclass(frozen=True, eq=False)
class CodecIdentity:
    """
    What tells codecs apart: the meaning of codes. It is the same for all dtypes and devices, and for codecs of which only the
    decoder was trained further, since these read the same codes.

    Args:
        name (`str`): Hub id, or name of the folder.
        sampling_rate (`int`): rate of the waveform, in Hz.
        frame_rate (`float`): frames of codes a second, in Hz.
        codebook_size (`int`): number of codes of each codebook.
        codebook_values (`torch.FloatTensor` of shape `(codebooks, 16)`): numbers of each codebook, at fixed places.
    """

    name: str
    sampling_rate: int
    frame_rate: float
    codebook_size: int
    codebook_values: torch.Tensor = field(repr=False)

    @classmethod
    def of(cls, codec) -> "CodecIdentity":
        """The identity of a [`MossAudioTokenizerModel`]."""
        config = codec.config
        weights = [quantizer.codebook.weight.detach().flatten() for quantizer in codec.quantizer.quantizers]
        places = torch.linspace(0, len(weights[0]) - 1, _NUM_VALUES).long()
        values = torch.stack([weight[places.to(weight.device)].float() for weight in weights]).cpu()
        return cls(_name_of(codec), config.sampling_rate, config.frame_rate, config.codebook_size, values)

    def is_same(self, other: "CodecIdentity") -> bool:
        """Whether codes of one mean the same to the other."""
        shape = (self.sampling_rate, self.frame_rate, self.codebook_size, self.codebook_values.shape)
        if shape != (other.sampling_rate, other.frame_rate, other.codebook_size, other.codebook_values.shape):
            return False
        allowed = _TOLERANCE * float(self.codebook_values.abs().mean())
        return torch.allclose(self.codebook_values, other.codebook_values, rtol=_TOLERANCE, atol=allowed)

    def __str__(self) -> str:
        shape = f"{len(self.codebook_values)} codebooks of {self.codebook_size}, {self.sampling_rate} Hz"
        return f"{self.name!r} ({shape})"


@dataclass(frozen=True, eq=False, repr=False)
class Voice:
    """
    A voice that is kept. It goes wherever a reference goes: into calls of a processor, messages, chats, pipelines and scripts. As
    a reference it is its recordings one behind the other, as many whole ones as the processor's `max_reference_duration` allows.

    Args:
        codes (`tuple[torch.LongTensor, ...]`): codes of each recording, `(frames, codebooks)`, with all codebooks of the codec.
        codec ([`CodecIdentity`]): identity of the codec.
        name (`str`, *optional*, defaults to `"voice"`): name of the voice.
        texts (`tuple[str | None, ...]`, *optional*): transcript of each recording, `None` where it is not known.
        language (`str`, *optional*): name of the language, for example "English".
        settings (`dict[str, float]`, *optional*): sampling parameters of `generate` that suit the voice; what speaks with it
            (`stream_speech`, `speak`, `speak_long`, `speak_dialogue`, the command, the server) takes them, and the language, where the
            caller says nothing else. Several voices count as far as they agree.
        licence (`str`, *optional*): licence of the recordings.
        consent (`str`, *optional*): note on whose voice it is and that they agree.

    Raises:
        ValueError: no codes, codes of the wrong shape or range, transcripts for another number of recordings, unknown settings, or
            control characters.
        TypeError: values of a wrong kind.

    Example:

    ```python
    >>> voice = Voice.from_recording("anna.wav", processor, text="What she says.", consent="Anna, by mail, 2026-05-01")
    >>> voice.save("anna.safetensors")
    >>> inputs = processor(text="Hello there.", reference=Voice.load("anna.safetensors"))
    ```
    """

    codes: tuple[torch.Tensor, ...]
    codec: CodecIdentity
    name: str = "voice"
    texts: tuple[str | None, ...] = ()
    language: str | None = None
    settings: dict[str, float] = field(default_factory=dict)
    licence: str | None = None
    consent: str | None = None

    def __post_init__(self):
        if not isinstance(self.codec, CodecIdentity):
            raise TypeError(f"`codec` must be a CodecIdentity, got {type(self.codec).__name__}.")
        if not isinstance(self.codes, list | tuple) or not all(map(_is_whole, self.codes)):
            raise TypeError(f"`codes` must be tensors (frames, codebooks) of whole numbers, got {self.codes!r:.80}.")
        if not isinstance(self.texts, list | tuple):
            raise TypeError(f"`texts` must be one text or None for each recording, got {self.texts!r:.80}.")
        if not isinstance(self.settings, Mapping):
            raise TypeError(f"`settings` must be a dict of sampling parameters, got {self.settings!r:.80}.")
        # Not a view of a longer tensor, and small in a pickle.
        codes = tuple(torch.as_tensor(item).detach().cpu().long().clone() for item in self.codes)
        texts = tuple(self.texts) or (None,) * len(codes)
        object.__setattr__(self, "codes", codes)
        object.__setattr__(self, "texts", texts)
        object.__setattr__(self, "settings", _checked_settings(self.settings))
        _check_codes(codes, self.codec)
        if len(texts) != len(codes):
            raise ValueError(
                f"A voice needs a text for each of its recordings: there are {len(codes)}, and {len(texts)} texts."
            )
        for what, value in (
            ("The name", self.name),
            *(("A text", text) for text in texts),
            ("The language", self.language),
            ("The licence", self.licence),
            ("The consent note", self.consent),
        ):
            _check_string(what, value)
        if not isinstance(self.name, str) or not self.name.strip():
            raise ValueError(f"The name of a voice must be a string that is not empty, got {self.name!r}.")

    @classmethod
    def from_recording(
        cls,
        recording: Any,
        processor,
        *,
        text: str | list[str | None] | None = None,
        name: str | None = None,
        language: str | None = None,
        settings: Mapping[str, float] | None = None,
        licence: str | None = None,
        consent: str | None = None,
        sampling_rate: int | None = None,
    ) -> "Voice":
        """
        Encodes recordings.

        Args:
            recording (audio or `list`):
                Recording, or several of one speaker: anything that [`~transformers_moss_tts.audio_io.load_audio`] reads, each no
                longer than the processor's `max_reference_duration`.
            processor ([`MossTTSProcessor`]):
                Processor whose codec encodes. Every generator with this codec can use the voice.
            text (`str` or `list`, *optional*):
                What the recording says, of several one for each. With it a model can go on from the recordings.
            name (`str`, *optional*):
                Name of the voice, by default that of the first file.
            language, settings, licence, consent (*optional*):
                As the class has them.
            sampling_rate (`int`, *optional*):
                Rate of a recording that is an array without one, in Hz.

        Raises:
            ValueError: a processor without a codec, an unreadable, silent or too long recording, one shorter than half a second.
        """
        is_several = isinstance(recording, list | tuple) and not is_array_with_rate(recording)
        recordings = list(recording) if is_several else [recording]
        if not recordings:
            raise ValueError("A voice needs a recording, got an empty list.")
        if isinstance(text, list | tuple) != is_several and text is not None:
            raise ValueError("Give one `text` for one recording, and a list of them for a list of recordings.")
        codec = processor._codec()
        waves = [
            processor._load_recording(item, sampling_rate, processor.max_reference_duration) for item in recordings
        ]
        for number, wave in enumerate(waves, 1):
            check_recording(wave, codec.config.sampling_rate, f"Recording {number}" if is_several else "The recording")
        return cls(
            codes=tuple(processor._encode_waves(waves, codec.config.num_quantizers)),
            codec=CodecIdentity.of(codec),
            name=_name_of_file(recordings[0]) if name is None else name,
            texts=tuple(text) if is_several and text is not None else (text,) * len(recordings),
            language=language,
            settings=dict(settings or {}),
            licence=licence,
            consent=consent,
        )

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Voice":
        """
        Reads a file that [`~Voice.save`] wrote. Nothing in it is run.

        Raises:
            ValueError: a file that is missing, larger than 16 MiB, cut, no voice, or written by a newer version of the package.
        """
        fields, codes, values = read_voice_file(path)
        try:
            identity = CodecIdentity(codebook_values=values, **fields.pop("codec"))
            fields["texts"] = tuple(fields["texts"])
            return cls(codes=codes, codec=identity, **fields)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise ValueError(f"The voice {str(path)!r} is damaged: {error}") from error

    def save(self, path: str | os.PathLike) -> None:
        """
        Writes the voice to a file of a few kilobytes. It appears whole or not at all.

        Raises:
            ValueError: a suffix other than `.safetensors`, or a folder that does not exist.
            OSError: the file cannot be written, for instance on a full disk.
        """
        codec = {name: getattr(self.codec, name) for name in ("name", "sampling_rate", "frame_rate", "codebook_size")}
        fields = {name: getattr(self, name) for name in ("name", "language", "settings", "licence", "consent")}
        fields |= {"texts": list(self.texts), "codec": codec}
        write_voice_file(path, fields, self.codes, self.codec.codebook_values)

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike, filename: str = HUB_FILE, **hub_options) -> "Voice":
        """
        Loads a voice from a file, a folder or a repository of the Hub.

        Args:
            name_or_path (`str` or `os.PathLike`):
                File, folder or Hub id.
            filename (`str`, *optional*, defaults to `"voice.safetensors"`):
                Name of the file in the folder or repository.
            hub_options:
                `revision`, `token`, `cache_dir`, `force_download` and `local_files_only` of the Hub.

        Raises:
            ValueError: see [`~Voice.load`].
            OSError: if the Hub has no such file or cannot be reached.
        """
        path = Path(name_or_path)
        if path.is_dir():
            path /= filename
        elif not path.is_file() and path.suffix != VOICE_SUFFIX:
            path = Path(hf_hub_download(str(name_or_path), filename, **hub_options))
        return cls.load(path)

    def push_to_hub(
        self,
        repo_id: str,
        filename: str = HUB_FILE,
        *,
        commit_message: str | None = None,
        private: bool | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        create_pr: bool = False,
    ) -> CommitInfo:
        """
        Uploads the voice to a model repository of the Hub, which is made if there is none.

        Args:
            repo_id (`str`): name of the repository, `"namespace/name"`.
            filename (`str`, *optional*, defaults to `"voice.safetensors"`): name of the file in it.
            commit_message (`str`, *optional*): summary of the commit.
            private (`bool`, *optional*): whether a repository that is made is private; by default as the namespace has it.
            token (`str` or `bool`, *optional*): by default the one of `hf auth login`.
            revision (`str`, *optional*): branch to push to; by default the main one.
            create_pr (`bool`, *optional*, defaults to `False`): open a pull request with the file.

        Raises:
            ValueError: if the voice has no licence or no consent note.
        """
        lacking = [name for name in ("licence", "consent") if not getattr(self, name)]
        if lacking:
            raise ValueError(
                f"The voice {self.name!r} has no {' and no '.join(lacking)}: before others get it, say under which licence, and "
                "that the person whose voice it is agrees."
            )
        api = HfApi(library_name="transformers-moss-tts", token=token)
        with tempfile.TemporaryDirectory() as folder:
            self.save(Path(folder, HUB_FILE))
            api.create_repo(repo_id, private=private, exist_ok=True)
            if revision is not None and not revision.startswith("refs/"):
                api.create_branch(repo_id, branch=revision, exist_ok=True)
            return api.upload_file(
                path_or_fileobj=Path(folder, HUB_FILE),
                path_in_repo=filename,
                repo_id=repo_id,
                commit_message=commit_message or f"Upload the voice {self.name}",
                revision=revision,
                create_pr=create_pr,
            )

    def __repr__(self) -> str:
        return f"Voice({self.name!r}, {self.duration:.1f} s of the codec {self.codec})"

    @property
    def duration(self) -> float:
        """Length of all recordings, in seconds."""
        return sum(map(len, self.codes)) / self.codec.frame_rate

    @property
    def text(self) -> str | None:
        """What the recordings say one behind the other; `None` unless it is known of all."""
        return None if None in self.texts else " ".join(text.strip() for text in self.texts if text is not None)

    def check_codec(self, codec, model_config: PreTrainedConfig) -> None:
        """
        Checks that codes of this voice mean the same to a codec; where there is none, that they can be codes of the model.

        Raises:
            ValueError: if the voice is of another codec.
        """
        if codec is not None:
            other = CodecIdentity.of(codec)
            if not self.codec.is_same(other):
                raise ValueError(
                    f"The voice {self.name!r} is of the codec {self.codec}, and the processor has {other}: their codes mean "
                    "different things. Make the voice again from its recordings with `Voice.from_recording`."
                )
        elif (wanted := (model_config.sampling_rate, model_config.audio_vocab_size)) != (
            self.codec.sampling_rate,
            self.codec.codebook_size,
        ):
            raise ValueError(
                f"The voice {self.name!r} is of the codec {self.codec}, and the model's has {wanted[0]} Hz and {wanted[1]} codes "
                "a codebook: they do not fit."
            )

    def reference_codes(self, max_frames: int | None = None) -> torch.LongTensor:
        """Codes `(frames, codebooks)` of the recordings: the first, and those behind it that fit whole into `max_frames`."""
        chosen = list(self.codes[:1])
        for codes in self.codes[1:]:
            if max_frames is not None and sum(map(len, chosen)) + len(codes) > max_frames:
                break
            chosen.append(codes)
        return torch.cat(chosen)


def as_voice(item: Any) -> Voice | None:
    """The voice that an item of audio is: itself, or one in a file by its path; else `None`."""
    if isinstance(item, Voice):
        return item
    is_file = isinstance(item, str | os.PathLike) and str(item).lower().endswith(VOICE_SUFFIX)
    return Voice.load(item) if is_file and not is_remote(item) else None


def _is_whole(codes: Any) -> bool:
    """Whether something is a tensor or an array of whole numbers."""
    if isinstance(codes, torch.Tensor):
        return not codes.is_floating_point() and not codes.is_complex()
    return isinstance(codes, np.ndarray) and np.issubdtype(codes.dtype, np.integer)


def _check_codes(codes: tuple[torch.Tensor, ...], codec: CodecIdentity) -> None:
    if not codes:
        raise ValueError("A voice needs the codes of a recording, got none.")
    for item in codes:
        if item.ndim != 2 or 0 in item.shape or item.shape[1] > len(codec.codebook_values):
            raise ValueError(
                f"The codes of a recording must have shape (frames, codebooks), with up to {len(codec.codebook_values)} "
                f"codebooks, got {tuple(item.shape)}."
            )
        if not 0 <= int(item.min()) <= int(item.max()) < codec.codebook_size:
            raise ValueError(
                f"Codes must be between 0 and {codec.codebook_size - 1}, got {int(item.min())} to {int(item.max())}."
            )
    if len({item.shape[1] for item in codes}) > 1:
        raise ValueError("All recordings of a voice must have the same number of codebooks.")


def _checked_settings(settings: Mapping[str, float]) -> dict[str, float]:
    allowed = {*SAMPLING_PARAMETERS, *AUDIO_NAMES}
    for name, value in dict(settings).items():
        if name not in allowed:
            raise ValueError(f"The settings of a voice are of {', '.join(SAMPLING_PARAMETERS)}, got {name!r}.")
        if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not np.isfinite(value):
            raise TypeError(f"The setting {name!r} must be a finite number, got {value!r}.")
    return {AUDIO_NAMES.get(name, name): value for name, value in settings.items()}


def _check_string(what: str, value: Any) -> None:
    if not isinstance(value, str | None):
        raise TypeError(f"{what} of a voice must be a string or None, got {type(value).__name__}.")
    if value is not None:
        check_characters(value, f"{what} of a voice")


def check_recording(wave: torch.Tensor, sampling_rate: int, what: str) -> None:
    """
    Checks that a recording has a voice that could be heard.

    Args:
        wave (`torch.Tensor` of shape `(channels, samples)`): the recording.
        sampling_rate (`int`): sampling rate, in Hz.
        what (`str`): the subject of the errors.

    Raises:
        ValueError: if it is shorter than half a second or silent.
    """
    seconds = wave.shape[-1] / sampling_rate
    if seconds < _MIN_SECONDS:
        raise ValueError(f"{what} lasts {seconds:.2f} s: a voice needs at least {_MIN_SECONDS:g} s, better 5 to 20.")
    if float(wave.abs().max()) < _MIN_PEAK:
        raise ValueError(f"{what} is silent: it is never louder than -60 dB of full scale.")


def _name_of(codec) -> str:
    name = getattr(codec, "name_or_path", None) or "unnamed codec"
    if not Path(name).is_dir():
        return name
    # Where it lies on this machine is nobody else's business; "codec" says little without the folder that it is in.
    parts = Path(name).resolve().parts
    return "/".join(parts[-2:] if parts[-1] == "codec" else parts[-1:])


def _name_of_file(recording: Any) -> str:
    path = recording.get("path") if isinstance(recording, dict) else recording
    is_path = isinstance(path, str | os.PathLike) and not str(path).startswith("data:")
    return (PurePath(path).stem if is_path else "") or "voice"


def settings_of(voices: Iterable[Any], options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """
    Arguments of `generate`: settings that voices agree on, among items that are no voice and have none, and beside them the `options`
    that a caller gave, which come first. Whoever gives a whole generation configuration gets no settings.
    """
    given = dict(options or {})
    if given.get("generation_config") is not None:
        return given
    said = {AUDIO_NAMES.get(name, name) for name in given}
    found = [voice.settings for voice in map(as_voice, voices) if voice is not None]
    return {name: value for name, value in _agreed(found).items() if name not in said} | given


def language_of(voices: Iterable[Any]) -> str | None:
    """The language that voices agree on, among items that are no voice and have none."""
    found = [{"language": voice.language} for voice in map(as_voice, voices) if voice is not None]
    return _agreed(found).get("language")


def _agreed(values: list[Mapping[str, Any]]) -> dict[str, Any]:
    first = values[0] if values else {}
    return {name: value for name, value in first.items() if all(item.get(name) == value for item in values)}


__all__ = ["HUB_FILE", "CodecIdentity", "Voice", "as_voice", "check_recording", "language_of", "settings_of"]
