"""Every Python block of the README runs as it stands, in its order, in an empty folder; only the names are of a tiny model."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from transformers_moss_tts.audio_io import load_audio, save_audio


ROOT = Path(__file__).resolve().parents[2]
# What the README names, and what there is to put in its place.
REPLACED = {
    "OpenMOSS-Team/MOSS-TTS": "checkpoint",
    "OpenMOSS-Team/MOSS-Audio-Tokenizer": "checkpoint/codec",
    "max_steps=5000": "max_steps=1, report_to='none'",
    "max_steps=300": "max_steps=1, report_to='none'",
    "max_steps=20000": "max_steps=2, batch_size=1, crop_seconds=0.4",
}


def test_every_block_runs(tmp_path):
    subprocess.run(
        [sys.executable, ROOT / "examples" / "benchmarks" / "random_checkpoint.py", tmp_path / "checkpoint"],
        check=True,
    )
    voice = load_audio(ROOT / "examples" / "assets" / "reference.ogg", 24000)
    for name, seconds in (("voice", 2), ("recording", 3), ("beginning", 1), ("hello", 1), ("a", 1), ("b", 1)):
        save_audio(np.ascontiguousarray(voice[: seconds * 24000]), tmp_path / f"{name}.wav", 24000)
    (tmp_path / "recordings").mkdir()
    (tmp_path / "recordings" / "a.wav").symlink_to(tmp_path / "a.wav")
    (tmp_path / "recordings" / "a.txt").write_text("What a says.")
    (tmp_path / "sentences.txt").write_text("Hello there.\n")
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) > 8
    # Of random weights some generations have no frame: with a seed it is the same ones each time.
    program = "\n".join(["from transformers import set_seed\n\nset_seed(0)", *blocks])
    for name, replacement in REPLACED.items():
        assert name in program
        program = re.sub(rf'{re.escape(name)}(?=["\W])', replacement, program)
    (tmp_path / "blocks.py").write_text(program)
    ran = subprocess.run([sys.executable, "blocks.py"], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr[-3000:]
    for name in ("one.wav", "two.wav", "decoded.wav"):
        assert (tmp_path / name).stat().st_size > 1000
    assert "Whisper base" in (tmp_path / "runs" / "sentences" / "report.md").read_text()
    assert (tmp_path / "runs" / "codec" / "model" / "model.safetensors").is_file()
