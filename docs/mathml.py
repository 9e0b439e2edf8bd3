"""Render formulas as MathML when the site is built: no script, no font, no network when it is read.

A Sphinx extension of one function a node. Every browser since early 2023 lays out MathML itself. A formula with a
command that the converter does not know is a warning, hence an error of the build.
"""

import re
from typing import Any

import latex2mathml.converter
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)
_UNKNOWN = re.compile(r"<m(?:i|o|text)>(\\[^<]+|&)</m")
# Parts of LaTeX that the converter lacks, said in LaTeX that it has.
_SAME = {
    r"\lVert": r"\|",
    r"\rVert": r"\|",
    r"\Big": "",
    r"\bmod": r"\operatorname{ mod }",
    r"\arg\min": r"\operatorname{arg min}",
    r"\arg\max": r"\operatorname{arg max}",
}
# Attributes of MathML 3 that browsers took out, said in the style of MathML Core.
_STYLES = {
    '<mtd columnalign="left"><mi />': '<mtd style="text-align: left; padding-left: 0"><mi />',
    '<mtd columnalign="left">': '<mtd style="text-align: left">',
    '<mtd columnalign="right">': '<mtd style="text-align: right; padding-right: 0">',
}
_NAMES = re.compile("|".join(re.escape(name) + r"(?![a-zA-Z])" for name in _SAME))


def to_mathml(latex: str, *, display: bool) -> str:
    r"""Return a formula as MathML.

    >>> "<mi>x</mi>" in to_mathml("x^2", display=False)
    True
    >>> to_mathml(r"\nosuchcommand", display=False)
    Traceback (most recent call last):
    ...
    ValueError: \nosuchcommand is not known to the converter
    """
    plain = _NAMES.sub(lambda match: _SAME[match[0]], latex.strip())
    if display and r"\\" in plain:
        plain = rf"\begin{{split}} {plain} \end{{split}}"
    made = latex2mathml.converter.convert(plain, display="block" if display else "inline")
    unknown = _UNKNOWN.search(made)
    if unknown:
        raise ValueError(f"{unknown[1]} is not known to the converter")
    for old, new in _STYLES.items():
        made = made.replace(old, new)
    return made


def _made(latex: str, node: nodes.Element, *, display: bool) -> str:
    try:
        return to_mathml(latex, display=display)
    except Exception as error:  # whatever the converter raises for a formula with a mistake
        logger.warning("formula %r: %s", latex, error, location=node)
        return ""


def _inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(_made(node.astext(), node, display=False))
    raise nodes.SkipNode


def _block(translator: Any, node: nodes.math_block) -> None:
    for part in filter(str.strip, node.astext().split("\n\n")):
        translator.body.append(f'<div class="formula">{_made(part, node, display=True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer under the name "mathml"."""
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
