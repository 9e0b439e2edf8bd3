"""Progress for people: bars in a terminal, plain lines elsewhere."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

Listener = Callable[[str, float], None]  # takes what is trained, and the share of all that is done
_TOLD = {*("epoch", "value_calls", "grad_calls", "hvp_calls", "seconds"), "loss", "accuracy", "images_per_second"}
PLAIN_INTERVAL = 10.0  # seconds between plain lines, evaluations apart
SELDOM = 1.0  # seconds between any two of them, so that no log is flooded


def describe(row: Mapping[str, Any]) -> str:
    """Return a row as `train loss 0.123  accuracy 95.0 %  12,345 images/s`."""
    if row["kind"] == "probe":
        names = ("sharpness", "smallest_eigenvalue", "rate_times_sharpness")
        return "  ".join(f"{name.replace('_', ' ')} {row[name]:.4g}" for name in names if name in row)
    name = "train" if row["kind"] == "train" else row["split"]
    text = f"{name} loss {row['loss']:.4g}" if "accuracy" not in row else f"{name} loss {row['loss']:.4f}"
    text += f"  accuracy {100 * row['accuracy']:.2f} %" if "accuracy" in row else ""
    others = (n for n in row if n not in _TOLD and isinstance(row[n], float)) if row["kind"] == "eval" else ()
    text += "".join(f"  {other} {row[other]:.4g}" for other in others)
    return text + (f"  {row['images_per_second']:,.0f} images/s" if row.get("images_per_second") else "")


def epochs(row: Mapping[str, Any]) -> str:
    """Return the epochs of a row as `3.2`.

    >>> [epochs({"epoch": epoch}) for epoch in (0.0, 0.272727, 3.1999, 1200.0)]
    ['0', '0.27', '3.2', '1200']
    """
    epoch = row["epoch"]
    return f"{round(epoch, 1):g}" if epoch >= 1 else f"{epoch:.2g}"


@contextlib.contextmanager
def reporter(console: Console, title: str) -> Iterator[Callable[..., None]]:
    """Yield the loop's progress callback for one run."""
    if not console.is_terminal:
        yield _plain(console)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[numbers]}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=None, numbers="compiling")

        def report(*, step: int, total: int, row: Mapping[str, Any]) -> None:
            if row["kind"] == "train":
                bar.update(task, completed=step, total=total, numbers=describe(row))
            else:
                console.print(f"epoch {epochs(row)}: {describe(row)}")

        yield report


@contextlib.contextmanager
def counter(console: Console, title: str, total: int) -> Iterator[Callable[[str], None]]:
    """Yield a callback that counts finished runs."""
    if not console.is_terminal:
        done, shown = 0, -math.inf

        def line(what: str) -> None:
            nonlocal done, shown
            done, now = done + 1, time.monotonic()
            if now - shown >= SELDOM or done == total:
                shown = now
                console.print(f"{title} {done}/{total}: {what}")

        yield line
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[what]}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=total, what="")
        yield lambda what: bar.update(task, advance=1, what=what)


@contextlib.contextmanager
def meter(console: Console, title: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a callback of bytes done and of all bytes, which shows rate and time left."""
    if not console.is_terminal:
        started = shown = time.monotonic()

        def line(done: int, total: int) -> None:
            nonlocal shown
            now = time.monotonic()
            if now - shown >= PLAIN_INTERVAL and done:
                shown, rate = now, done / (now - started)
                left = (total - done) / rate
                console.print(
                    f"{title} {done / 1e9:.1f} of {total / 1e9:.1f} GB  {rate / 1e6:,.0f} MB/s  {left:.0f} s left"
                )

        yield line
        return
    about = (DownloadColumn(), TransferSpeedColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(TextColumn("{task.description}"), BarColumn(), *about, console=console, transient=True) as bar:
        task = bar.add_task(title, total=None, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)


def _plain(console: Console) -> Callable[..., None]:
    begun: list[tuple[float, int]] = []  # the moment and the step of the first row: compilation lies before it
    shown = {"train": -math.inf, "any": -math.inf}

    def report(*, step: int, total: int, row: Mapping[str, Any]) -> None:
        now = time.monotonic()
        begun[:] = begun or [(now, step)]
        often = row["kind"] == "train" and now - shown["train"] < PLAIN_INTERVAL
        if step < total and step and (often or now - shown["any"] < SELDOM):
            return
        shown["any"] = now
        if row["kind"] == "train":
            shown["train"] = now
        since, first = begun[0]
        left = f"  {(now - since) / (step - first) * (total - step):.0f} s left" if step > first else ""
        console.print(f"step {step}/{total}  epoch {epochs(row)}  {describe(row)}{left}")

    return report


class telling:  # noqa: N801
    """A context that yields `tell(what, share of it, runs that ended)`: a bar in a terminal, or a function is told."""

    def __init__(self, progress: Listener | bool, title: str, total: int):
        self.progress, self.title, self.total, self.done = progress, title, total, 0
        self.bar: Any = None

    def __enter__(self) -> Callable[[str, float, int], None]:
        """Begin."""
        if self.progress is True:
            self.bar = _bar(self.title)
        return self.tell

    def tell(self, what: str, share: float, ended: int) -> None:
        """Take what is trained, how much of it is done, and how many runs ended."""
        self.done += ended
        so_far = min(1.0, self.done / max(1, self.total))
        if callable(self.progress):
            self.progress(what, so_far)
        elif self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=so_far, what=f"{what} {share:.0%}")

    def __exit__(self, *error: object) -> None:
        """End the bar."""
        if self.bar is not None:
            self.bar.stop()


def _bar(title: str) -> Any:
    """Return a bar that is running, or None where nobody looks."""
    console = Console(stderr=True)
    if not console.is_terminal:
        return None
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[what]}"),
        console=console,
    )
    bar.add_task(title, total=1.0, what="")
    bar.start()
    return bar
