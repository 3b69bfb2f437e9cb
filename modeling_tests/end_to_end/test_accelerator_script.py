"""The prepared run of an accelerator, with tiny shapes on a CPU and without its compiled modes."""

import json
import logging
import runpy
import sys
from pathlib import Path


SCRIPT = Path(__file__).parents[2] / "examples" / "benchmarks" / "accelerator.py"


def test_every_generator_and_codec_is_measured(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    script = runpy.run_path(str(SCRIPT))
    main = script["main"]
    names = main.__globals__
    names["MODES"] = {name: names["MODES"][name] for name in ("eager", "graphs")}
    arguments = "--small --device cpu --dtype float32 --batches 1 --output".split()
    # The other tests listen to the logger.
    monkeypatch.setattr(logging.getLogger("transformers_moss_tts"), "setLevel", lambda level: None)
    monkeypatch.setattr(sys, "argv", ["accelerator.py", *arguments, str(tmp_path / "run")])
    main()
    summary = json.loads((tmp_path / "run.json").read_text())
    results = {(result["model"], result.get("mode")): result for result in summary["results"]}
    for name in names["GENERATORS"]:
        result = results[name, "eager"]
        assert "left_out" not in result, result
        assert results[name, "graphs"]["left_out"] == "it needs a CUDA card"
        assert result["steps_per_second"] > 0 and result["first_audio_ms"] > 0 and result["share_of_bandwidth"] > 0
    for name in names["CODECS"]:
        assert results[name, None]["decode_audio_seconds_per_second"] > 0, results[name, None]
    page = (tmp_path / "run.md").read_text()
    assert page.startswith("CPU, float32") and all(name in page for name in names["GENERATORS"])
