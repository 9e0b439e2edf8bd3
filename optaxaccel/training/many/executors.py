"""A sweep over many machines or processes: on a Ray cluster, or in SLURM through submitit. Both packages are optional.

Runs are handed out in parts, those together that share a program. Every run writes the record that it writes in a
sweep on one machine, on a disk that all of them see, and a finished one is not trained again. A part whose worker is
lost (killed, out of memory, its machine gone) is handed out again, in which only what it had not finished is trained.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from optaxaccel import registry
from optaxaccel.training.many import sweep
from optaxaccel.training.many.recorded import finished, finished_before, record_failure
from optaxaccel.training.many.together import Job
from optaxaccel.training.run.spec import Run

TRIES = 3  # of a part, before its runs are recorded as failed
POLL = 1.0  # seconds between two looks at a queue


class Lost(Exception):  # noqa: N818 - it is said of a worker
    """A worker ended before its part did."""


class Part(NamedTuple):
    """Runs that one worker trains, as `sweep.train_many` takes them."""

    runs: Sequence[Run]
    paths: Sequence[Path]
    labels: Sequence[str]
    phase: str
    vectorize: Any


class Executor(Protocol):
    """What trains parts elsewhere."""

    def start(self, parts: Sequence[Part]) -> list[Any]:
        """Hand parts out; return a handle of each."""
        ...

    def ended(self, handles: Sequence[Any]) -> Any:
        """Wait until one of some handles ended, and return it."""
        ...

    def result(self, handle: Any) -> Any:
        """Return what `train` returned there.

        Raises:
          Lost: the worker ended before.
        """
        ...

    def close(self) -> None:
        """Let the workers go."""
        ...


def train(part: Part) -> list[str]:
    """Train a part, and return its statuses; this is what workers do."""
    return sweep.train_many(part.runs, part.paths, labels=part.labels, phase=part.phase, vectorize=part.vectorize)


def train_many(
    executor: str | Executor,
    runs: Sequence[Run],
    paths: Sequence[Path],
    *,
    workers: int = 2,
    labels: Sequence[str] | None = None,
    phase: str = "final",
    vectorize: sweep.Vectorize = "auto",
    progress: Callable[[int, str], None] | None = None,
    **options: Any,
) -> list[str]:
    """Train runs as `sweep.train_many` does, in parts on several workers.

    Args:
      executor: "ray" for the cluster that $RAY_ADDRESS names or that runs here, or one started here; "slurm" for an
        array of jobs; "local" for processes of this machine through submitit; or an `Executor`.
      runs: as `sweep.train_many`; so are paths, labels, phase, vectorize and progress.
      paths: on a disk that all workers see.
      workers: parts that are trained at once; so many groups that share a program are cut.
      labels: see there.
      phase: see there.
      vectorize: see there.
      progress: see there; told when a part ended.
      **options: of "ray", resources of a part, such as num_gpus=1; of "slurm" and "local", parameters of submitit, such
        as slurm_partition="gpu", timeout_min=600, gpus_per_node=1.

    Returns:
      Each run's status: "done", "diverged" or "failed".

    Raises:
      ValueError: as `sweep.train_many`; ImportError: the executor's package is not installed.
    """
    if workers < 1:
        raise ValueError(f"workers={workers} trains nothing. Pass 1 or more.")
    labels = [run.method for run in runs] if labels is None else list(labels)
    paths = [path.absolute() for path in paths]
    jobs = sweep.jobs_of(runs, paths, labels, phase, vectorize)
    statuses = finished_before(jobs)
    for index in statuses:
        _tell(progress, index, "finished before")
    parts = _parts([job for job in jobs if job.index not in statuses], workers, vectorize)
    if parts:
        place = _made(executor, workers, options) if isinstance(executor, str) else executor
        try:
            _until_done(place, parts, vectorize, lambda job, status: _ended(statuses, progress, job, status))
        finally:
            place.close()
    return [statuses[job.index] for job in jobs]


def _parts(jobs: Sequence[Job], workers: int, vectorize: sweep.Vectorize) -> list[list[Job]]:
    """Cut the groups that share a program, so that all workers have something to do."""
    parts = []
    for group in sweep.groups_of(jobs, vectorize):
        size = -(-len(group) // workers)
        parts += [group[start : start + size] for start in range(0, len(group), size)]
    return parts


def _until_done(
    place: Executor, parts: Sequence[Sequence[Job]], vectorize: sweep.Vectorize, ended: Callable[[Job, str], None]
) -> None:
    """Hand parts out until each has ended, those of lost workers again."""
    handles = dict(zip(place.start([_part(jobs, vectorize) for jobs in parts]), parts, strict=True))
    tries = {id(jobs): 1 for jobs in parts}
    while handles:
        handle = place.ended(list(handles))
        jobs = handles.pop(handle)
        try:
            place.result(handle)
        except Lost as lost:
            if tries[id(jobs)] < TRIES:
                tries[id(jobs)] += 1
                sweep.say(f"a worker was lost ({lost}); its {len(jobs)} runs go on elsewhere.")
                (again,) = place.start([_part(jobs, vectorize)])
                handles[again] = jobs
                continue
            for job in jobs:
                if not finished(job):
                    record_failure(job, f"its worker was lost {TRIES} times: {lost}")
        for job in jobs:
            ended(job, finished(job) or "failed")


def _part(jobs: Sequence[Job], vectorize: sweep.Vectorize) -> Part:
    runs, paths, labels = ([getattr(job, name) for job in jobs] for name in ("run", "path", "label"))
    return Part(runs, paths, labels, jobs[0].phase, vectorize)


def _ended(statuses: dict[int, str], progress: Any, job: Job, status: str) -> None:
    statuses[job.index] = status
    _tell(progress, job.index, status)


def _tell(progress: Callable[[int, str], None] | None, index: int, status: str) -> None:
    if progress is not None:
        progress(index, status)


# --- Places -----------------------------------------------------------------------------------------------------------


def _made(name: str, workers: int, options: Mapping[str, Any]) -> Executor:
    return registry.lookup("executor", name, EXECUTORS)(workers, options)


class Ray:
    """A Ray cluster that runs already, or one started on this machine."""

    def __init__(self, workers: int, options: Mapping[str, Any]):
        """Connect; `options` are resources of a part."""
        try:
            import ray  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ImportError('--executor ray needs Ray. Call pip install "optaxaccel[ray]".') from error
        self.ray, self.ours = ray, not ray.is_initialized()
        if self.ours:
            try:
                ray.init(address=os.environ.get("RAY_ADDRESS", "auto"), log_to_driver=False)
            except ConnectionError:  # none runs here
                ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
        self.remote = ray.remote(max_retries=0, **{"num_cpus": 1, **options})(train)

    def start(self, parts: Sequence[Part]) -> list[Any]:
        """See `Executor`."""
        return [self.remote.remote(part) for part in parts]

    def ended(self, handles: Sequence[Any]) -> Any:
        """See `Executor`."""
        return self.ray.wait(list(handles), num_returns=1)[0][0]

    def result(self, handle: Any) -> Any:
        """See `Executor`."""
        try:
            return self.ray.get(handle)
        except self.ray.exceptions.RayTaskError as error:  # what the part itself raised
            raise error.cause from error
        except self.ray.exceptions.RayError as error:
            raise Lost(f"{type(error).__name__}") from error

    def close(self) -> None:
        """See `Executor`."""
        if self.ours:
            self.ray.shutdown()


class Submitit:
    """Jobs of SLURM, or processes of this machine, through submitit; its logs lie in `submitit` of this folder."""

    def __init__(self, cluster: str, workers: int, options: Mapping[str, Any]):
        """Make ready; `options` are submitit's."""
        try:
            import submitit  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ImportError(f'--executor {cluster} needs submitit. Call pip install "optaxaccel[slurm]".') from error
        self.submitit, self.workers = submitit, workers
        self.executor = submitit.AutoExecutor(folder="submitit", cluster=cluster)
        usual = {"name": "optaxaccel", "timeout_min": 24 * 60}
        arrays = {"slurm_array_parallelism": workers} if cluster == "slurm" else {}
        self.executor.update_parameters(**{**usual, **arrays, **options})
        self.most = None if cluster == "slurm" else workers  # SLURM has a queue of its own
        self.waiting: list[Any] = []

    def start(self, parts: Sequence[Part]) -> list[Any]:
        """See `Executor`."""
        if self.most is None:
            return self.executor.map_array(train, list(parts))
        return [self.executor.submit(train, part) for part in parts]

    def ended(self, handles: Sequence[Any]) -> Any:
        """See `Executor`."""
        while True:
            for handle in handles:
                if handle.done():
                    return handle
            time.sleep(POLL)

    def result(self, handle: Any) -> Any:
        """See `Executor`."""
        utils = self.submitit.core.utils
        try:
            return handle.result()
        except utils.FailedJobError:  # what the part itself raised, as a text
            raise
        except utils.UncompletedJobError as error:
            raise Lost(str(error).splitlines()[0]) from error

    def close(self) -> None:
        """See `Executor`."""


EXECUTORS: Mapping[str, Callable[[int, Mapping[str, Any]], Executor]] = {
    "ray": Ray,
    "slurm": lambda workers, options: Submitit("slurm", workers, options),
    "local": lambda workers, options: Submitit("local", workers, options),
}
