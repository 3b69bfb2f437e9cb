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
"""What clients send and get: OpenAI's speech protocol, and the fields that other servers of these models have beside it."""

from typing import Annotated, Any, Literal

from fastapi import HTTPException
from pydantic import BaseModel, ConfigDict, Field, field_validator

from ..moss_tts.generation_parameters import SAMPLING_PARAMETERS
from .encoding import RESPONSE_FORMATS


DEFAULT_VOICE = "default"

Number = Annotated[float, Field(strict=True)]
Whole = Annotated[int, Field(strict=True)]


class SamplingFields(BaseModel):
    """What every request says of the generation. Fields that are not there are refused, and nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True)

    max_new_tokens: Annotated[Whole, Field(ge=1)] | None = None
    seed: Annotated[Whole, Field(ge=0, lt=2**63)] | None = None
    text_temperature: Number | None = None
    text_top_p: Number | None = None
    text_top_k: Whole | None = None
    audio_temperature: Number | None = None
    audio_top_p: Number | None = None
    audio_top_k: Whole | None = None
    audio_repetition_penalty: Number | None = None


class SpeechRequest(SamplingFields):
    """
    Body of `POST /v1/audio/speech`. `model`, `input`, `voice`, `instructions`, `response_format`, `speed` and `stream_format` are
    OpenAI's; `stream` is another way to say `stream_format="audio"`.
    """

    input: str
    model: str | None = None
    voice: str = DEFAULT_VOICE
    instructions: str | None = None
    response_format: Literal[RESPONSE_FORMATS] = "mp3"  # type: ignore[valid-type]
    speed: Annotated[Number, Field(ge=0.25, le=4.0)] = 1.0
    stream_format: Literal["audio", "sse"] | None = None
    stream: bool = False
    # Of vLLM-Omni and SGLang-Omni.
    ref_audio: str | None = None
    ref_text: str | None = None
    # Ours: voices of a dialogue by speaker ("S1"), kept ones by name, or recordings as `ref_audio`.
    voices: dict[str, str] | None = None
    language: str | None = None
    task_type: Literal["Base", "CustomVoice", "VoiceDesign"] | None = None

    @field_validator("voice", mode="before")
    @classmethod
    def _name_of_voice(cls, value: Any) -> Any:
        # OpenAI's clients can name a voice as an object too.
        return value["id"] if isinstance(value, dict) and set(value) == {"id"} else value

    @field_validator("input")
    @classmethod
    def _has_text(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("there is nothing to say")
        return value.strip()

    @property
    def is_streamed(self) -> bool:
        return self.stream or self.stream_format is not None

    @property
    def sampling(self) -> dict[str, float]:
        given = {name: getattr(self, name) for name in SAMPLING_PARAMETERS}
        return {name: value for name, value in given.items() if value is not None}


class ProtocolError(HTTPException):
    """
    An error in OpenAI's shape.

    Args:
        status_code (`int`): status of HTTP.
        message (`str`): what is wrong, for the client.
        param (`str`, *optional*): field of the request that it is about.
        code (`str`, *optional*): name of the error.
    """

    def __init__(
        self,
        status_code: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ):
        super().__init__(status_code, message, headers)
        self.param, self.code = param, code


def error_body(status_code: int, message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """Body of an error as OpenAI's clients read it."""
    kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
    kind = kinds.get(status_code, "invalid_request_error" if status_code < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


__all__ = ["DEFAULT_VOICE", "ProtocolError", "SamplingFields", "SpeechRequest", "error_body"]
