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
"""Names that differ between the supported versions of transformers."""

from dataclasses import fields

from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.utils.deprecation import deprecate_kwarg


# Name of the key/value cache in arguments and outputs of transformers' models: `past_key_values` ends with transformers 5.24.0.
CACHE_NAME = "cache" if "cache" in {field.name for field in fields(BaseModelOutputWithPast)} else "past_key_values"
_OTHER_NAME = "past_key_values" if CACHE_NAME == "cache" else "cache"

# transformers takes the old name of the cache until 5.40.0. Before 5.24.0 it passes that name itself: no warning then.
_OLD_NAME_ENDS = "5.40.0" if CACHE_NAME == "cache" else "5.0.0"

# For functions with an argument `cache`.
takes_past_key_values = deprecate_kwarg(
    "past_key_values", version=_OLD_NAME_ENDS, new_name="cache", raise_if_both_names=True
)
# For functions that pass the cache on to transformers.
takes_either_cache_name = deprecate_kwarg(
    _OTHER_NAME, version=_OLD_NAME_ENDS, new_name=CACHE_NAME, raise_if_both_names=True
)
