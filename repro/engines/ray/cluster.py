"""The Ray cluster to run on: an existing one, or a new one on the loopback address."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from repro.system.errors import ReproError, UsageError

PROBE_S = 5.0
HEALTH_S = 30.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")
MISSING = "--engine ray needs Ray, which is not installed: pip install 'repro-fewshot[ray]'"


@dataclass(frozen=True)
class RayOptions:
    """Where and with what a cell runs; ``address`` None starts a cluster on this machine."""

    address: str | None = None
    cpus_per_cell: float = 1.0
    gpus_per_cell: float = 0.0

    @property
    def threads(self) -> int:
        return max(1, int(self.cpus_per_cell))


class ClusterError(ReproError):
    """The Ray cluster cannot be reached or used."""


@contextlib.contextmanager
def cluster(options: RayOptions) -> Iterator[Any]:
    """Connect to a cluster, or start one that listens on the loopback address; yields ``ray``.

    Raises:
        UsageError: Ray is not installed, or no node is large enough for a cell.
        ClusterError: the cluster cannot be reached.
    """
    address = options.address or os.environ.get("RAY_ADDRESS") or "local"
    if address.startswith("ray://"):
        raise UsageError(
            f"--address {address}: the driver has to be on a node of the cluster; run repro there "
            "with --address auto or HOST:PORT (of `ray start`)"
        )
    host, _, port = address.rpartition(":")
    if address == "local" or host in LOOPBACK:
        # Ray otherwise replaces the loopback address by one that others can reach.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise UsageError(MISSING) from None
    if address not in ("local", "auto"):
        _probe(address, host, port)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    wanted: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        wanted |= {"include_dashboard": False, "num_cpus": os.cpu_count()}
    try:
        ray.init(address, **wanted)
    except Exception as error:  # Ray raises its own and several built-in types
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ClusterError(f"cannot use the Ray cluster at {address}: {first}") from error
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    try:
        check_fits(ray, options)
        yield ray
    finally:
        ray.shutdown()


def _probe(address: str, host: str, port: str) -> None:
    """Ray itself would wait for minutes."""
    hint = f"no Ray cluster at --address {address}"
    try:
        with socket.create_connection((host.strip("[]"), int(port)), PROBE_S):
            pass
    except (OSError, ValueError, OverflowError) as error:
        raise ClusterError(
            f"{hint} ({error}); expected HOST:PORT of a running `ray start --head`, or auto on one "
            "of its nodes"
        ) from error
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        done = subprocess.run(command, capture_output=True, timeout=HEALTH_S, check=False)
        healthy = done.returncode == 0
    except subprocess.TimeoutExpired:
        healthy = False
    if not healthy:
        raise ClusterError(
            f"{hint}: something answers there, but not as a Ray cluster of this version of Ray"
        )


def slots(ray: Any, options: RayOptions) -> int:
    """Cells that fit on the nodes that are alive."""
    fit = 0
    for node in ray.nodes():
        if node["Alive"]:
            has = node["Resources"]
            fits = [
                int(has.get(kind, 0) // each)
                for kind, each in (("CPU", options.cpus_per_cell), ("GPU", options.gpus_per_cell))
                if each
            ]
            fit += min(fits)
    return fit


def check_fits(ray: Any, options: RayOptions) -> None:
    """Refuse what would wait forever.

    Raises:
        UsageError: no node is large enough for one cell.
    """
    if slots(ray, options):
        return
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus = max((has.get("CPU", 0) for has in alive), default=0)
    gpus = max((has.get("GPU", 0) for has in alive), default=0)
    raise UsageError(
        f"no node of the cluster has room for a cell of {options.cpus_per_cell:g} CPUs and "
        f"{options.gpus_per_cell:g} GPUs (the largest: {cpus:g} CPUs, {gpus:g} GPUs); lower "
        "--cpus-per-cell or --gpus-per-cell"
    )
