"""What the record of one of many runs says, and how a failure is recorded."""

from collections.abc import Sequence

import jax

from optaxaccel.training import loop
from optaxaccel.training.keeping import records
from optaxaccel.training.many.together import Job
from optaxaccel.training.run.spec import setting_of

_DATA = {"task", "task_args", "data", "data_dir", "train_split", "test_split"}


def finished_before(jobs: Sequence[Job]) -> dict[int, str]:
    """Return the statuses of the jobs whose records are there and whole, by their indices.

    Raises:
      ValueError: a record is of another run, or of other data.
    """
    hashes: dict[str, str] = {}
    statuses = {}
    for job in jobs:
        if (record := _whole(job)) is None:
            continue
        problem = setting_of(job.run.as_dict(), frozenset(job.run.as_dict()) - _DATA)
        if problem not in hashes:
            hashes[problem] = loop.data_hash(job.run)
        records.refuse_other_data(job.path, record.start, hashes[problem])
        statuses[job.index] = record.status
    return statuses


def finished(job: Job) -> str:
    """Return the status of a whole record of the run, or an empty string."""
    record = _whole(job)
    return "" if record is None else record.status


def _whole(job: Job) -> records.Record | None:
    if not job.path.exists():
        return None
    try:
        record = records.read(job.path)
    except ValueError:  # killed before its first row was whole
        return None
    if record.start["digest"] != job.run.digest():
        raise ValueError(f"{job.path} is the record of another run. Pass another folder.")
    return record if record.status in ("done", "diverged") else None


def record_failure(job: Job, reason: str) -> None:
    """Close the record, whose first row the run may not have come to write."""
    offset = 0
    if job.path.exists() and records.readable(job.path):
        offset = job.path.stat().st_size
    with records.Writer(job.path, offset=offset) as writer:
        if not offset:
            start = {"spec": job.run.as_dict(), "digest": job.run.digest(), "label": job.label, "phase": job.phase}
            writer.write("start", **start, **records.provenance(jax.default_backend()))
        writer.write("end", status="failed", what=reason)
