"""Is the time of a training episode the same at the end of a run as at its beginning?

Trains the 5-shot meta-LSTM on the embedded glyphs in the real training loop (curve, checkpoints,
validations; the time of validations is taken out) and notes the seconds of every 100 episodes and
the resident memory. In between, one episode of fixed random images is worked on again and again as
a yardstick: other work on the machine slows both alike (processor time too, through shared caches
and cores), so their ratio tells of the run alone. Then it measures what an episode costs with twice
the images, filters, pixels and coordinates, repeats interleaved.

    python scripts/flat_time.py --output results/flat_time.json --figures figures
"""

from __future__ import annotations

import contextlib
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import click
import numpy as np

from repro.system.allocator import keep_large_buffers

keep_large_buffers()

import torch  # noqa: E402
from scipy.stats import bootstrap, theilslopes  # noqa: E402
from torch import Tensor  # noqa: E402

from repro.analysis import style  # noqa: E402
from repro.data.pack import open_pack  # noqa: E402
from repro.data.preparing import prepare  # noqa: E402
from repro.episodes import EpisodeSampler  # noqa: E402
from repro.learner.fused_cell import Tape  # noqa: E402
from repro.methods.base import StepResult  # noqa: E402
from repro.methods.meta_lstm import MetaLSTM  # noqa: E402
from repro.methods.setting import Setting  # noqa: E402
from repro.methods.split_images import SplitImages  # noqa: E402
from repro.papers import config, paper  # noqa: E402
from repro.run.cell import resolve_precision  # noqa: E402
from repro.run.evaluation import accuracies, evaluate  # noqa: E402
from repro.run.provenance import provenance  # noqa: E402
from repro.run.training import train  # noqa: E402
from repro.system import storage  # noqa: E402
from repro.system.errors import ReproError  # noqa: E402
from repro.system.interrupts import StopRequest, stop_requests  # noqa: E402
from repro.system.progress import ConsoleReporter, Quiet, Reporter  # noqa: E402

K_SHOT = 5
BLOCK = 100  # episodes
EARLY = slice(1, 6)  # blocks: episodes 100 to 600, after the first fetch of memory
LATE = slice(-5, None)  # the last 500 episodes
PROBE_EVERY = 20  # episodes
IMAGE_PX = 84  # of the cost of one episode, as in the paper


def resident_mib() -> float:
    """Memory of this process that is in RAM now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(x.split()[1]) for x in lines if x.startswith("VmRSS")) / 1024


@dataclass
class Timed(MetaLSTM):
    """The method with a clock: what the loop does between two steps is counted, too."""

    setting: Setting
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    rss: list[float] = field(default_factory=list)
    probes: list[list[float]] = field(default_factory=list)  # CPU s of the yardstick, by block
    apart: list[float] = field(default_factory=lambda: [0.0, 0.0])  # left out: CPU, wall

    def __post_init__(self) -> None:
        super().__init__(self.setting)
        self.yardstick, _ = episode_of(self.setting.precision, self.setting.image_size)
        self.yardstick()  # fetches memory

    def train_step(self, images: SplitImages, step: int) -> StepResult:
        if step % BLOCK == 0:
            self.note()
            self.probes.append([])
        if step % PROBE_EVERY == 0:
            with self.left_out():
                began = time.process_time()
                self.yardstick()
                self.probes[-1].append(time.process_time() - began)
        return super().train_step(images, step)

    @contextlib.contextmanager
    def left_out(self) -> Iterator[None]:
        """Time that is not counted."""
        before = time.process_time(), time.perf_counter()
        yield
        self.apart[0] += time.process_time() - before[0]
        self.apart[1] += time.perf_counter() - before[1]

    def note(self) -> None:
        """Times since the start, without what is left out."""
        self.cpu.append(time.process_time() - self.apart[0])
        self.wall.append(time.perf_counter() - self.apart[1])
        self.rss.append(resident_mib())


def run_long(n_step: int, reporter: Reporter, stop: StopRequest) -> dict[str, Any]:
    """Seconds per block of episodes and resident memory after each."""
    pack = prepare("glyphs", None)
    splits = {split: open_pack(pack, split) for split in ("train", "val")}
    setting = Setting(
        splits["train"].image_size, len(splits["train"].class_ids), paper.N_WAY, K_SHOT,
        config.recipe("authors-code"), seed=0,
    )  # fmt: skip
    cell = config.RunConfig(
        "glyphs", splits["train"].digest, "meta_lstm", config.EpisodeSpec(k_shot=K_SHOT),
        setting.recipe, config.budget(f"paper,meta_lstm_5shot={n_step}"), 0, setting.precision,
    )  # fmt: skip
    training = cell.training()
    assert training is not None
    method = Timed(setting)
    images = {name: SplitImages(split, setting) for name, split in splits.items()}
    sampler = EpisodeSampler(splits["val"].class_rows, "val", cell.spec, 0)
    drawn = sampler.first(training.n_validation_episode)

    def validate() -> dict[int, tuple[float, float]]:
        with method.left_out():
            found = evaluate(method, drawn, images["val"], Quiet(reporter), "", StopRequest())
        values = accuracies(found, drawn)
        return {K_SHOT: (float(values.mean()), 1.96 * float(values.std()) / len(values) ** 0.5)}

    with tempfile.TemporaryDirectory() as folder:
        train(method, training, Path(folder), images["train"], validate, reporter, "train", stop)
        method.note()
    return {
        "n_episode": n_step,
        "block": BLOCK,
        "image_px": setting.image_size,
        "precision": setting.precision,
        "cpu_s": np.diff(method.cpu).round(4).tolist(),
        "wall_s": np.diff(method.wall).round(4).tolist(),
        "yardstick_cpu_s": [round(statistics.median(block), 4) for block in method.probes],
        "rss_mib": [round(value, 1) for value in method.rss[1:]],
    }


def flatness(run: dict[str, Any]) -> dict[str, Any]:
    """Early against late, the slope with its 95% interval, and the growth of memory."""
    found: dict[str, Any] = {}
    seconds = {clock: np.array(run[f"{clock}_s"]) / BLOCK for clock in ("cpu", "wall")}
    seconds["ratio"] = seconds["cpu"] / np.array(run["yardstick_cpu_s"])
    for clock, per_episode in seconds.items():
        early, late = per_episode[EARLY], per_episode[LATE]
        # Theil and Sen: the median of all slopes, which a burst of other work does not move.
        at = BLOCK / 1000 * np.arange(1, len(per_episode))
        slope = theilslopes(per_episode[1:], at)
        middle = float(np.median(per_episode[1:]))
        found[clock] = {
            "early": float(np.median(early)),
            "late": float(np.median(late)),
            "late_over_early": float(np.median(late) / np.median(early)),
            "change_per_1000_episodes": float(slope.slope / middle),
            "change_low": float(slope.low_slope / middle),
            "change_high": float(slope.high_slope / middle),
        }
        half = len(per_episode) // 2
        whole = per_episode[: 2 * half].sum() / per_episode[:half].sum()
        found[clock]["exponent_of_episodes"] = math.log2(whole)
    rss = run["rss_mib"]
    found["rss"] = {
        "early_mib": statistics.median(rss[EARLY]),
        "late_mib": statistics.median(rss[LATE]),
        "growth_mib": statistics.median(rss[LATE]) - statistics.median(rss[EARLY]),
    }
    return found


def episode_of(
    precision: str, px: int = IMAGE_PX, filters: int = paper.META_FILTERS, images: int = 1
) -> tuple[Callable[[], object], int]:
    """A training episode on random images, and the learner's number of parameters."""
    setting = Setting(
        px, paper.N_WAY, paper.N_WAY, K_SHOT * images, config.recipe("authors-code"), 0, precision
    )
    with mock.patch.object(paper, "META_FILTERS", filters):
        method = MetaLSTM(setting)
    pixels = torch.Generator().manual_seed(0)

    def batch(per_class: int) -> tuple[Tensor, Tensor]:
        size = (paper.N_WAY * per_class, 3, px, px)
        drawn = torch.rand(size, generator=pixels).to(memory_format=torch.channels_last)
        return drawn, torch.arange(paper.N_WAY).repeat_interleave(per_class)

    inputs = (*batch(K_SHOT * images), *batch(paper.N_QUERY * images), method.theta_0.detach())
    return lambda: method.learn(*inputs), method.learner.n_param


def cell_of(n: int, n_step: int = 8) -> Callable[[], object]:
    """The coordinate-wise LSTM alone, forward and backward, on ``n`` coordinates."""
    setting = Setting(28, paper.N_WAY, paper.N_WAY, K_SHOT, config.recipe("authors-code"), 0)
    method = MetaLSTM(setting)
    meta = type(method.meta)(*(part.detach() for part in method.meta))
    tape, values = Tape(n, n_step, meta), torch.linspace(-1, 1, n)

    def run() -> None:
        with torch.no_grad():
            tape.start(values)
            for index in range(n_step):
                tape.step(meta, index, values, values[:1], setting.recipe)
            tape.backward(meta, values, setting.recipe)

    return run


def costs(precision: str, repeats: int, reporter: Reporter) -> dict[str, Any]:
    """Processor time of larger episodes over that of the base, and the exponents."""
    base, n_base = episode_of(precision)
    wide, n_wide = episode_of(precision, filters=2 * paper.META_FILTERS)
    work = {
        "base": base,
        "images": episode_of(precision, images=2)[0],
        "filters": wide,
        "side": episode_of(precision, px=2 * IMAGE_PX)[0],
        "cell": cell_of(n_base),
        "cell of twice the coordinates": cell_of(2 * n_base),
    }
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for repeat in range(-1, repeats):  # the first round fetches memory
        for name, run in work.items():
            began = time.process_time()
            run()
            if repeat >= 0:
                seconds[name].append(time.process_time() - began)
        reporter.report("cost of an episode", repeat + 1, repeats)
    pairs = {
        "images": ("images", "base", 2.0, "twice the support and query images"),
        "parameters": ("filters", "base", n_wide / n_base, "twice the filters"),
        "pixels": ("side", "base", 4.0, "twice the image side"),
        "coordinates": (
            "cell of twice the coordinates",
            "cell",
            2.0,
            "twice the coordinates of the LSTM alone",
        ),
    }
    exponents = {}
    for name, (larger, smaller, factor, told) in pairs.items():
        ratio = np.array(seconds[larger]) / np.array(seconds[smaller])
        logs = np.log(ratio) / math.log(factor)
        drawn = bootstrap((logs,), np.median, rng=np.random.default_rng(0), method="percentile")
        exponents[name] = {
            "what": told,
            "factor": factor,
            "time_ratio": float(np.median(ratio)),
            "exponent": float(np.median(logs)),
            "exponent_low": float(drawn.confidence_interval.low),
            "exponent_high": float(drawn.confidence_interval.high),
        }
    return {
        "image_px": IMAGE_PX,
        "precision": precision,
        "repeats": repeats,
        "median_s": {name: statistics.median(found) for name, found in seconds.items()},
        "exponents": exponents,
    }


def draw(run: dict[str, Any], found: dict[str, Any], folder: Path) -> list[Path]:
    """Milliseconds per episode, their ratio to the yardstick's, and memory over the run."""
    with style.applied():
        fig = style.new_figure(6.4, 4.9)
        above, middle, below = fig.subplots(3, 1, sharex=True, height_ratios=(3, 2, 1.3))
        episodes = BLOCK * np.arange(1, len(run["cpu_s"]) + 1)
        cpu = np.array(run["cpu_s"]) / BLOCK
        for values, color, told in (
            (np.array(run["wall_s"]) / BLOCK, style.MUTED, "wall time"),
            (cpu, style.COLORS["meta_lstm"], "processor time"),
        ):
            above.plot(episodes, 1000 * values, color=color, lw=1, marker="o", ms=2, label=told)
        above.set_ylim(0, 1.1 * above.dataLim.ymax)
        above.set_ylabel("ms an episode")
        above.set_title("5-shot meta-LSTM, glyphs: time and memory over a run")
        above.legend(loc="lower right", ncols=2)
        ratio = cpu / np.array(run["yardstick_cpu_s"])
        middle.plot(episodes, ratio, color=style.COLORS["meta_lstm"], lw=1, marker="o", ms=2)
        early = found["ratio"]["early"]
        middle.axhline(early, color=style.ACCENT, lw=1, ls=(0, (4, 2)))
        middle.set_ylim(0, 1.5 * early)
        middle.set_ylabel("of the\nyardstick's")
        below.plot(episodes, run["rss_mib"], color=style.INK, lw=1.2)
        below.set_ylim(0, 1.1 * below.dataLim.ymax)
        below.set_ylabel("resident\nMiB")
        below.set_xlabel("training episode")
        return style.save(fig, folder / "flat_time")


def told(found: dict[str, Any]) -> list[str]:
    """The outcome for people."""
    lines = []
    names = {"cpu": "processor time, ms", "wall": "wall time, ms", "ratio": "against the yardstick"}
    for clock, name in names.items():
        at, unit = found[clock], 1 if clock == "ratio" else 1000
        lines.append(
            f"{name}: {unit * at['early']:.4g} early, {unit * at['late']:.4g} late "
            f"({at['late_over_early'] - 1:+.1%}); per 1,000 episodes "
            f"{at['change_per_1000_episodes']:+.2%} (95%: {at['change_low']:+.2%} to "
            f"{at['change_high']:+.2%})"
        )
    rss = found["rss"]
    lines.append(
        f"memory: {rss['early_mib']:.0f} MiB early, {rss['late_mib']:.0f} MiB late "
        f"({rss['growth_mib']:+.1f})"
    )
    return lines


def told_costs(cost: dict[str, Any]) -> list[str]:
    """The exponents for people."""
    return [
        f"cost ~ {name}^{at['exponent']:.2f} (95%: {at['exponent_low']:.2f} to "
        f"{at['exponent_high']:.2f}): x{at['time_ratio']:.2f} for {at['what']}"
        for name, at in cost["exponents"].items()
    ]


@click.command()
@click.option(
    "--n-step", default=5_500, show_default=True, help="Training episodes; 0: left as it was."
)
@click.option(
    "--repeats", default=11, show_default=True, help="Of every larger episode; 0: left as it was."
)
@click.option("--threads", default=1, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("results/flat_time.json"))
@click.option("--figures", type=click.Path(path_type=Path), default=Path("figures"))
def main(n_step: int, repeats: int, threads: int, output: Path, figures: Path) -> None:
    """Measure, write the numbers and the figure, and say what came out."""
    if n_step and n_step < 20 * BLOCK:
        raise click.BadParameter(f"--n-step is 0 or at least {20 * BLOCK}, not {n_step}")
    made = provenance("cpu", threads, "")
    torch.set_num_threads(threads)
    parts = storage.read_json(output) if output.exists() else {}
    with ConsoleReporter() as reporter, stop_requests() as stop:
        if repeats:
            cost = costs(resolve_precision("auto", IMAGE_PX, "cpu"), repeats, reporter)
            parts["cost"] = {**cost, **made}
            storage.write_json(output, parts)
            click.echo("\n".join(told_costs(cost)))
        if n_step:
            run = run_long(n_step, reporter, stop)
            found = flatness(run)
            parts["flat"] = {**found, "run": run, **made}
            storage.write_json(output, parts)
            click.echo("\n".join(told(found)))
    if flat := parts.get("flat"):
        click.echo("\n".join(map(str, draw(flat["run"], flat, figures))))


if __name__ == "__main__":
    try:
        main()
    except ReproError as error:
        raise SystemExit(f"error: {error}") from None
