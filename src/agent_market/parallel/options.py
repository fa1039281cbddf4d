"""Where independent work is done."""

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from agent_market.options import Options

Backend = Literal["threading", "loky"]


class ComputeOptions(Options):
    """Where fits, trials, placebo runs, parts of features and freqtrade's backtests are computed; no number changes."""

    backend: Literal["threading", "loky", "dask"] = Field(
        "threading",
        description="threading: fits share this process, and only work that cannot gets processes of its own; "
        "loky: processes of this machine; dask: workers of a cluster (the extra `distributed`)",
    )
    scheduler: str | None = Field(None, description="backend=dask: address of the scheduler, tcp://host:port")
    shared_folder: str | None = Field(
        None,
        description="backend=dask: where large arrays wait for workers; a folder that all machines see under this "
        "path, or an fsspec URL (s3://bucket/folder)",
    )
    timeout: float = Field(
        60.0, gt=0, description="backend=dask: how long a scheduler, or the first worker, is waited for, seconds"
    )

    @field_validator("scheduler")
    @classmethod
    def _is_an_address(cls, scheduler: str | None) -> str | None:
        if scheduler is not None and not re.fullmatch(r"(tcp|tls)://(\[[0-9a-fA-F:]+\]|[^\s:/\[\]]+):\d+", scheduler):
            raise ValueError("write the scheduler's address as `dask scheduler` prints it: tcp://host:port, or tls://")
        return scheduler

    @model_validator(mode="after")
    def _cluster_is_known(self) -> Self:
        if self.backend == "dask" and self.scheduler is None:
            raise ValueError(
                "backend is dask, which needs scheduler: the address that `dask scheduler` prints, tcp://host:8786"
            )
        if self.backend == "dask" and self.shared_folder is None:
            raise ValueError(
                "backend is dask, which needs shared_folder: a folder that this machine and all workers see under one "
                "path, or an fsspec URL"
            )
        return self
