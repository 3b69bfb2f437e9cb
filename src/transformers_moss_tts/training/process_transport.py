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
"""Objects that travel to other processes together with a processor."""

import copy
from typing import Any


class HoldsProcessor:
    """
    Pickles `processor` with the parts of its codec: a module with weight normalization cannot be pickled. Worker processes that
    are spawned, as on Windows, macOS and from Python 3.14 on, share the weights in memory.
    """

    def __getstate__(self) -> dict[str, Any]:
        processor = copy.copy(self.processor)
        codec = processor.audio_tokenizer
        if codec is None:
            return self.__dict__
        processor.audio_tokenizer = None
        parts = (type(codec), codec.config, codec.state_dict())
        return self.__dict__ | {"processor": processor, "codec_parts": parts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        parts = state.pop("codec_parts", None)
        self.__dict__ |= state
        if parts is not None:
            codec_class, config, weights = parts
            codec = codec_class(config).eval()
            codec.load_state_dict(weights, assign=True)
            self.processor.audio_tokenizer = codec
