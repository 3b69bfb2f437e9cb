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
"""Messages: what callers give, as dicts with a role and the fields of the prompt."""

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from ..audio_io import AudioInput, is_array_with_rate
from ..utils.checks import check_number, is_integral
from .prompt import USER_FIELDS, UserText, check_characters
from .voice import Voice


# A recording, or its codes `(frames, n_vq)`.
Audio = AudioInput | torch.LongTensor | Voice
Message = dict[str, Any]

SCALAR_FIELDS = tuple(field for field in USER_FIELDS if field != "reference")
_STRING_FIELDS = tuple(field for field in SCALAR_FIELDS if field not in ("text", "tokens"))
# The two forms of a message, and what a message of a chat has.
_FIELD_KEYS = frozenset({"role", *USER_FIELDS, "duration_seconds"})
_CONTENT_KEYS = frozenset({"role", "content", "audio_codes_list"})
_CHAT_KEYS = frozenset({"role", "content", *SCALAR_FIELDS, "duration_seconds"}) - {"text"}
_AUDIO_KEYS = ("audio", "array", "path", "url")
# Longest speech that can be asked for, in seconds: a day.
_LONGEST = 86400.0


def is_conversations(value: Any) -> bool:
    """Whether an argument is a message or conversations, and not texts."""
    if isinstance(value, list | tuple):
        return bool(value) and isinstance(value[0], dict | list | tuple)
    return isinstance(value, dict)


def is_codes(item: Any) -> bool:
    """Whether an item of audio is codes `(frames, n_vq)`, and not a recording."""
    if isinstance(item, torch.Tensor):
        return item.ndim == 2 and is_integral(item)
    return isinstance(item, np.ndarray) and item.ndim == 2 and np.issubdtype(item.dtype, np.integer)


def messages_of_fields(fields: Mapping[str, Any]) -> list[Message]:
    """User messages of fields that are one value for all or a list with one for each text."""
    text = fields["text"]
    count = len(text) if isinstance(text, list | tuple) else 1
    if count == 0:
        raise ValueError("There is nothing to say: the list of texts is empty.")
    is_many = isinstance(text, list | tuple)
    columns = {}
    for name, value in fields.items():
        is_column = (
            isinstance(value, list | tuple) and (is_many or name != "reference") and not is_array_with_rate(value)
        )
        if is_column and len(value) != count:
            raise ValueError(
                f"`{name}` has {len(value)} entries for {count} texts: give one value, or one for each text."
            )
        columns[name] = value if is_column else [value] * count
    return [{"role": "user"} | dict(zip(columns, values)) for values in zip(*columns.values())]


def message_of_chat(message: Mapping[str, Any], options: Mapping[str, Any]) -> Message:
    """A message of a chat, with `content` of text and audio, as one of this family."""
    role = role_of(message)
    _check_keys(message, _CHAT_KEYS if role == "user" else _CONTENT_KEYS, "A message of a chat")
    content = message.get("content")
    if not isinstance(content, str | list | tuple | None):
        raise TypeError(f"The 'content' of a message must be a string or a list, got {type(content).__name__}.")
    items = [{"type": "text", "text": content}] if isinstance(content, str) else list(content or [])
    content = [_text_of_item(item) if _type_of(item) == "text" else _audio_of_item(item) for item in items]
    if role == "assistant":
        return {"role": role, "content": content}
    kinds = [isinstance(item, UserText) for item in content]
    if sum(kind != before for before, kind in pairwise(kinds)) > 1:
        raise ValueError(
            "The audio of a user message is its references, wherever it stands: put all of it before or behind the text."
        )
    texts = [item for item in content if isinstance(item, UserText)]
    audio = [item for item in content if not isinstance(item, UserText)]
    fields = dict(options) | {name: message[name] for name in _CHAT_KEYS & message.keys() - {"role", "content"}}
    return {"role": role, "reference": audio or None, "text": "\n".join(texts) or None} | fields


def role_of(message: Any) -> str:
    """
    The role of a message.

    Raises:
        TypeError: if it is no dict with a role.
        ValueError: for another role than user and assistant.
    """
    if not isinstance(message, Mapping) or "role" not in message:
        raise TypeError(f"A message must be a dict with a 'role', got {type(message).__name__}.")
    if not isinstance(message["role"], str) or message["role"] not in ("user", "assistant"):
        raise ValueError(f"The role of a message must be 'user' or 'assistant', got {message['role']!r:.80}.")
    return message["role"]


def has_fields(message: Mapping[str, Any]) -> bool:
    """
    Whether a message has the fields of a prompt, and not a content.

    Raises:
        ValueError: for keys that such a message does not have.
    """
    is_of_fields = role_of(message) == "user" and "content" not in message
    _check_keys(message, _FIELD_KEYS if is_of_fields else _CONTENT_KEYS, "A message")
    return is_of_fields


def prompt_fields(
    message: Mapping[str, Any], frame_rate: float, normalize: Callable[[str, str], str]
) -> dict[str, Any]:
    """
    The fields of a user's prompt but for the references, checked.

    Args:
        message (`Mapping[str, Any]`): a user message of fields.
        frame_rate (`float`): frames of codes a second, in Hz.
        normalize (`Callable`): takes a field's name and what it says, and returns what the prompt says.

    Raises:
        ValueError: no or an empty text, a length that is none, or two of them.
        TypeError: a field that is no string, a length that is no number.
    """
    fields: dict[str, Any] = {}
    for name in _STRING_FIELDS:
        value = _string(name, message.get(name))
        if value is not None:
            value = normalize(name, value)
            check_characters(value, f"`{name}`")
        fields[name] = value
    fields["tokens"] = num_tokens_of(message.get("tokens"), message.get("duration_seconds"), frame_rate)
    fields["text"] = _text(message.get("text"), fields, normalize)
    return fields


def _text(text: Any, fields: Mapping[str, Any], normalize: Callable[[str, str], str]) -> UserText | None:
    if text is None and fields["sound_event"] is None and fields["ambient_sound"] is None:
        raise ValueError("There is nothing to say: pass `text`, or `sound_event` or `ambient_sound`.")
    if text is None:
        return None
    if not isinstance(text, str):
        raise TypeError(f"`text` must be a string, got {type(text).__name__}.")
    normalized = normalize("text", text)
    check_characters(normalized, "`text`")
    if not normalized.strip():
        raise ValueError(f"`text` is empty after normalisation: {text!r}.")
    return UserText(normalized)


def _string(name: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"`{name}` must be a string or None, got {type(value).__name__}.")
    return value


def num_tokens_of(tokens: Any, duration_seconds: Any, frame_rate: float) -> int | None:
    """
    The length that is asked for, in frames.

    Raises:
        ValueError, TypeError: for a length that is none, or two of them.
    """
    if tokens is not None and duration_seconds is not None:
        raise ValueError("Pass `tokens` or `duration_seconds`, not both: they say the same.")
    if duration_seconds is not None:
        check_number("duration_seconds", duration_seconds, math.ulp(0), _LONGEST, unit="seconds")
        return max(1, round(duration_seconds * frame_rate))
    if tokens is None:
        return None
    # Tables give 12.0 where another example has none.
    whole = int(tokens) if isinstance(tokens, float | np.floating) and tokens % 1 == 0 else tokens
    check_number("tokens", whole, 1, round(_LONGEST * frame_rate), is_whole=True, unit="frames of 80 ms")
    return int(whole)


def _check_keys(mapping: Mapping[str, Any], allowed: frozenset[str], what: str) -> None:
    # Tables of chats give every message every key, None where it has none.
    unknown = sorted(str(key) for key, value in mapping.items() if key not in allowed and value is not None)
    if unknown:
        raise ValueError(f"{what} has no {', '.join(unknown)}: it may have {', '.join(sorted(allowed))}.")


def _type_of(item: Any) -> str:
    if not isinstance(item, Mapping) or item.get("type") not in ("text", "audio"):
        kind = item.get("type") if isinstance(item, Mapping) else type(item).__name__
        raise ValueError(f"Content must be of type 'text' or 'audio', got {kind!r}.")
    return item["type"]


def _text_of_item(item: Mapping[str, Any]) -> UserText:
    _check_keys(item, frozenset({"type", "text"}), "A text item")
    if not isinstance(item.get("text"), str):
        raise TypeError(f"The 'text' of a text item must be a string, got {type(item.get('text')).__name__}.")
    return UserText(item["text"])


def _audio_of_item(item: Mapping[str, Any]) -> Audio:
    _check_keys(item, frozenset({"type", "sampling_rate", *_AUDIO_KEYS}), "An audio item")
    given = [key for key in _AUDIO_KEYS if item.get(key) is not None]
    if len(given) != 1:
        raise ValueError(f"An audio item needs one of {', '.join(map(repr, _AUDIO_KEYS))}, got {sorted(item)}.")
    audio, sampling_rate = item[given[0]], item.get("sampling_rate")
    if sampling_rate is None:
        return audio
    if is_codes(audio) or not isinstance(audio, np.ndarray | torch.Tensor | list):
        raise ValueError("Only an array of samples has a 'sampling_rate': files know theirs, and codes have none.")
    return {"array": audio, "sampling_rate": sampling_rate}
