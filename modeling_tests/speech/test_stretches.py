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
"""How long texts are parted, and who says what in scripts."""

import pytest

from transformers_moss_tts.speech.durations import expected_duration
from transformers_moss_tts.speech.script import Turn, assign_voices, read_script, text_of
from transformers_moss_tts.speech.stretches import join_texts, plan_stretches


def plan(text: str, seconds: float = 6, **options) -> list[tuple[str, float]]:
    stretches = plan_stretches(text, seconds, sentence_pause=0.2, paragraph_pause=0.7, **options)
    return [(stretch.text, stretch.pause) for stretch in stretches]


def test_sentences_are_grouped_up_to_the_budget_within_a_paragraph():
    text = "Hello there. How are you? The boat was out at sea for many days.\n\nThe end."
    assert plan(text, 4) == [
        ("Hello there. How are you?", 0.2),
        ("The boat was out at sea for many days.", 0.7),
        ("The end.", 0.7),
    ]


@pytest.mark.parametrize(
    "text,expected",
    [
        ("One. [pause 1.5s] Two.", [("One.", 1.5), ("Two.", 0.7)]),
        ("One. [PAUSE 250 ms] [pause: 1] Two.", [("One.", 1.25), ("Two.", 0.7)]),
        ("[pause 2s] One.", [("", 2.0), ("One.", 0.7)]),
        ("One.\n\n[pause 2s]\n\nTwo.", [("One.", 2.7), ("Two.", 0.7)]),
        ("One. [pause 2s]\n\nTwo.", [("One.", 2.0), ("Two.", 0.7)]),
        ("One.\n\n* * *\n\nTwo.", [("One.", 0.7), ("Two.", 0.7)]),
        ("他说你好。[pause 1s]再见。", [("他说你好。", 1.0), ("再见。", 0.7)]),
    ],
)
def test_pauses(text, expected):
    assert plan(text) == expected


def test_a_sentence_beyond_the_budget_is_cut_at_its_marks():
    text = "He saw the sea, and the sand, and the boats; and the old man, who had no name, went home " + "slowly " * 30
    for budget in (3, 6):
        pieces = plan(text + ".", budget)
        assert " ".join(piece for piece, _ in pieces).split() == (text + ".").split()
        assert all(expected_duration(piece) <= budget for piece, _ in pieces)
    assert plan(text, 6)[0][0].endswith((",", ";"))
    without_marks = "海" * 200
    pieces = plan(without_marks)
    assert "".join(piece for piece, _ in pieces) == without_marks and len(pieces) > 3


def test_texts_are_joined_as_their_scripts_are():
    assert join_texts(["One.", "", "Two."]) == "One. Two."
    assert join_texts(["真的吗？", "是。"]) == "真的吗？是。"
    assert join_texts(["네.", "아니요."]) == "네. 아니요."


@pytest.mark.parametrize(
    "text,message",
    [
        ("... !", "no letter and no digit"),
        ("", "nothing to say"),
        ("[pause 2s]", "nothing to say"),
        ("One. [pause] Two.", r"\[pause\]' is no pause"),
        ("One. [pause soon] Two.", "is no pause: write"),
        ("One. [pause -1s] Two.", "is no pause"),
        ("One. [pause 99999s] Two.", "at most 600 s"),
    ],
)
def test_bad_texts(text, message):
    with pytest.raises(ValueError, match=message):
        plan(text)


def test_scripts_with_marks_and_with_names(tmp_path):
    marked = [Turn("S1", "Hello. He said: no."), Turn("S2", "Yes?"), Turn("S1", "Well.")]
    assert read_script("[S1] Hello. He said: no. [S2]Yes?\n[S1] Well.") == marked
    named = "Anna: Hello.\nHe said nothing then: not a word.\n\nOld Ben:  Yes?\n"
    turns = [Turn("Anna", "Hello. He said nothing then: not a word."), Turn("Old Ben", "Yes?")]
    with pytest.raises(ValueError, match="'He said nothing then'"):
        assign_voices(read_script(named), {"Anna": "a", "Old Ben": "b"})
    named = named.replace("He said nothing then: not", "“He said: not")
    turns = [Turn("Anna", "Hello. “He said: not a word."), Turn("Old Ben", "Yes?")]
    path = tmp_path / "play.txt"
    path.write_text(named, encoding="utf-8")
    assert read_script(named) == read_script(path) == read_script(str(path)) == turns
    assert read_script("张三：你好。\n李四：好。") == [Turn("张三", "你好。"), Turn("李四", "好。")]


def test_voices_of_speakers():
    turns = read_script("[S2] a [S1] b")
    assert assign_voices(turns, {"[S1]": 1, "S2": 2}) == {"S2": 2, "S1": 1}
    assert assign_voices(turns, [1, 2]) == {"S2": 2, "S1": 1}
    assert assign_voices(read_script("Anna: a\nBen: b"), ["x", "y"]) == {"Anna": "x", "Ben": "y"}


@pytest.mark.parametrize(
    "script,voices,message",
    [
        ("[S1] a [S2] b", {"S1": 1}, "Nobody gave a voice for 'S2' of the script; there are voices of 'S1'"),
        ("Anna: a", None, "Nobody gave a voice for 'Anna' of the script; there is no voice at all"),
        ("Anna: a", {"Anna": None}, "Nobody gave"),
        ("[S1] a [S3] b", [1, 2, None], "Nobody gave a voice for 'S3'"),
        ("Anna: a", {"Anna": 1, "Ben": 2}, "voice of 'Ben', who says nothing"),
        ("Anna: a", [1, 2], "2 voices for 1 speakers"),
        ("Hello there.", [1], "Line 1 of the script does not say who"),
        ("Hello. [S1] There.", [1], "does not say who says 'Hello.'"),
        ("[S1] ... [S2] !", [1, 2], "nothing to say"),
        ("", [1], "nothing to say"),
    ],
)
def test_bad_scripts(script, voices, message):
    with pytest.raises(ValueError, match=message):
        assign_voices(read_script(script), voices)


def test_a_text_is_read_from_its_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("Hello.", encoding="utf-8")
    (tmp_path / "b.txt").write_bytes("Müller".encode("latin-1"))
    assert text_of("a.txt") == text_of(tmp_path / "a.txt") == "Hello." and text_of("c.txt") == "c.txt"
    with pytest.raises(ValueError, match="not UTF-8"):
        text_of("b.txt")
    with pytest.raises(FileNotFoundError):
        text_of(tmp_path / "c.txt")
    with pytest.raises(TypeError, match="got int"):
        text_of(3)
