"""Every released generator speaks in the pipeline, from a folder and from the cache, and no remote code is run."""

import runpy
import sys
from pathlib import Path

import pytest
import soundfile
from released.stand_ins import GENERATORS
from transformers import pipeline


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize(("source", "options"), [("folder", {"trust_remote_code": True}), ("hub", {})])
def test_the_pipeline_speaks(released_folders, released, name, source, options):
    path = released(name) if source == "hub" else str(released_folders / name)
    speak = pipeline("text-to-speech", model=path, **options)
    speech = speak([{"role": "user", "content": "hello world"}], generate_kwargs={"seed": 1, "max_new_tokens": 40})
    stereo = name in ("MOSS-TTS-Local-Transformer-v1.5", "MOSS-TTS-Nano")
    assert speech["sampling_rate"] == (48000 if stereo else 24000)
    assert speech["audio"].shape[:-1] == ((2,) if stereo else ())
    frame = 3840 if stereo else 1920
    assert speech["audio"].shape[-1] > 0 and speech["audio"].shape[-1] % frame == 0


def test_the_example_of_nano_speaks_chunks_in_a_voice(released_hub, monkeypatch, tmp_path, capsys):
    script = Path(__file__).parents[2] / "examples" / "speak" / "nano.py"
    voice = script.parents[1] / "assets" / "reference.ogg"
    text = "It was late, and nobody came. " * 12
    command = ["--reference", str(voice), "--codebooks", "3", "--output", str(tmp_path / "made" / "nano.wav")]
    monkeypatch.setattr(sys, "argv", ["nano.py", text, *command])
    runpy.run_path(str(script), run_name="__main__")
    assert not capsys.readouterr().out.startswith("1 chunks")
    info = soundfile.info(tmp_path / "made" / "nano.wav")
    assert info.duration > 0.24 and (info.samplerate, info.channels) == (48000, 2)
