"""The documentation says something of every public name, method and dependency, and its version is the package's."""

import importlib.util
import itertools
import re
import sys
import tomllib
import types
from pathlib import Path

import follow
import pytest

import optaxaccel

ROOT = Path(__file__).parents[2]
PAGES = {path: path.read_text() for path in (ROOT / "docs").rglob("*.md") if "generated" not in path.parts}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def described():
    texts = [*PAGES.values(), *(text for path, text in follow.behind().items() if path not in PAGES)]
    names = re.findall(r"^\.\. auto\w+:: optaxaccel\.(\w+)$", "\n".join(texts), re.MULTILINE)
    assert len(names) == len(set(names)), "a name is described twice"
    return set(names)


def test_every_public_name_is_described_once_and_no_other():
    assert described() == set(optaxaccel.__all__)


def test_what_follows_from_the_cards_is_there():
    assert not follow.due(), follow.due()


@pytest.mark.parametrize("name", sorted(path.stem for path in PAGES if path.parent.name == "methods"))
def test_a_methods_page_has_its_card_its_measurements_and_all_sections(name):
    if name not in optaxaccel.METHODS:
        assert name in ("index", "extrapolation"), f"docs/methods/{name}.md is the page of no method"
        return
    text = PAGES[ROOT / "docs" / "methods" / f"{name}.md"]
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == [*follow.SECTIONS, "Reference"]
    assert f"generated/parts/card-{name}.md" in text
    assert f"generated/parts/sensitivity-{name}.md" in text
    assert f"autofunction:: optaxaccel.{optaxaccel.METHODS[name].make.__name__}\n" in text


def test_every_picture_has_an_alternative_text_and_is_small():
    shown = [m for text in PAGES.values() for m in re.findall(r"```\{figure\} (\S+)\n:alt: (.{40,})\n", text)]
    assert len(shown) == sum(text.count("```{figure}") for text in PAGES.values()) >= 7
    assert not [text for text in PAGES.values() if re.search(r"!\[\]\(", text)]
    for path in (ROOT / "docs" / "_static").rglob("*.png"):
        assert path.stat().st_size < 150_000
        assert any(target.endswith(path.relative_to(ROOT / "docs").as_posix()) for target, _ in shown)


def test_every_dependency_has_its_licence_listed():
    wanted = itertools.chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    names = {re.match(r"[\w.-]+", requirement)[0] for requirement in wanted} - {"optaxaccel"}
    listed = re.findall(r"^\| ([\w.-]+)[^|]*\| [^|]+\| [^|]+\|$", PAGES[ROOT / "docs" / "licences.md"], re.MULTILINE)
    assert names == set(listed) - {"package", "---"}


def test_the_first_hour_has_a_time_for_every_step():
    section = (ROOT / "CONTRIBUTING.md").read_text().split("## The first hour of a new user")[1].split("\n## ")[0]
    rows = re.findall(r"^\| .* \| ([^|]+) \|$", section, re.MULTILINE)[2:]  # below the head and its rule
    assert len(rows) >= 10
    assert all(re.fullmatch(r"\d+( each)?|-", seconds) for seconds in rows)


def test_the_citation_names_the_version():
    version = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)[1]
    assert optaxaccel.__version__.split(".dev")[0] == version


def test_every_fast_form_names_the_tests_that_hold_it_to_its_plain_twin():
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", PAGES[ROOT / "docs" / "reproducing.md"])
    assert len(named) >= 15
    missing = [f"{file}::{name}" for file, name in named if f"\ndef {name}(" not in (ROOT / file).read_text()]
    assert not missing


def test_the_readme_of_a_wheel_links_to_files_of_the_repository(monkeypatch):
    stand_in = types.SimpleNamespace(MetadataHookInterface=object)  # hatchling is there while a wheel is built
    monkeypatch.setitem(sys.modules, "hatchling.metadata.plugin.interface", stand_in)
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    hook = module.Readme()
    hook.root, metadata = str(ROOT), {"urls": PROJECT["urls"]}
    hook.update(metadata)
    links = re.findall(r"\]\(([^)]+)\)", metadata["readme"]["text"])
    assert all(link.startswith("https://") for link in links)
    inside = [link.split("/blob/main/") for link in links if link.startswith(PROJECT["urls"]["Repository"] + "/")]
    assert len(inside) >= 20
    assert not [path for _, path in inside if not (ROOT / path.partition("#")[0]).exists()]


def test_the_newest_dated_version_of_the_changelog_is_the_packages():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(r"^## (\d\S+) - \d{4}-\d\d-\d\d$", changelog, re.MULTILINE)[1] == optaxaccel.__version__


def test_the_repositorys_address_stands_in_one_place():
    address = PROJECT["urls"]["Repository"]
    assert all(link.startswith(f"{address}/") for name, link in PROJECT["urls"].items() if name != "Repository")
    others = [ROOT / name for name in ("README.md", "CITATION.cff", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
    others += [*PAGES, *(ROOT / "docs").glob("*.py"), *(ROOT / "optaxaccel").rglob("*.py")]
    assert not [path for path in others if address in path.read_text(encoding="utf-8")]
