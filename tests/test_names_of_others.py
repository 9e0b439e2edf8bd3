"""Names that somebody looks for in the wrong place: the error says where they are, or the nearest, or nothing."""

import inspect
import re

import pytest

import optaxaccel
from optaxaccel import METHODS, cli, registry
from optaxaccel.cli import formulas, showing
from optaxaccel.solvers.minimize_methods import MINIMIZE_METHODS
from optaxaccel.training.run import optimizer

ATTRIBUTES = {
    "hindsight": "its function is 'scale_by_hindsight'",
    "adam": "It is optax's: optax.adam.",
    "interpolatrn": "Did you mean 'interpolatron'?",
    "minimise": "Did you mean 'minimize'?",
    "zzzz": "It has: Accelerated, ",
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_an_attribute_that_is_none_says_where_to_look(name):
    with pytest.raises(AttributeError) as raised:
        getattr(optaxaccel, name)
    assert ATTRIBUTES[name] in str(raised.value)
    assert f"has no attribute {name!r}" in str(raised.value)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_an_import_of_what_is_none_says_where_to_look(name):
    with pytest.raises(ImportError, match=re.escape(ATTRIBUTES[name])) as raised:
        exec(f"from optaxaccel import {name}")
    assert f"cannot import name {name!r}" in str(raised.value)
    assert not hasattr(optaxaccel, name)


OTHERS = {
    "adam": "optax.adam",
    "adm": "optax.adam",
    "adamw": "optax.adamw",
    "rmspop": "optax.rmsprop",
    "muon": "optax.contrib.muon",
    "ponos": "baseline.ponos",
    "scale_by_hindsight": "hindsight",
    "pla": "pal",
}


@pytest.mark.parametrize("name", OTHERS)
def test_methods_of_others_are_named_as_the_command_takes_them(name, capsys):
    assert cli.run(["train", "--method", name]) == 2
    assert f"Unknown method {name!r}. Did you mean {OTHERS[name]!r}?" in capsys.readouterr().err
    optimizer.find(OTHERS[name])
    assert cli.run(["list", name]) == 2
    assert f"Did you mean {OTHERS[name]!r}?" in capsys.readouterr().err


def test_what_is_far_is_not_suggested():
    assert registry.suggestion("aitken", ("anderson", "acx", "plain")) == ""
    assert registry.suggestion("learning_rte", ("learning_rate", "momentum")) == " Did you mean 'learning_rate'?"


MAKERS = {name: card.make for name, card in METHODS.items()}
MAKERS |= {name: getattr(make, "func", make) for name, make in MINIMIZE_METHODS.items()}


@pytest.mark.parametrize("name", MAKERS)
def test_what_a_terminal_shows_has_no_tex(name):
    texts = [text for _, _, text in showing.arguments(MAKERS[name])]
    assert not any(sign in text for text in texts for sign in ("\\", ":math:", "`"))
    assert len(texts) == len(inspect.signature(MAKERS[name]).parameters)


@pytest.mark.parametrize(
    ("tex", "text"),
    [
        (r":math:`-\nabla f \cdot g_t / \lVert g_t \rVert`", "-∇f · g_t / |g_t|"),
        (r":math:`\tfrac{a}{b} \ge \mathrm{tol}`", "(a)/(b) ≥ tol"),
        (r":math:`\Gamma^\top \le \infty`, in `x`", "Γ^T ≤ ∞, in x"),
        (r":class:`Card` of :math:`\unheard{x}`", "Card of unheardx"),
    ],
)
def test_formulas_as_text(tex, text):
    assert formulas.plain(tex) == text


def test_a_method_is_shown_with_the_name_of_its_function(capsys):
    assert cli.run(["list", "hindsight"]) == 0
    assert "optaxaccel.scale_by_hindsight" in capsys.readouterr().out
