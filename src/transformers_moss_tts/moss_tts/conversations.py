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
"""Conversations to prompts: turns of text and audio as positions of a text token and codes."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from transformers.feature_extraction_utils import BatchFeature

from .dialogue import VoiceOfSpeaker, read_dialogue
from .messages import (
    SCALAR_FIELDS,
    Audio,
    Message,
    has_fields,
    is_conversations,
    message_of_chat,
    messages_of_fields,
    prompt_fields,
    role_of,
)
from .prompt import AUDIO_PLACEHOLDER, Part, UserText, content_parts
from .upstream import UserMessage, check_call_options


_MODES = ("generation", "continuation", "computing_loss")


class ConversationsMixin:
    """For processors: they have a `model_config`, a `variant` and a `PromptEncoder`, and encode audio."""

    # Whether the reply that a model learns ends with its audio, and not with its turn.
    stops_at_end_of_audio: ClassVar[bool] = False

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
        script: str | None = None,
        voices: Mapping[str, VoiceOfSpeaker] | list[VoiceOfSpeaker | None] | None = None,
        sampling_rate: int | None = None,
        padding: bool = True,
        return_tensors: str = "pt",
        **kwargs,
    ) -> BatchFeature:
        r"""
        Builds the prompts of one or many utterances, or of whole conversations.

        Args:
            text (`str` or `list[str]`, *optional*):
                What to say. (Conversations may stand here too, as in the reference.)
            reference (audio or list, *optional*):
                Recording of the voice to clone, anything [`~transformers_moss_tts.audio_io.load_audio`] reads, its codes
                `(frames, n_vq)`, or a [`~transformers_moss_tts.speech.Voice`] or the path of one. A list gives the speakers S1,
                S2, ... (`None` for one without); for many texts a list with an entry for each.
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
                what [`~MossTTSProcessor.build_user_message`] and
                [`~MossTTSProcessor.build_assistant_message`] return.
            script (`str`, *optional*):
                A dialogue instead of a text, with `[S1]`, `[S2]`, ... before what each speaker says.
            voices (`dict` or `list`, *optional*):
                Voices of the script's speakers, by speaker (`{"S1": ...}`) or in their order: a recording of each, or a pair of
                the recording and what it says, or a [`~transformers_moss_tts.speech.Voice`], or `None`. With their words the
                model goes on from the recordings, which keeps voices best; without, it clones them.
            sampling_rate (`int`, *optional*):
                Rate in Hz of references that are arrays.
            kwargs:
                Options of the remote code that say what is done anyway: `n_vq`, `apply_chat_template`, `truncation`.

        Returns:
            [`BatchFeature`] with `input_ids` `(batch_size, length, 1 + n_vq)` and `attention_mask` `(batch_size, length)`,
            padded on the left.

        Raises:
            ValueError: empty text, `tokens` or `duration_seconds` not above 0 or both given, lists of different lengths, a
                reference that is too long or of another codec, a conversation that ends with the wrong role, an unknown
                role or mode, or audio without a codec.
        """
        _check_format(padding, return_tensors)
        if not isinstance(mode, str) or mode not in _MODES:
            raise ValueError(f"`mode` must be one of {', '.join(_MODES)}, got {mode!r}.")
        check_call_options(kwargs, self.model_config.n_vq)
        if conversations is None and is_conversations(text):
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
        if script is not None:
            conversations, mode = self._conversations_of_script(script, voices, fields, conversations, sampling_rate)
        elif voices is not None:
            raise ValueError("`voices` are those of a `script`: pass it, or `reference` beside `text`.")
        elif conversations is None:
            conversations = [[message] for message in messages_of_fields(fields)]
        elif given := [name for name, value in fields.items() if value is not None]:
            raise ValueError(f"Conversations carry their own fields; got {', '.join(given)} beside them.")
        conversations = [conversations] if isinstance(conversations, dict) else _list("conversations", conversations)
        conversations = [[c] if isinstance(c, dict) else _list("conversations", c) for c in conversations]
        return self._encode_conversations(conversations, mode, sampling_rate)

    def _conversations_of_script(
        self, script: str, voices: Any, fields: dict[str, Any], conversations: Any, sampling_rate: int | None
    ) -> tuple[list[list[Message]], str]:
        """The conversation of a dialogue, and its mode."""
        beside = [name for name in ("text", "reference") if fields[name] is not None]
        if beside or conversations is not None:
            raise ValueError(f"A `script` stands for {', '.join(beside) or 'conversations'}: pass one of them.")
        dialogue = read_dialogue(script, voices)
        user = {"role": "user"} | fields | {"text": dialogue.text, "reference": dialogue.reference}
        if dialogue.beginning is None:
            return [[user]], "generation"
        beginning = self._encode_joined(dialogue.beginning, sampling_rate)
        return [[user, self.build_assistant_message([beginning])]], "continuation"

    def apply_chat_template(
        self,
        conversation: list[dict] | list[list[dict]],
        chat_template: str | None = None,
        tokenize: bool = True,
        return_dict: bool = True,
        add_generation_prompt: bool | None = None,
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
            add_generation_prompt (`bool`, *optional*):
                Let the model speak next: after a last user message its turn is opened, a last assistant message is left open, to
                be continued. By default it speaks after a user message, and a last assistant message is whole.
            continue_final_message (`bool`, *optional*, defaults to `False`):
                Leave a last assistant message open.
            return_dict (`bool`, *optional*, defaults to `True`):
                `False` returns `input_ids` alone.
            chat_template, tokenize (*optional*):
                Only their defaults: the prompt is not a string.
            kwargs, processor_kwargs:
                The fields of messages, for those that do not carry them, and `sampling_rate`.

        Returns:
            What [`~MossTTSProcessor.__call__`] returns, or `input_ids` `(batch_size, length, 1 + n_vq)` alone.

        Raises:
            ValueError: chats of a batch that end with different roles, and what [`~MossTTSProcessor.__call__`] refuses.
            TypeError: unknown options.
        """
        if chat_template is not None or not tokenize:
            raise ValueError("The prompt is not a string template: audio codes are part of it. Leave `tokenize=True`.")
        options = (processor_kwargs or {}) | kwargs
        sampling_rate = options.pop("sampling_rate", None)
        _check_format(options.pop("padding", True), options.pop("return_tensors", "pt"))
        for name, flag in (
            ("add_generation_prompt", add_generation_prompt),
            ("continue_final_message", continue_final_message),
            ("return_dict", return_dict),
        ):
            if not isinstance(flag, bool | None):
                raise TypeError(f"`{name}` must be True or False, got {flag!r:.80}.")
        if unknown := set(options) - {*SCALAR_FIELDS, "duration_seconds"}:
            raise TypeError(f"`apply_chat_template` got unknown options: {', '.join(sorted(unknown))}.")
        chats = _list("conversation", conversation)
        chats = [chats] if chats and isinstance(chats[0], dict) else [_list("conversation", chat) for chat in chats]
        conversations = [[message_of_chat(message, options) for message in chat] for chat in chats]
        ends_with_user = [bool(chat) and chat[-1]["role"] == "user" for chat in conversations]
        if any(ends_with_user) != all(ends_with_user):
            raise ValueError("All chats of a batch must end with the same role.")
        is_continued = continue_final_message or add_generation_prompt
        mode = "generation" if all(ends_with_user) else "continuation" if is_continued else "computing_loss"
        inputs = self._encode_conversations(conversations, mode, sampling_rate, add_generation_prompt is not False)
        return inputs if return_dict else inputs["input_ids"]

    def build_user_message(
        self,
        text: str | None = None,
        reference: Audio | list[Audio | None] | None = None,
        instruction: str | None = None,
        tokens: int | None = None,
        quality: str | None = None,
        sound_event: str | None = None,
        ambient_sound: str | None = None,
        language: str | None = None,
        duration_seconds: float | None = None,
    ) -> Message:
        """A user message for `conversations`; the fields are those of [`~MossTTSProcessor.__call__`]."""
        message = UserMessage(
            role="user",
            text=text,
            reference=reference,
            instruction=instruction,
            tokens=tokens,
            quality=quality,
            sound_event=sound_event,
            ambient_sound=ambient_sound,
            language=language,
            duration_seconds=duration_seconds,
        )
        message.layout = self.variant.prompt
        return message

    @staticmethod
    def build_assistant_message(audio_codes_list: list[Audio], content: str = AUDIO_PLACEHOLDER) -> Message:
        """An assistant message for `conversations`: one `<|audio|>` in `content` for each item of `audio_codes_list`."""
        return {"role": "assistant", "content": content, "audio_codes_list": audio_codes_list}

    def _encode_conversations(
        self, conversations: list[list[Message]], mode: str, sampling_rate: int | None, opens_reply: bool = True
    ) -> BatchFeature:
        if not conversations:
            raise ValueError("There is nothing to encode: the list of conversations is empty.")
        last_role = "user" if mode == "generation" else "assistant"
        # Codes of the recordings that have been encoded: a voice for many texts is encoded once.
        known: dict[Any, torch.LongTensor] = {}
        sequences = []
        for conversation in conversations:
            # What a model was not taught it may be taught.
            if mode != "computing_loss":
                self._check_abilities(conversation)
            roles = [role_of(message) for message in conversation]
            expected = ["user", "assistant"] * len(roles)
            if not roles or roles != expected[: len(roles)] or roles[-1] != last_role:
                raise ValueError(
                    f"With mode {mode!r} a conversation alternates user and assistant, starts with user and ends with "
                    f"{last_role}; got {', '.join(roles) or 'no messages'}."
                )
            turns = [self._encode_turn(message, sampling_rate, known) for message in conversation[:-1]]
            turns.append(self._encode_turn(conversation[-1], sampling_rate, known, mode))
            if mode == "generation" and opens_reply:
                turns.append(self._text_steps(self._reply_opening()))
            sequences.append(torch.cat(turns))
        return self._pad(sequences)

    def _check_abilities(self, conversation: list[Message]) -> None:
        for message in conversation:
            if role_of(message) != "user" or not has_fields(message):
                continue
            text, language, references = (message.get(name) for name in ("text", "language", "reference"))
            text, language = (value if isinstance(value, str) else None for value in (text, language))
            references = references if isinstance(references, list) else [references]
            num_references = sum(item is not None for item in references)
            self.abilities.check(self.model_name, text, language, num_references)

    def _encode_turn(
        self, message: Message, sampling_rate: int | None, known: dict[Any, torch.LongTensor], mode: str | None = None
    ) -> torch.LongTensor:
        """The steps of a turn; `mode` is that of the last one."""
        config, layout, role = self.model_config, self.variant.prompt, message["role"]
        is_open = mode == "continuation"
        parts_of = self._field_parts if has_fields(message) else self._content_parts
        parts = layout.join(parts_of(message, sampling_rate, known))
        if is_open:
            while parts and isinstance(parts[-1], str) and not parts[-1]:
                parts.pop()
            if not parts or not isinstance(parts[-1], torch.Tensor):
                raise ValueError(
                    "A continuation must end with audio: put nothing after the last audio of the assistant."
                )
        steps, text = [self._text_steps([config.im_start_token_id])], [f"{role}\n"]
        for index, part in enumerate(parts):
            if isinstance(part, str):
                text.append(part)
                continue
            steps += [
                self._text_steps(layout.encode(self._encoder, text)),
                self._audio_steps(part, role, is_open and index == len(parts) - 1),
            ]
            text = []
        if not is_open:
            steps.append(self._text_steps(layout.encode(self._encoder, text)))
        if not is_open and not (mode == "computing_loss" and self.stops_at_end_of_audio):
            steps.append(self._text_steps([config.im_end_token_id, *self._encoder.encode(["\n"])]))
        return torch.cat(steps)

    def _field_parts(
        self, message: Message, sampling_rate: int | None, known: dict[Any, torch.LongTensor]
    ) -> list[Part]:
        fields = prompt_fields(message, self.frame_rate, self._normalize_field)
        references = message.get("reference")
        if references is not None and not isinstance(references, list):
            references = [references]
        if references is not None:
            references = self._encode_references(references, sampling_rate, known)
        return self.variant.prompt.user_parts(references, fields)

    def _content_parts(
        self, message: Message, sampling_rate: int | None, known: dict[Any, torch.LongTensor]
    ) -> list[Part]:
        content, audio = message.get("content", AUDIO_PLACEHOLDER), message.get("audio_codes_list")
        if isinstance(content, str):
            audio = [] if audio is None else _list("audio_codes_list", audio)
            return content_parts(content, self._encode_audio(audio, sampling_rate, known))
        # A path of audio is a string too.
        audio = [item for item in _list("content", content) if not isinstance(item, UserText)]
        codes = iter(self._encode_audio(audio, sampling_rate, known))
        return [UserText(item) if isinstance(item, UserText) else next(codes) for item in content]

    def _reply_opening(self) -> list[int]:
        """Tokens after which the model begins."""
        return [self.model_config.im_start_token_id, *self._encoder.encode(["assistant\n"])]

    def _text_steps(self, tokens: list[int]) -> torch.LongTensor:
        steps = torch.full((len(tokens), 1 + self.model_config.n_vq), self.model_config.audio_pad_code)
        steps[:, 0] = torch.tensor(tokens, dtype=torch.long)
        return steps

    def _audio_steps(self, codes: torch.LongTensor, role: str, is_open: bool) -> torch.LongTensor:
        """A span of audio `(frames, n_vq)` between its tokens, `(steps, 1 + n_vq)`; an open one without its end."""
        raise NotImplementedError

    def _pad(self, sequences: list[torch.LongTensor]) -> BatchFeature:
        config = self.model_config
        lengths = torch.tensor([len(sequence) for sequence in sequences])
        longest = int(lengths.max())
        input_ids = torch.full((len(sequences), longest, 1 + config.n_vq), config.audio_pad_code)
        input_ids[..., 0] = config.pad_token_id
        for index, sequence in enumerate(sequences):
            input_ids[index, longest - len(sequence) :] = sequence
        attention_mask = torch.arange(longest) >= (longest - lengths)[:, None]
        return BatchFeature({"input_ids": input_ids, "attention_mask": attention_mask})


def _check_format(padding: Any, return_tensors: Any) -> None:
    is_padded = padding is True or (isinstance(padding, str) and padding == "longest")
    if not is_padded or not isinstance(return_tensors, str) or return_tensors != "pt":
        raise ValueError("Prompts are left padded torch tensors: use `padding=True` and `return_tensors='pt'`.")


def _list(name: str, value: Any) -> list:
    if not isinstance(value, list | tuple):
        raise TypeError(f"`{name}` must be a list, got {type(value).__name__}.")
    return list(value)
