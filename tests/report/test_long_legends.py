"""A figure with many series keeps its panels: the legend is added below them."""

from PIL import Image

from optaxaccel.report import studies
from optaxaccel.training.many.experiment import Panel

PANELS = {"a": Panel("a panel", "steps", "loss")}


def drawn(path, series):
    points = [{"panel": "a", "series": f"method {k}", "x": x, "y": k + x} for k in range(series) for x in (0.0, 1.0)]
    studies.figure(points, PANELS, path, "title")
    with Image.open(path) as image:
        return image.height


def test_a_long_legend_takes_no_room_of_the_panels(tmp_path, recwarn):
    few = drawn(tmp_path / "few.png", 4)
    many = drawn(tmp_path / "many.png", 16)
    assert few == 341  # 3.1 inches of 110 dots
    assert many > few + 100
    assert not [warning for warning in recwarn if "Tight layout" in str(warning.message)]
