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
"""What is said where an optional package is missing."""

import pytest

from transformers_moss_tts.utils import extras


def test_a_checkout_names_the_extra():
    line = extras.install_line("train")
    assert line.startswith("pip install -e '") and line.endswith("[train]'")


def test_a_wheel_names_the_packages(monkeypatch, tmp_path):
    declared = ["numpy>=1.26", 'datasets>=3 ; extra == "train"', "jiwer>=4; extra == 'eval'", 'peft; extra == "train"']
    monkeypatch.setattr(extras, "_CHECKOUT", tmp_path)
    monkeypatch.setattr(extras, "requires", lambda name: declared)
    assert extras.install_line("train") == "pip install 'datasets>=3' 'peft'"
    with pytest.raises(ImportError, match=r"^Training needs no_such_package, of the extra 'train': pip install 'data"):
        extras.require("Training", "train", "datasets", "no_such_package")
    extras.require("Training", "train", "datasets")
