"""What the record of one of many runs says, and how a failure is recorded."""

import jax

from optaxaccel.training.keeping import records
from optaxaccel.training.many.together import Job


def finished(job: Job) -> str:
    """Return the status of a whole record of the run, or an empty string."""
    if not job.path.exists():
        return ""
    try:
        record = records.read(job.path)
    except ValueError:  # killed before its first row was whole
        return ""
    if record.start["digest"] != job.run.digest():
        raise ValueError(f"{job.path} is the record of another run. Pass another folder.")
    return record.status if record.status in ("done", "diverged") else ""


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
