"""The messages between workers and driver: an actor on the driver's node."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

TAKE_S = 1.0


class Hub:
    """Workers tell, the driver takes; who tells learns whether to stop."""

    def __init__(self, pack: str) -> None:
        self._pack = Path(pack)
        self._messages: list[tuple[Any, ...]] = []
        self._arrived = asyncio.Event()
        self._exit_code = 0

    async def tell(self, message: tuple[Any, ...]) -> int:
        """Post a message; the exit code of the stop that is asked for, 0 for none."""
        self._messages.append(message)
        self._arrived.set()
        return self._exit_code

    async def take(self) -> list[tuple[Any, ...]]:
        """The messages since the last time; waits a moment for one, unless poked."""
        try:
            await asyncio.wait_for(self._arrived.wait(), TAKE_S)
        except TimeoutError:
            return []
        messages, self._messages = self._messages, []
        self._arrived.clear()
        return messages

    async def poke(self) -> None:
        """Whoever takes gets an answer at once."""
        self._arrived.set()

    async def stop(self, exit_code: int) -> None:
        """From now on everyone who tells is asked to stop."""
        self._exit_code = exit_code

    async def read(self, file: str, offset: int, n_byte: int) -> bytes:
        """A piece of a file of the data pack, for a node that has none."""
        with (self._pack / Path(file).name).open("rb") as source:
            source.seek(offset)
            return source.read(n_byte)


def start_hub(ray: Any, pack: Path) -> Any:
    """A hub beside the driver, where no other node's end reaches it; it ends with the driver."""
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=False
    )
    remote = ray.remote(num_cpus=0, max_restarts=0, scheduling_strategy=here)(Hub)
    return remote.remote(str(pack.resolve()))
