"""What Slurm is asked for: ``--slurm KEY=VALUE``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from repro.system.errors import UsageError, unknown

CLUSTERS = ("slurm", "local", "debug")
NUMBERS = ("time", "cpus_per_task", "gpus_per_node", "array_parallelism")
TEXTS = (
    *("partition", "account", "qos", "constraint", "exclude", "nodelist", "gres", "mem"),
    *("mem_per_cpu", "mem_per_gpu"),
)
_ALLOWED = re.compile(r"[\w.,:/@%+=&|*\[\]-]+", re.ASCII)


@dataclass(frozen=True)
class SlurmOptions:
    """What ``sbatch`` is asked for, by submitit's names.

    Attributes:
        cluster: ``slurm``; ``local`` and ``debug`` are submitit's own without Slurm: a process for
            each job on this machine, or all of them in this process.
    """

    parameters: dict[str, str | int] = field(default_factory=dict)
    cluster: str = "slurm"

    @classmethod
    def parse(cls, pairs: Iterable[str]) -> SlurmOptions:
        """From ``KEY=VALUE`` of the command line.

        Raises:
            UsageError: an unknown key, a value that sbatch may not be given, or no time limit.
        """
        found: dict[str, str | int] = {}
        for pair in pairs:
            key, equals, value = (part.strip() for part in pair.partition("="))
            if not equals or not value:
                raise UsageError(f"--slurm is KEY=VALUE such as partition=gpu, not {pair!r}")
            if key not in ("cluster", *NUMBERS, *TEXTS):
                raise unknown("--slurm key", key, ("cluster", *NUMBERS, *TEXTS))
            if key in NUMBERS and not (value.isdecimal() and int(value) >= 1):
                raise UsageError(f"--slurm {key} is a whole number from 1, not {value!r}")
            if not _ALLOWED.fullmatch(value):  # it becomes a line of a script
                raise UsageError(f"--slurm {key} has letters, digits and _.,:/@%+=&|*-[] only")
            found[key] = int(value) if key in NUMBERS else value
        cluster = str(found.pop("cluster", "slurm"))
        if cluster not in CLUSTERS:
            raise unknown("--slurm cluster", cluster, CLUSTERS)
        if "time" not in found:
            raise UsageError(
                "--engine slurm needs the time limit of a job in minutes: --slurm time=1440"
            )
        return cls(found, cluster)

    @property
    def threads(self) -> int:
        """CPU threads of a job."""
        return int(self.parameters.get("cpus_per_task", 1))

    @property
    def has_gpu(self) -> bool:
        """Whether a job asks for a GPU."""
        return "gpus_per_node" in self.parameters or "gpu" in str(self.parameters.get("gres", ""))
