"""Puts the bundled models into the wheel; everything else stands in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithModels(build_py):
    def run(self):
        super().run()
        models = Path(__file__).parent / "model_cards"
        # An editable install finds them where they are.
        if models.is_dir() and not self.editable_mode:
            target = Path(self.build_lib, "transformers_moss_tts", "model_cards")
            shutil.copytree(models, target, dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithModels})
