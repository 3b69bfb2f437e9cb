"""Puts the models that speak at once into the wheel; everything else stands in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


# The generator that speaks by default, and its codec. The other models stay in the repository, with all pictures and reports.
MODELS = ("moss-tts-local-tiny", "moss-audio-tokenizer-tiny")
SUFFIXES = {".jinja", ".json", ".md", ".safetensors"}


class BuildWithModels(build_py):
    def run(self):
        super().run()
        # An editable install finds them where they are.
        if self.editable_mode:
            return
        for name in MODELS:
            source = Path(__file__).parent / "model_cards" / name
            target = Path(self.build_lib, "transformers_moss_tts", "model_cards", name)
            target.mkdir(parents=True, exist_ok=True)
            for path in source.iterdir():
                if path.suffix in SUFFIXES:
                    shutil.copyfile(path, target / path.name)


setup(cmdclass={"build_py": BuildWithModels})
