"""Several processes on one run: they share the jobs, add up sums, and one of them writes.

Inside `data_parallel`, every process that `accelerate launch` started runs the whole program, and
each does its share of the loops over prompts (`batching.run_batches`). Nothing else is split. With
one process the functions here do nothing.

With every exchange, all processes report whether they failed. So if one fails, all fail with the
same sentence, and none waits for a process that is gone.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from snipbias.base.errors import InterruptError, SnipbiasError, require

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
# Timeout for a live but busy process, which may be writing or running lm-eval alone. A dead process
# is noticed at once.
TIMEOUT = timedelta(hours=12)
DIED = (
    "a process of this run died or was told to stop, which ended the run: run the same command "
    "again ('snipbias reproduce' resumes)."
)


class LostError(SnipbiasError):
    """Another process is gone, or this one is being stopped."""


class ToldError(SnipbiasError):
    """Another process failed and said why."""


@dataclass(frozen=True)
class Workers:
    """This process's rank and the group it belongs to; by default a group of one.

    Attributes:
        rank: index of this process; process 0 prints and writes.
        count: number of processes.
        group: torch's process group for CPU tensors; None is the default group.
        one_model: whether they share one model, so that each runs every prompt.
    """

    rank: int = 0
    count: int = 1
    group: Any = None
    one_model: bool = False

    @property
    def hands(self) -> int:
        """Number of processes that share the jobs."""
        return 1 if self.one_model else self.count

    @property
    def is_main(self) -> bool:
        """Whether this is the process that prints and writes."""
        return self.rank == 0

    def share(self, jobs: Sequence[T]) -> Sequence[T]:
        """This process's share of the jobs, dealt out in turn."""
        return jobs if self.one_model else jobs[self.rank :: self.count]

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor (on the CPU) by its sum over all processes."""
        if self.hands == 1:
            return
        import torch.distributed as dist

        self._all()
        with _noticing():
            for tensor in tensors:
                dist.all_reduce(tensor, group=self.group)

    def gather(self, mine: Mapping[int, T]) -> dict[int, T]:
        """Merge the results of all processes, keyed by job number."""
        parts = [mine] if self.one_model else self._all(dict(mine))
        return {number: found for part in parts for number, found in part.items()}

    def from_main(self, make: Callable[[], T]) -> T:
        """Call `make` in the main process, by itself, and return its result in all of them."""
        return self._all(self._alone(make))[0]

    def main_first(self, make: Callable[[], T]) -> T:
        """Call `make` in the main process first, which may download, then in the others."""
        made: Any = self._alone(make)
        self._all()
        return made if self.is_main else make()

    def _alone(self, make: Callable[[], T]) -> T | None:
        """Call `make` in the main process only, where it finds no other to exchange with."""
        if not self.is_main:
            return None
        here = _here.set(Workers())
        try:
            return make()
        finally:
            _here.reset(here)

    def _all(self, mine: Any = None, problem: str | None = None) -> list[Any]:
        """Wait for all processes and collect a value from each, ordered by rank.

        Raises:
            ToldError: another has a problem and this one has none.
            LostError: another is gone.
        """
        if self.count == 1:
            return [mine]
        import torch.distributed as dist

        found: list[Any] = [None] * self.count
        with _noticing():
            dist.all_gather_object(found, (mine, problem), group=self.group)
        told = next((told for _, told in found if told is not None), None)
        if problem is None and told is not None:
            raise ToldError(told)
        return [value for value, _ in found]


_here: ContextVar[Workers] = ContextVar("workers", default=Workers())  # noqa: B039 (it is frozen)


def workers() -> Workers:
    """The processes that work together here; a single one outside `data_parallel`."""
    return _here.get()


def hold_one_model() -> None:
    """Mark that from here on the processes of this run share one model."""
    _here.set(replace(workers(), one_model=True))


def _launched() -> int:
    """Number of processes that the launcher (accelerate, torchrun, mpirun) started."""
    names = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
    return max(int(os.environ.get(name) or 1) for name in names)


def launched_rank() -> int:
    """Rank of this process as the launcher set it; 0 if there is only one."""
    if _launched() == 1:  # then such a variable may be somebody else's, and no number
        return 0
    names = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
    return next((int(os.environ[name]) for name in names if os.environ.get(name)), 0)


@contextmanager
def data_parallel() -> Iterator[Workers]:
    """Let the processes that `accelerate launch` started share the work, and fail together.

    All processes must enter, make the same calls in the same order, and leave. With one process
    nothing changes.

    Raises:
        SnipbiasError: the launcher's settings are not supported, or another process failed.
    """
    outer = workers()
    who = outer if outer.count > 1 else _join()
    if who.count == 1:
        yield who
        return
    here = _here.set(who)
    try:
        # A launcher stops the others when one process has died.
        with sigterm_raises(lambda: LostError(DIED)):
            try:
                yield who
            except (ToldError, LostError, InterruptError):
                _mind_no_signal()
                raise
            except Exception as error:
                kind, process = type(error).__name__, f"process {who.rank} of {who.count}"
                problem = f"{process} failed ({kind}: {error}): see above."
                if isinstance(error, SnipbiasError):
                    problem = str(error)
                if workers().one_model:  # the others are inside a pass and cannot meet
                    raise LostError(problem) from error
                _mind_no_signal()  # the launcher stops the others, but not before they have spoken
                with suppress(SnipbiasError):
                    who._all(problem=problem)
                raise
            else:
                who._all()
    finally:
        _here.reset(here)


def speaks(error: SnipbiasError) -> bool:
    """Whether this process should print an error that ends the run.

    It is the main process, unless a process died: that may have been the main one, so the first
    process that asks prints it.
    """
    if not isinstance(error, LostError):
        return launched_rank() == 0
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    try:  # kept by the launcher's process, which is still running
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = TCPStore(address, port, is_master=False, timeout=timedelta(seconds=5))
        return store.add("snipbias/lost", 1) == 1
    except (KeyError, RuntimeError):
        return True


def _join() -> Workers:
    """Meet the other processes, if a launcher started any."""
    if _launched() == 1:
        if os.environ.get("ACCELERATE_USE_CPU") == "True" and "MASTER_ADDR" in os.environ:
            warnings.warn(
                "accelerate started only one process: on CPUs, launch with --multi_gpu instead of "
                "--cpu to get several.",
                stacklevel=2,
            )
        return Workers()
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        raise SnipbiasError(
            "FSDP is not supported, since each process runs different prompts: for a model larger "
            "than a GPU, run one process with --device-map auto."
        )
    require("accelerate", "several processes need")
    import torch
    import torch.distributed as dist
    from accelerate import PartialState

    # Use gloo on GPUs too: little is exchanged, all of it on the CPU, and gloo notices at once when
    # a process dies.
    with _noticing():
        state = PartialState(cpu=True, timeout=TIMEOUT)
        group = None if dist.get_backend() == "gloo" else dist.new_group(backend="gloo")
    if torch.cuda.is_available():
        torch.cuda.set_device(state.local_process_index % torch.cuda.device_count())
    atexit.register(_leave)
    return Workers(state.process_index, state.num_processes, group)


def _leave() -> None:
    import torch.distributed as dist

    if dist.is_initialized():
        with suppress(RuntimeError):  # if others have died
            dist.destroy_process_group()


@contextmanager
def _noticing() -> Iterator[None]:
    """Reword torch's error when another process is gone."""
    try:
        yield
    except RuntimeError as error:
        raise LostError(DIED) from error


@contextmanager
def sigterm_raises(error: Callable[[], BaseException]) -> Iterator[None]:
    """Raise this error on SIGTERM; ignore a second signal, which would cut the clean-up short.

    Raises:
        BaseException: the given one, when the signal comes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        _mind_no_signal()
        raise error()

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is stop:
            signal.signal(signal.SIGTERM, before)


def _mind_no_signal() -> None:
    """Ignore SIGTERM while the error is reported and cleaned up; a launcher kills soon anyway."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
