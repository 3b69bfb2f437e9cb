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

"""Upload of a folder to the Hub, through huggingface_hub's own functions, and what has to be right before and after it."""

import glob
import json
import os
import re
from pathlib import Path, PurePosixPath

from huggingface_hub import CommitInfo, HfApi
from huggingface_hub.errors import HfHubHTTPError, HTTPError
from huggingface_hub.utils import DEFAULT_IGNORE_PATTERNS, filter_repo_objects, validate_repo_id

from ..utils.atomic_files import TEMPORARY_PATTERNS, is_temporary
from ..utils.text_files import read_text


# What Trainer keeps to go on with a training; nobody else needs it, and all of it is pickles.
_OF_TRAINER = re.compile(r"(training_args\.bin|optimizer\.(pt|bin)|scheduler\.pt|scaler\.pt|rng_state(_\d+)?\.pth)")
# What PEFT writes into the card of an adapter where there is something to say.
_BLANK = "[More Information Needed]"
# Loading a pickle runs code.
_PICKLES = {".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth"}
# Files that name other models, and the keys under which they do.
_REFERENCES = {
    "processor_config.json": ("audio_tokenizer_name_or_path", "set `processor.codec_path`"),
    "config.json": ("audio_tokenizer_name_or_path", "set `config.audio_tokenizer_name_or_path`"),
    "adapter_config.json": ("base_model_name_or_path", "set `peft_config.base_model_name_or_path`"),
}


def list_files(folder: str | os.PathLike) -> dict[str, int]:
    """
    What [`upload`] would upload: the size in bytes of every file, by its path in the repository.

    Raises:
        ValueError: if there is nothing to upload, a symbolic link leads out of the folder or to another folder, weights are
            not in safetensors, or the processor or adapter names a model that only this machine has.
    """
    files = _list_all(folder)
    for name in left_out(folder):
        files.pop(name)
    if not files:
        raise ValueError(f"There is nothing to upload in {folder!s}.")
    if pickles := [name for name in files if PurePosixPath(name).suffix.lower() in _PICKLES]:
        raise ValueError(
            f"{', '.join(pickles)}: only safetensors are uploaded, a pickle can run code. Upload the folder that "
            "`save_pretrained` wrote, or remove them."
        )
    for path in files.values():
        _check_reference(path, Path(folder).resolve())
    return {name: path.stat().st_size for name, path in files.items()}


def left_out(folder: str | os.PathLike) -> dict[str, str]:
    """
    Files of the folder that [`upload`] leaves out, with the reason: the state of `Trainer`, and a card that PEFT wrote and nobody
    filled in.

    Raises:
        ValueError: see [`list_files`].
    """
    reasons = {}
    for name, path in _list_all(folder).items():
        if _OF_TRAINER.fullmatch(path.name):
            reasons[name] = "a pickle of Trainer, for going on with the training"
        elif path.name == "README.md" and _BLANK in path.read_text(encoding="utf-8", errors="replace"):
            reasons[name] = "a card that says nothing yet; `render_model_card` writes one"
    return reasons


def _list_all(folder: str | os.PathLike) -> dict[str, Path]:
    root = Path(folder).resolve()
    if not root.is_dir():
        raise ValueError(f"There is no folder {folder!s}.")
    files = {}
    for parent, folders, names in os.walk(root):
        for name in sorted(names) + [name for name in folders if Path(parent, name).is_symlink()]:
            path = Path(parent, name)
            if is_temporary(path.relative_to(root)):
                continue
            _check_link(path, root)
            files[path.relative_to(root).as_posix()] = path
    # As huggingface_hub leaves them out: .git and its own cache.
    return {name: files[name] for name in sorted(filter_repo_objects(files, ignore_patterns=DEFAULT_IGNORE_PATTERNS))}


def _check_link(path: Path, root: Path) -> None:
    target = path.resolve()
    if not target.is_relative_to(root):
        raise ValueError(f"{path} is a link to {target}, outside of the folder. Copy the file to where the link is.")
    if path.is_symlink() and not target.is_file():
        raise ValueError(f"{path} is a link, but not to a file. Copy what is meant to where the link is.")


def _check_reference(path: Path, root: Path) -> None:
    if path.name not in _REFERENCES:
        return
    key, remedy = _REFERENCES[path.name]
    try:
        fields = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON ({error}): save it again.") from error
    name = fields.get(key) if isinstance(fields, dict) else fields
    if name is None:
        return
    if not isinstance(name, str) or "\0" in name:
        raise ValueError(f"{path} must be an object with a string under {key!r}, got {name!r:.80}.")
    beside = (path.parent / name).resolve()
    is_absolute = Path(name).is_absolute()
    if beside.is_dir() and beside.is_relative_to(root) and not is_absolute:
        return
    # A Hub id has a namespace.
    if is_absolute or beside.is_dir() or name.startswith((".", "~")) or "/" not in name:
        raise ValueError(
            f"{path} names {name!r}, which nobody else has. To say where others find it, {remedy} to a Hub id or to the name "
            "of a folder beside the file, and save again."
        )


def upload(
    folder: str | os.PathLike,
    repo_id: str,
    *,
    commit_message: str | None = None,
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
) -> CommitInfo:
    """
    Uploads the files of a folder to a model repository, which is made if there is none. An upload that broke off goes on
    where it was when it is started again: what the Hub has is not sent twice.

    Args:
        folder (`str` or `os.PathLike`):
            Folder, of which the files that [`list_files`] lists are uploaded.
        repo_id (`str`):
            Name of the repository, `"namespace/name"`.
        commit_message (`str`, *optional*):
            Summary of the commit.
        private (`bool`, *optional*):
            Whether a repository that is made is private; by default as the namespace has it.
        token (`str` or `bool`, *optional*):
            By default the one of `hf auth login`.
        revision (`str`, *optional*):
            Branch to upload to, made if there is none; by default the main one.
        create_pr (`bool`, *optional*, defaults to `False`):
            Open a pull request with the files. It goes on with `revision="refs/pr/N"` if it breaks off.

    Returns:
        [`~huggingface_hub.CommitInfo`]. The files are on the Hub when it is returned.

    Raises:
        ValueError: see [`list_files`].
        OSError: if the Hub refused the files, could not be reached, or does not have all of them afterwards.
    """
    validate_repo_id(repo_id)
    files = list_files(folder)
    api = HfApi(library_name="transformers-moss-tts", token=token)
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        if revision is not None and not revision.startswith("refs/"):
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=Path(folder),
            ignore_patterns=[*TEMPORARY_PATTERNS, *(glob.escape(name) for name in left_out(folder))],
            commit_message=commit_message,
            revision=revision,
            create_pr=create_pr,
        )
        verified = api.verify_repo_checksums(repo_id, revision=commit.oid, local_dir=Path(folder))
    except (HTTPError, RuntimeError) as error:
        raise OSError(f"The upload of {folder!s} to {repo_id} did not end well: {_reason(error)}") from error
    different = {*verified.extra_paths, *(mismatch["path"] for mismatch in verified.mismatches)}
    if missing := sorted(different & files.keys()):
        raise OSError(
            f"The Hub took the commit {commit.oid} of {repo_id}, but these files are not in it as they are here: "
            f"{', '.join(missing)}. Does a .gitignore leave them out?"
        )
    return commit


def _reason(error: Exception) -> str:
    # Around what went wrong with one file huggingface_hub puts a RuntimeError that names the file.
    cause = (error.__cause__ or error) if isinstance(error, RuntimeError) else error
    reason = str(error) if cause is error else f"{error} {cause}"
    if isinstance(cause, HfHubHTTPError) and cause.response.status_code == 401:
        return f"{reason}\nThe token is missing, has expired or may not write there: `hf auth login` gets a new one."
    return f"{reason}\nStarted again, the upload goes on where it was."


__all__ = ["left_out", "list_files", "upload"]
