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
"""The packages that every evaluation needs, whatever its scorers."""

from ...utils.extras import install_line, missing_packages


_PACKAGES = ("jiwer", "matplotlib", "scipy", "whisper_normalizer")


def check_packages() -> None:
    """
    Raises:
        ValueError: if a package of the extra `eval` is missing.
    """
    if absent := missing_packages(*_PACKAGES):
        raise ValueError(f"Evaluation needs {', '.join(absent)}, of the extra 'eval': {install_line('eval')}")


__all__ = ["check_packages"]
