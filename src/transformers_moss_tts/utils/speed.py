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
"""Speed in words."""


def describe_speed(seconds: float, took: float) -> str:
    """
    How fast speech was made, such as `"2.5 times faster than real time"`.

    Args:
        seconds (`float`): length of the audio.
        took (`float`): time that making it took, in seconds.
    """
    is_faster = seconds >= took
    ratio = max(seconds, took) / max(min(seconds, took), 1e-9)
    if ratio < 1.05:
        return "as fast as real time"
    return f"{ratio:.1f} times {'faster' if is_faster else 'slower'} than real time"


__all__ = ["describe_speed"]
