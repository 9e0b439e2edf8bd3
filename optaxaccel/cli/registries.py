"""`optaxaccel list` and `optaxaccel data`: methods, models, data sets and tasks."""

import inspect

from optaxaccel.cli import showing
from optaxaccel.cli.commands import Data, List
from optaxaccel.cli.terminal import BAD_INPUT, DONE, say
from optaxaccel.cli.terminal_tables import table


def list_(command: List) -> int:
    """Print the registries, or what one name stands for, and return the exit status."""
    if command.what not in ("all", "methods", "models", "data", "tasks"):
        showing.show(command.what)
        return DONE
    if command.what in ("all", "methods"):
        from optaxaccel import METHODS

        rows = [
            [card.name, f"{c.values:g}", f"{c.grads:g}", f"{c.hvps:g}", card.copies(), card.paper]
            for card in METHODS.values()
            for c in [card.cost]
        ]
        columns = ["method", "losses", "gradients", "Hessian products", "state copies", "paper"]
        table("Methods (calls a step beyond the gradient; optax.<name> works too)", columns, rows)
        _list_whole_losses()
    if command.what in ("all", "models"):
        from optaxaccel.models import MODELS

        rows = [
            [m.name, "x".join(map(str, m.input_shape)), str(m.classes), f"{m.parameters:,}", m.paper]
            for m in MODELS.values()
        ]
        table("Models", ["model", "designed for", "classes", "parameters", "paper"], rows)
    if command.what in ("all", "data"):
        _list_data(None)
    if command.what in ("all", "tasks"):
        from optaxaccel.tasks import TASKS

        rows = [[card.name, card.score, card.needs or "-", card.about] for card in TASKS.values()]
        table("Tasks (or your own, FILE.py:FUNCTION)", ["task", "score", "extra", "what it is"], rows)
    return DONE


def data(command: Data) -> int:
    """List, describe, prepare or verify data sets, and return the exit status."""
    from optaxaccel.data import catalogue

    if command.action == "list":
        _list_data(command.data_dir)
        return DONE
    if not command.name:
        raise ValueError(f"data {command.action} needs a name. Pass optaxaccel data {command.action} NAME.")
    if command.action == "info":
        table(command.name, ["", ""], [[k, v] for k, v in catalogue.info(command.name, command.data_dir).items()])
        return DONE
    if command.action == "prepare":
        catalogue.prepare(command.name, command.data_dir, say=say)
        return DONE
    findings = catalogue.verify(command.name, command.data_dir)
    for finding in findings:
        say(f"{'ok  ' if finding.good else 'BAD '} {finding.text}")
    return DONE if all(finding.good for finding in findings) else BAD_INPUT


def _list_whole_losses() -> None:
    from optaxaccel.solvers.minimize_methods import MINIMIZE_METHODS

    factories = {name: getattr(make, "func", make) for name, make in MINIMIZE_METHODS.items()}
    rows = [[name, (inspect.getdoc(make) or "").partition("\n")[0]] for name, make in factories.items()]
    title = "For losses that are the same function at every step, not for minibatches: optaxaccel.minimize(method=...)"
    table(title, ["method", "what it does"], rows)


def _list_data(data_dir: str | None) -> None:
    from optaxaccel.data import catalogue

    rows = [[r.name, r.shape, str(r.classes), r.splits, r.state] for r in catalogue.rows(data_dir)]
    title = "Data sets (or an .npz file, or any image-classification set of TFDS)"
    table(title, ["name", "images", "classes", "splits", "state"], rows)
