r"""The formulas of docstrings, written in TeX for the documentation, as a terminal can show them."""

import re
import unicodedata

_SIGNS = {
    **{"nabla": "∇", "cdot": "·", "times": "\u00d7", "le": "≤", "ge": "≥", "infty": "∞", "pm": "±"},
    **{"sum": "Σ", "to": "→"},
    **{"lVert": "|", "rVert": "|", "top": "T", "sqrt": "√", "max": "max", "min": "min", "log": "log", "exp": "exp"},
}


def plain(text: str) -> str:
    r"""Return a text with its formulas as plain text; what is not known stays without its backslash.

    >>> plain(r"at most :math:`\|\alpha\| \le \sqrt{1 + 1/r}`, see `rna`")
    'at most |α| ≤ √(1 + 1/r), see rna'
    >>> plain(r":math:`w \lVert x - \hat x_k \rVert^2`")
    'w |x - x̂_k|^2'
    """
    text = re.sub(r":math:`([^`]*)`", lambda formula: _formula(formula[1]), text)
    return re.sub(r":\w+:(?=`)", "", text).replace("`", "")


def _formula(tex: str) -> str:
    tex = re.sub(r"\\hat\s*\{?(\w)\}?", "\\1\u0302", tex)
    tex = re.sub(r"\\[td]?frac\{([^{}]*)\}\{([^{}]*)\}", r"(\1)/(\2)", tex)
    tex = re.sub(r"\\sqrt\{([^{}]*)\}", r"\\sqrt(\1)", tex)
    tex = re.sub(r"\\(?:math|text)\w*\{([^{}]*)\}", r"\1", tex).replace(r"\|", "|").replace(r"\,", " ")
    tex = re.sub(r"\\([A-Za-z]+)", lambda name: _sign(name[1]), tex)
    tex = tex.replace("∇ ", "∇")
    return re.sub(r"\|\s*([^|]*?)\s*\|", r"|\1|", tex).replace("{", "").replace("}", "").replace("\\", "")


def _sign(name: str) -> str:
    try:
        return _SIGNS.get(name) or unicodedata.lookup(f"GREEK {'SMALL' if name.islower() else 'CAPITAL'} LETTER {name}")
    except KeyError:
        return name
