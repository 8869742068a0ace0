"""SVG files: as small as they can be, the same drawing, and readable in the dark."""

import base64
import io
import re

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from sparsify.drawing.style import PALETTE, RC
from sparsify.drawing.svg import INK, LEAST, PAPER, _relative, compact, contrast, in_the_dark


def written(figure):
    buffer = io.BytesIO()
    with mpl.rc_context(RC):
        figure.savefig(buffer, format="svg")
    return buffer.getvalue()


def drawn():
    figure = Figure(figsize=(4, 2))
    for axis in figure.subplots(1, 2):
        axis.plot(np.arange(30), np.arange(30) ** 1.5, color="#0072B2", marker="o", label="a < b & 'c' />")
        axis.legend()
        axis.set_rasterization_zorder(0)
    return figure


def pixels(svg, browser):
    tab = browser.new_page(viewport={"width": 400, "height": 200}, color_scheme="light")
    tab.set_content(f'<body style="margin:0"><img src="data:image/svg+xml;base64,{base64.b64encode(svg).decode()}">')
    found = np.asarray(Image.open(io.BytesIO(tab.screenshot())).convert("RGB"), float)
    tab.close()
    return found


def test_a_compact_svg_shows_the_same_pixels(browser):
    svg = written(drawn())
    small = compact(svg)
    assert len(small) < 0.6 * len(svg)
    one, other = pixels(svg, browser), pixels(small, browser)
    assert one.std() > 10  # there is a drawing
    assert np.abs(one - other).mean() < 0.5  # coordinates are rounded


def test_styles_are_classes_and_a_shape_that_comes_again_is_written_once():
    text = compact(written(drawn())).decode()
    assert "style=" not in text
    assert "metadata" not in text
    shapes = [shape for shape in re.findall(r' d="(M0 0l[^"]*)"', text) if len(re.findall(r"-?[\d.]+", shape)) == 60]
    assert len(shapes) == 1
    defined, used = set(re.findall(r' id="([^"]*)"', text)), set(re.findall(r"#(i\d+)", text))
    assert defined == used
    assert "a &lt; b &amp; 'c' /&gt;" in text


def test_lines_without_a_shape_as_those_that_are_out_of_sight_are_no_error():
    empty = b'<path style="fill: none; stroke: #0072b2"/>'
    svg = written(drawn()).replace(b"</svg>", b"<g>" + empty + empty + b"</g></svg>")
    assert compact(svg).endswith(b"</svg>\n")


def test_a_greys_place_between_paper_and_ink_stays_and_every_colour_of_the_palette_is_seen_in_the_dark():
    assert in_the_dark("#ffffff") == PAPER
    assert in_the_dark("#000000") == INK
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast(in_the_dark("#e5e5e5"), PAPER) < contrast(in_the_dark("#b0b0b0"), PAPER)
    for colour in PALETTE:
        assert contrast(in_the_dark(colour), PAPER) >= LEAST
    assert in_the_dark("#e69f00") == "#e69f00"


def test_the_dark_scheme_is_in_the_file():
    text = compact(written(drawn())).decode()
    light, dark = text.split("@media(prefers-color-scheme:dark)")
    assert "fill:#ffffff" in light
    assert f"fill:{PAPER}" in dark
    assert f"svg{{fill:{INK}}}" in dark


@pytest.mark.parametrize(("colours", "mode"), [(5, "P"), (900, "RGB")])
def test_an_image_of_few_colours_has_a_palette_and_the_same_pixels(colours, mode):
    values = np.arange(900).reshape(30, 30) % colours
    image = np.stack([values % 256, values // 4, 0 * values], axis=2).astype(np.uint8)
    figure = Figure(figsize=(2, 2))
    figure.add_axes((0, 0, 1, 1)).imshow(image, interpolation="none")
    (png,) = re.findall(r"data:image/png;base64,([^\"]*)", compact(written(figure)).decode())
    with Image.open(io.BytesIO(base64.b64decode(png))) as kept:
        assert kept.mode == mode
        shown = np.asarray(kept.convert("RGB"))
    assert np.array_equal(np.unique(shown.reshape(-1, 3), axis=0), np.unique(image.reshape(-1, 3), axis=0))


def test_a_long_line_is_written_from_point_to_point_in_tenths_of_a_point():
    points = "L1.04 2L1.26 1L1 1" + "L1.5 1.5" * 7
    assert _relative(f"M1 2{points}M8 8L7 9") == "M1 2l0 0 .3-1-.3 0 .5 .5" + " 0 0" * 6 + "M8 8l-1 1"


def test_many_marks_of_one_kind_are_one_path_with_a_marker():
    drawing = Figure(figsize=(3, 2))
    axis = drawing.subplots()
    axis.plot(range(30), range(30), linestyle="", marker="o", color="#0072B2")
    axis.plot(range(3), [5, 6, 7], linestyle="", marker="s")
    text = compact(written(drawing)).decode()
    (marker,) = re.findall(r'<marker [^>]*id="(i\d+)"', text)
    (name,) = re.findall(rf"\.(\w+)\{{fill:none;marker:url\(#{marker}\)\}}", text)
    (points,) = re.findall(rf'<path d="([^"]*)" class="{name}"/>', text)
    assert len(re.findall(r"-?[\d.]+", points)) == 60


def test_shapes_outside_of_the_axes_are_left_out():
    parts = [f'<g><path style="fill: none"{shape}/></g>' for shape in ("", "", ' d="M0 0L1 1"', "")]
    text = f'<svg xmlns="http://www.w3.org/2000/svg"><defs><style>*{{}}</style></defs>{"".join(parts)}</svg>'
    together = text.replace("</g><g>", "")
    for drawing in (text, together):
        assert len(re.findall("<path", compact(drawing.encode()).decode())) == 1


def test_grid_lines_of_an_axis_are_one_path_and_marks_that_look_the_same_share_a_marker():
    drawing = Figure(figsize=(3, 2))
    for axis in drawing.subplots(1, 2):
        axis.grid(color="#123456")
        axis.set(xticks=range(3), yticks=range(10))
        axis.plot(range(9), range(9), linestyle="", marker="o", color="#0072B2")
    text = compact(written(drawing)).decode()
    (name,) = re.findall(r"\.(\w+)\{fill:none;stroke:#123456", text)
    assert len(re.findall(rf'class="{name}"', text)) == 4  # the x and the y axis of two panels
    assert len(re.findall("<marker ", text)) == 2  # the circle, and the ticks of y, of which there are many
