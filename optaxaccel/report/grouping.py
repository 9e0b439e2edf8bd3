"""Which records belong together: those of one setting are averaged, those of one problem share a table, none twice."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from optaxaccel.training.keeping.records import Record
from optaxaccel.training.run.argument_text import text_of
from optaxaccel.training.run.spec import SEED, setting_of

_CHOOSING = ("tune", "score", "default")  # phases of runs that are not results themselves
_TOLD = frozenset({"method", "method_args", "schedule", "weight_decay", "decay"})  # what `in_words` says anyway


def in_words(spec: Mapping[str, Any], more: Collection[str] = ()) -> str:
    """Return a run's hyperparameters as `k=v, k=v`, and the fields of `more` that are not among them.

    Example:
      >>> spec = {"method_args": {"momentum": 0.9}, "schedule": {}, "weight_decay": 0.0, "batch_size": 32}
      >>> in_words(spec), in_words(spec, ["batch_size"])
      ('momentum=0.9', 'momentum=0.9, batch_size=32')
    """
    parts = [f"{name}={value}" for name, value in spec["method_args"].items()]
    shared: dict[str, list[str]] = {}
    for name, value in spec["schedule"].items():
        shared.setdefault(text_of(value), []).append(name)
    parts += [f"{' and '.join(names)}: {text}" for text, names in shared.items()]
    parts += [f"weight_decay={spec['weight_decay']} ({spec['decay']})"] if spec["weight_decay"] else []
    parts += [f"{name}={spec.get(name)}" for name in more if name not in _TOLD]
    return ", ".join(parts) or "defaults"


def differing(specs: Sequence[Mapping[str, Any]], apart_from: Collection[str] = SEED) -> list[str]:
    """Return the fields in which specifications differ, but for some; where the data lie is none.

    Example:
      >>> differing([{"seed": 1, "epochs": 2}, {"seed": 2, "epochs": 3}])
      ['epochs']
    """
    names = dict.fromkeys(name for spec in specs for name in spec)
    ignored = {"data_dir", *apart_from}
    return [n for n in names if n not in ignored and any(s.get(n) != specs[0].get(n) for s in specs[1:])]


class Group(NamedTuple):
    """The runs of one setting: they differ in nothing but their seeds.

    Attributes:
      label: the contender's name.
      name: the label, and in what the setting differs from others of the label, if there are any.
      setting: its hyperparameters in words.
      members: the records.
    """

    label: str
    name: str
    setting: str
    members: Sequence[Record]

    @property
    def done(self) -> list[Record]:
        """Return the runs that came to their end."""
        return [record for record in self.members if record.status == "done"]

    @property
    def lost(self) -> dict[str, int]:
        """Return how many runs did not, by status."""
        statuses = [record.status for record in self.members if record.status != "done"]
        return {status: statuses.count(status) for status in sorted(set(statuses))}

    def count(self) -> str:
        """Return the number of runs, and of those that were lost, as a text: "4 (+1 diverged)"."""
        lost = ", ".join(f"{count} {status}" for status, count in self.lost.items())
        return f"{len(self.done)} (+{lost})" if lost else str(len(self.done))


def one_setting(members: Sequence[Record]) -> Sequence[Record]:
    """Return records, which may be averaged.

    Raises:
      ValueError: they differ in more than their seeds, or one seed stands twice.
    """
    specs = [record.start["spec"] for record in members]
    if len({setting_of(spec) for spec in specs}) > 1:
        names = ", ".join(differing(specs))
        raise ValueError(f"Runs that differ in {names} are not averaged. Group them first, see `groups`.")
    if len({spec["seed"] for spec in specs}) < len(specs):
        raise ValueError("Two records of one run are not averaged. Leave out the second ones first, see `once`.")
    return members


def once(records: Iterable[Record]) -> tuple[list[Record], str]:
    """Return records without second ones of the same run, and a sentence that says which are left out.

    Of several records the first that is done stands, or else the first. A run may be there as a tuning run and as a
    final one: these are two.
    """
    best: dict[tuple, list[Record]] = {}
    left: list[Path] = []
    for record in records:
        start = record.start
        others = best.setdefault((start["phase"], start["label"], setting_of(start["spec"], apart_from=())), [])
        place = next((k for k, other in enumerate(others) if _one_problem(start, other.start)), None)
        if place is None:
            others.append(record)
        elif record.status == "done" != others[place].status:
            left.append(others[place].path)
            others[place] = record
        else:
            left.append(record.path)
    names = ", ".join(f"{path.parent.name}/{path.name}" for path in left[:3]) + (" ..." if len(left) > 3 else "")
    said = f"Left out, since the same run has another record: {names}." if left else ""
    return [record for others in best.values() for record in others], said


def by_label(records: Iterable[Record], phase: str) -> dict[str, list[Record]]:
    """Return the runs of a phase by label, in order of appearance; a label may have many settings."""
    labelled: dict[str, list[Record]] = {}
    for record in records:
        if record.start["phase"] == phase:
            labelled.setdefault(record.start["label"], []).append(record)
    return labelled


def groups(records: Iterable[Record], phase: str = "final") -> list[Group]:
    """Return the runs of a phase by label and setting, in order of appearance; the same run counts once."""
    labels = by_label(once(records)[0], phase)
    everywhere = differing([members[0].start["spec"] for members in labels.values()])  # among labels
    result = []
    for label, members in labels.items():
        settings: dict[str, list[Record]] = {}
        for record in members:
            settings.setdefault(setting_of(record.start["spec"]), []).append(record)
        differ = differing([runs[0].start["spec"] for runs in settings.values()])
        more = list(dict.fromkeys([*everywhere, *differ]))
        for runs in settings.values():
            spec = runs[0].start["spec"]
            apart = ", ".join(_apart(spec, [r[0].start["spec"] for r in settings.values()], differ))
            name = f"{label} ({apart})" if len(settings) > 1 else label
            result.append(Group(label, name, in_words(spec, more), one_setting(runs)))
    return result


def _apart(spec: Mapping[str, Any], specs: Sequence[Mapping[str, Any]], fields: Sequence[str]) -> list[str]:
    """Return in what a specification differs from others, entry by entry where a field is a mapping."""
    words = []
    for field in fields:
        value = spec.get(field)
        if not isinstance(value, Mapping):
            words.append(f"{field}={value}")
            continue
        maps = [other.get(field) or {} for other in specs]
        entries = dict.fromkeys(entry for one in maps for entry in one)
        differ = [e for e in entries if any(one.get(e) != maps[0].get(e) for one in maps[1:])]
        words += [f"{entry}={text_of(value[entry])}" if entry in value else f"no {entry}" for entry in differ]
    return words


def at_an_end(spec: Mapping[str, Any], specs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the hyperparameters whose value is the first or last of three or more numbers that were tried.

    Example:
      >>> tried = [{"method_args": {"rate": rate, "momentum": 0.9}} for rate in (0.1, 0.3, 1.0)]
      >>> at_an_end(tried[2], tried), at_an_end(tried[1], tried)
      (['rate'], [])
    """
    at_ends = []
    for name, value in spec["method_args"].items():
        tried = {other["method_args"].get(name) for other in specs if _number(other["method_args"].get(name))}
        if len(tried) >= 3 and value in (min(tried), max(tried)):
            at_ends.append(name)
    return at_ends


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def marked(setting: str, spec: Mapping[str, Any], tried: Sequence[Record]) -> str:
    """Return a setting in words, with what of it stands at an end of what was tried."""
    ends = at_an_end(spec, [record.start["spec"] for record in tried])
    return f"{setting} (at an end of its grid: {', '.join(ends)})" if ends else setting


def problems(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Return records by problem, with a title each: a data set and a model are a section of their own.

    So are the images that results are measured on: a share of the training images, or a part of the test images. Runs
    that only choose or score settings go with all of their data set and model.
    """
    by_problem: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        spec = record.start["spec"]
        by_problem.setdefault((spec["model"], spec["data"]), []).append(record)
    sections = {}
    for (model, data), members in by_problem.items():
        measured: dict[str, list[Record]] = {}
        for record in members:
            if record.start["phase"] not in _CHOOSING:
                measured.setdefault(_held_out(record), []).append(record)
        others = [record for record in members if record.start["phase"] in _CHOOSING]
        for images, own in (measured or {"": []}).items():
            title = f"{model} on {data}" + (f", measured on {images}" if len(measured) > 1 else "")
            sections[title] = [*others, *own]
    return sections


def problems_of_tasks(records: Iterable[Record], below: Path) -> dict[str, list[Record]]:
    """Return the results among records of tasks by problem, with a title each; runs that only choose are left out.

    Two problems are two tables even where their tasks have one name: their data or functions differ, as far as that can
    be told, what a run may spend, or the score. The title then names the folder of the first record, as seen from
    `below`. What failed before it was measured goes with its folder, or else with its task's first problem.
    """
    results = [record for record in records if record.start["phase"] not in _CHOOSING]
    problems: list[list[Record]] = []
    for record in (record for record in results if "score" in record.start):
        for members in problems:
            if all(_one_problem(record.start, other.start) for other in members):
                members.append(record)
                break
        else:
            problems.append([record])
    for record in (record for record in results if "score" not in record.start):
        name = record.start["spec"]["task"]
        own = [members for members in problems if members[0].start["spec"]["task"] == name]
        near = [members for members in own if any(record.path.parent == other.path.parent for other in members)]
        for members in (near or own)[:1]:
            members.append(record)
    names = [members[0].start["spec"]["task"] for members in problems]
    titles: dict[str, list[Record]] = {}
    for name, members in zip(names, problems, strict=True):
        folder = members[0].path.parent
        place = folder.relative_to(below) if folder.is_relative_to(below) else folder
        title = name if names.count(name) == 1 else f"{name} in {place}"
        while title in titles:
            title += "'"
        titles[title] = members
    return titles


def _one_problem(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether nothing tells two runs' problems apart, beside their specifications, which say all of images.

    Hashes of what was traced tell where the same versions ran on the same machine: on another one data that are
    computed differ in their last digits. A row of an older version, or of a task that ships, may have none.
    """
    task = one["spec"].get("task")
    if not task or other["spec"].get("task") != task:
        return other["spec"].get("task") == task
    facts = ["budget", "score"] if one["phase"] == other["phase"] else ["budget"]  # a tuning run may have another score
    if all(one.get(name) == other.get(name) for name in ("versions", "device", "machine")):
        facts += ["data_hash"]
    return all(name not in one or name not in other or one[name] == other[name] for name in facts)


def _held_out(record: Record) -> str:
    """Return in words on which images a run is measured."""
    spec = record.start["spec"]
    if spec.get("validation"):
        return f"{spec['validation']:g} of {spec.get('train_split', 'train')}"
    return spec.get("test_split", "test")


UNLIKE = (
    "These runs were not trained alike (the columns at the end), and are ranked as they ended: a longer run is no "
    "better method."
)


def beside_what_differs(columns: list[str], rows: list[list[str]], ranked: Sequence[Group]) -> str:
    """Add a column for each of length, batch size and limit of seconds that differs; return a note, or ""."""
    names = {"epochs": "epochs", "steps": "steps", "batch size": "batch_size", "seconds allowed": "seconds"}
    specs = [group.members[0].start["spec"] for group in ranked]
    differ = {column: name for column, name in names.items() if len({spec.get(name) for spec in specs}) > 1}
    columns += differ
    for row, spec in zip(rows, specs, strict=True):
        row += ["-" if spec.get(name) is None else f"{spec[name]:g}" for name in differ.values()]
    return UNLIKE if differ else ""
