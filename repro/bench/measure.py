"""The measurement of each unit of work: the fast path and plain PyTorch in one run.

Every measurement has a process of its own. The plain path (``repro.bench.oracle``) runs without the
allocator's settings, as anybody's tidy PyTorch would.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from repro.bench.request import Request
from repro.learner.kernels import library
from repro.system.allocator import keep_large_buffers
from repro.system.errors import ReproError

# Name and what it says to people; in the order of the table.
WORK = {
    "meta_lstm_train_5shot": "meta-LSTM training episode, 5-shot",
    "meta_lstm_train_1shot": "meta-LSTM training episode, 1-shot",
    "meta_lstm_test_5shot": "meta-LSTM test episode, 5-shot",
    "nearest_neighbor_test": "600 test episodes, nearest neighbour",
    "matching_net_test": "600 test episodes, Matching Network",
    "pretrain_step": "pre-training step, 64 images",
    "matching_net_train": "Matching Network training episode",
    "matching_net_fce_train": "Matching Network FCE training episode",
    "finetune_test_5shot": "fine-tune test episode, 5-shot",
    "gather_100": "gather and normalise 100 images",
}
PATHS = ("plain", "fast")
_COPY_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Row:
    """One line of the benchmark; ``rss_mib`` is the peak memory of the fast path's process.

    Attributes:
        seconds, plain_seconds: median per unit of work. ratio: plain / fast.
        gflops: rate of the convolutions and matrix products (None where there are none).
        peak_share: of the measured matrix-product peak in the same precision.
    """

    name: str
    precision: str
    seconds: float
    plain_seconds: float
    ratio: float
    images_per_s: float
    gflops: float | None
    peak_share: float | None
    rss_mib: float
    plain_rss_mib: float


@dataclass(frozen=True)
class Machine:
    """Measured peaks: GFLOP/s of a 2048 x 2048 product by precision, and GB/s of a copy."""

    threads: int
    peak_gflops: dict[str, float]
    copy_gb_s: float


def _measure(request: Request) -> dict[str, Any]:
    """Seconds of each repetition, images and operations per unit, peak memory; in this process."""
    import torch

    torch.set_num_threads(request.threads)
    if request.work == "peaks":
        return _peaks()
    from repro.bench.work import prepare_work

    run, n_image, flop, scale = prepare_work(request)
    seconds = []
    whole = request.work.endswith("_test")  # a long one: 600 episodes, each image once
    repeats = 1 if whole else 3 if request.quick else 7
    for _ in range(0 if whole else 3):
        run()  # the first calls fetch memory
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        seconds.append((time.perf_counter() - began) * scale)
    return {"seconds": seconds, "n_image": n_image, "flop": flop, "rss_mib": peak_rss_mib()}


def _peaks() -> dict[str, Any]:
    import torch

    found = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a = torch.ones(2048, 2048, dtype=dtype)
        found[name] = 2 * 2048**3 / _best(lambda a=a: a @ a) / 1e9  # type: ignore[misc]
    source = torch.ones(_COPY_BYTES // 4)
    target = torch.empty_like(source)
    return {"gflops": found, "copy": 2 * _COPY_BYTES / _best(lambda: target.copy_(source)) / 1e9}


def _best(call: Callable[[], Any], repeats: int = 8) -> float:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)


def peak_rss_mib() -> float:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(float(x.split()[1]) for x in lines if x.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        import resource

        unit = 2**20 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _answer(request: Request, channel: Any) -> None:
    try:
        channel.send(("measured", _measure(request)))
    except Exception as error:  # reported by the process that shows the table
        channel.send(("failed", f"{type(error).__name__}: {error}"))


def _serve(path: str, channel: Any) -> None:
    """Load torch once, then fork for every request, so that each has memory of its own."""
    if path == "plain":
        os.environ.pop("THP_MEM_ALLOC_ENABLE", None)
        library.choose("torch")
    else:
        keep_large_buffers()
    import torch  # noqa: F401

    context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    while (request := channel.recv()) is not None:
        mine, theirs = context.Pipe()
        child = context.Process(target=_answer, args=(request, theirs))
        child.start()
        theirs.close()
        try:
            channel.send(mine.recv())
        except EOFError:
            channel.send(("failed", "the process was killed (out of memory?)"))
        child.join()


class Bench:
    """The two processes that measure; use as a context manager."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._channels, self._processes = {}, []
        for path in PATHS:
            mine, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(path, theirs), daemon=False)
            process.start()
            theirs.close()
            self._channels[path] = mine
            self._processes.append(process)

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for channel in self._channels.values():
            with contextlib.suppress(OSError):  # it is gone already
                channel.send(None)
        for process in self._processes:
            if kind is not None:
                process.terminate()
            process.join()

    def _ask(self, request: Request) -> dict[str, Any]:
        channel = self._channels[request.path]
        try:
            channel.send(request)
            kind, answer = channel.recv()
        except (EOFError, OSError):
            kind, answer = "failed", "the measuring process is gone"
        if kind == "failed":
            raise ReproError(f"bench {request.work} ({request.path} path): {answer}")
        found: dict[str, Any] = answer
        return found

    def machine(self, threads: int) -> Machine:
        """Peaks of this machine, to hold the rows against."""
        found = self._ask(Request("peaks", "fast", "fp32", threads, 84, True, None))
        return Machine(threads, found["gflops"], found["copy"])

    def rows(
        self,
        machine: Machine,
        works: tuple[str, ...],
        precisions: tuple[str, ...],
        image_size: int,
        quick: bool,
        pack: Path | None,
    ) -> Iterator[Row]:
        """One row after the other; plain and fast alternate, so that both see the same noise."""
        for work in works:
            for precision in precisions if work != "gather_100" else precisions[:1]:
                found: dict[str, list[dict[str, Any]]] = {path: [] for path in PATHS}
                for _ in range(1 if quick else 2):
                    for path in PATHS:
                        request = Request(
                            work, path, precision, machine.threads, image_size, quick, pack
                        )
                        found[path].append(self._ask(request))
                yield _row(work, precision, found, machine)


def _row(
    work: str, precision: str, found: dict[str, list[dict[str, Any]]], machine: Machine
) -> Row:
    seconds = {
        path: statistics.median(s for part in parts for s in part["seconds"])
        for path, parts in found.items()
    }
    rss = {path: max(part["rss_mib"] for part in parts) for path, parts in found.items()}
    fast = found["fast"][0]
    gflops = fast["flop"] / seconds["fast"] / 1e9 if fast["flop"] else None
    return Row(
        name=f"{work}_{precision}" if work != "gather_100" else work,
        precision=precision,
        seconds=seconds["fast"],
        plain_seconds=seconds["plain"],
        ratio=seconds["plain"] / seconds["fast"],
        images_per_s=fast["n_image"] / seconds["fast"],
        gflops=gflops,
        peak_share=gflops / machine.peak_gflops[precision] if gflops else None,
        rss_mib=rss["fast"],
        plain_rss_mib=rss["plain"],
    )


def as_json(rows: list[Row]) -> str:
    """A list of rows."""
    return json.dumps([asdict(row) for row in rows], indent=2)


def as_markdown(rows: list[Row], machine: Machine, processor: str) -> str:
    """The table of the README."""
    peaks = ", ".join(f"{value:,.0f} GFLOP/s {name}" for name, value in machine.peak_gflops.items())
    lines = [
        f"{processor}, {machine.threads} threads; measured peaks: {peaks}, copy "
        f"{machine.copy_gb_s:.0f} GB/s.",
        "",
        "| work | precision | plain, s | repro, s | ratio | images/s | GFLOP/s | of peak "
        "| memory, MiB |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        work = row.name.removesuffix(f"_{row.precision}")
        rate = f"{row.gflops:,.0f}" if row.gflops else ""
        share = f"{row.peak_share:.0%}" if row.peak_share else ""
        lines.append(
            f"| {WORK[work]} | {row.precision} | {row.plain_seconds:.3g} | {row.seconds:.3g} | "
            f"{row.ratio:.1f} | {row.images_per_s:,.0f} | {rate} | {share} | {row.rss_mib:,.0f} |"
        )
    return "\n".join(lines)
