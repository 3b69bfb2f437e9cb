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
"""
The server on several machines, or several times on one: a deployment of Ray Serve.

```sh
serve run transformers_moss_tts.serving.ray:app model=moss-tts-local-tiny num_replicas=2
```
"""

import os
from pathlib import Path
from typing import Annotated

import torch
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field, model_validator
from ray import serve
from ray.serve.config import AutoscalingConfig, BackpressureConfig
from transformers.utils import logging

from ..bundled_models import bundled_model
from ..loading.checkpoints import load_generator, read_settings
from ..utils.devices import use_threads
from .app import ServerOptions, create_app


_OWN_NAMES = ("localhost", "127.0.0.1")
# Seconds after which clients of a full queue are asked to come again.
_RETRY_AFTER = 5.0
Count = Annotated[int, Field(ge=1)]


class RayArguments(BaseModel):
    """
    Arguments of [`app`], which `serve run` takes as `name=value` and a configuration of Ray Serve under `args`.

    Args:
        model (`str`, *optional*): folder or Hub id of a generator, or name of a bundled one, which is the default.
        model_name (`str`, *optional*): name of the model in requests; the last part of `model` by default.
        voices (`Path`, *optional*): folder of the voices, the same one on all machines.
        api_key (`str`, *optional*): key that requests must send; the variable `MOSS_TTS_API_KEY` by default. Without one, requests
            must call the server by a name of this machine.
        allow_reference_urls, max_batch_size: see [`ServerOptions`].
        max_waiting (`int`, *optional*, defaults to 128): most requests that wait for a replica.
        device (`str`, *optional*): such as "cpu" or "cuda"; the fastest there is by default.
        num_replicas (`int`, *optional*, defaults to 1): number of replicas, each with a copy of the model.
        max_replicas (`int`, *optional*): most replicas, of which there are then as many as the load asks for, `num_replicas` at least.
        target_ongoing_requests (`float`, *optional*): requests that a replica has on average, with `max_replicas`; `max_batch_size`
            by default.
        num_cpus (`float`, *optional*, defaults to 1.0): processors of a replica, which are its threads too.
        num_gpus (`float`, *optional*): GPUs of a replica; one where the machine that starts the application has one.
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model: str | None = None
    model_name: str | None = None
    voices: Path | None = None
    api_key: str | None = None
    allow_reference_urls: bool = False
    max_batch_size: Count = 8
    max_waiting: Count = 128
    device: str | None = None
    num_replicas: Count = 1
    max_replicas: Count | None = None
    target_ongoing_requests: Annotated[float, Field(gt=0)] | None = None
    num_cpus: Annotated[float, Field(gt=0)] = 1.0
    num_gpus: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _check_scaling(self) -> "RayArguments":
        if self.max_replicas is None and self.target_ongoing_requests is not None:
            raise ValueError("`target_ongoing_requests` is of a number that follows the load: give `max_replicas` too")
        if self.max_replicas is not None and self.max_replicas < self.num_replicas:
            raise ValueError(f"`max_replicas` must be at least `num_replicas`, which is {self.num_replicas}")
        return self


def app(args: RayArguments) -> serve.Application:
    """
    The application of Ray Serve: replicas of the app of [`create_app`].

    Args:
        args ([`RayArguments`]): what each replica serves, and how many there are.

    Raises:
        ValueError: if there is no generator of the name.
    """
    name = _absolute(args.model or bundled_model())
    # Before replicas start, which would fail again and again.
    read_settings(name)
    api_key = args.api_key or os.environ.get("MOSS_TTS_API_KEY")
    options = ServerOptions(
        model_name=args.model_name or name.rstrip("/").rsplit("/", 1)[-1],
        voices=None if args.voices is None else args.voices.absolute(),
        api_key=api_key,
        allow_reference_urls=args.allow_reference_urls,
        max_batch_size=args.max_batch_size,
        max_waiting=args.max_waiting,
        allowed_hosts=("*",) if api_key else _OWN_NAMES,
    )
    device = args.device

    def build() -> FastAPI:
        return _load_app(name, device, options)

    num_gpus = float(torch.cuda.is_available()) if args.num_gpus is None else args.num_gpus
    deployment = serve.deployment(
        serve.ingress(build)(_Replica),
        name="moss-tts",
        # Requests beyond wait at the proxy, whence they go to the replica that is free first and outlive one that dies.
        max_ongoing_requests=2 * args.max_batch_size + options.max_sessions,
        max_queued_requests=args.max_waiting,
        backpressure_config=BackpressureConfig(status_code=429, retry_after_s=_RETRY_AFTER),
        ray_actor_options={"num_cpus": args.num_cpus, "num_gpus": num_gpus},
        **_scaling(args),
    )
    return deployment.bind()


class _Replica:
    """A copy of the model, which Ray replaces when it does not speak any more."""

    def check_health(self) -> None:
        if not self.app.state.server.engine.is_alive:  # type: ignore[attr-defined]
            raise RuntimeError("The engine has ended.")


def _load_app(name: str, device: str | None, options: ServerOptions) -> FastAPI:
    logging.disable_progress_bar()
    model, processor = load_generator(name, device)
    use_threads(model)
    logging.set_verbosity_error()
    return create_app(model, processor, options)


def _scaling(args: RayArguments) -> dict:
    if args.max_replicas is None:
        return {"num_replicas": args.num_replicas}
    target = args.target_ongoing_requests or float(args.max_batch_size)
    return {
        "autoscaling_config": AutoscalingConfig(
            min_replicas=args.num_replicas, max_replicas=args.max_replicas, target_ongoing_requests=target
        )
    }


def _absolute(name: str) -> str:
    """The name of a model, of a folder where replicas find it too."""
    return str(Path(name).absolute()) if Path(name).is_dir() else name


__all__ = ["RayArguments", "app"]
