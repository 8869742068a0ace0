"""SVG files made small, and such that they follow the reader's light or dark scheme."""

from __future__ import annotations

import base64
import colorsys
import io
import itertools
import re
import string
from collections import Counter
from collections.abc import Iterator
from xml.etree import ElementTree  # nosec B405: only what matplotlib has just written is parsed
from xml.etree.ElementTree import Element  # nosec B405

from matplotlib.colors import to_hex, to_rgb
from PIL import Image, ImageChops

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
GROUP, USE, PATH, DEFS, STYLE, MARKER, METADATA = (
    f"{{{SVG}}}{name}" for name in ("g", "use", "path", "defs", "style", "marker", "metadata")
)
HREF = f"{{{XLINK}}}href"
PNG = "data:image/png;base64,"

PAPER, INK = "#1e2125", "#e8e5df"
"""White and black in the dark, as the report has them."""

LEAST = 3.0
"""The contrast of lines and marks that WCAG 2.1 asks for (1.4.11)."""

_LONG = 200  # characters of a path that is worth to be written once and referred to
_MANY = 8  # points of a line, or marks of one kind, that are worth to be written more shortly


def compact(svg: bytes) -> bytes:
    """The same drawing as matplotlib wrote, in a third of the bytes, with the colours of a dark scheme beside it.

    Coordinates have two decimals of a point, those of long lines one, each from the one before; a style is a class, a
    long shape that comes again is written once, marks of one kind are one path with a marker at each point, what
    nothing refers to has no name, and there is neither indentation nor metadata; images of few colours have a palette.
    The grid lines of an axis are one path, below its ticks. Where the reader's scheme is dark, `in_the_dark` holds of
    every colour but those of images.
    """
    root = ElementTree.fromstring(svg)  # nosec B314
    for metadata in root.findall(METADATA):
        root.remove(metadata)
    _gather_ticks(root)
    _flatten(root)
    for group in (root, *root.iter(GROUP)):
        _merge(group)
    _share_shapes(root)
    _join_marks(root)
    names = {name: f"i{number}" for number, name in enumerate(_referred(root))}
    classes: dict[str, str] = {}
    unused = _names()
    for element in root.iter():
        name = element.attrib.pop("id", None)
        if name in names:
            element.set("id", names[name])
        style = element.attrib.pop("style", None)
        if style:
            if style not in classes:
                classes[style] = next(unused)
            element.set("class", classes[style])
        if element.get("transform", "").startswith("rotate(-0 "):
            del element.attrib["transform"]
        for key, value in element.attrib.items():
            element.set(key, _shorter(key, value, names))
    sheet = next(root.iter(STYLE))
    sheet.text = _rules(sheet.text or "", {one: _renamed(style, names) for style, one in classes.items()})
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    buffer = io.BytesIO()
    ElementTree.ElementTree(root).write(buffer, encoding="utf-8", xml_declaration=True)
    return buffer.getvalue().replace(b" />", b"/>") + b"\n"  # of a text or a value it would be " /&gt;"


def in_the_dark(colour: str) -> str:
    """A colour, made for white paper, as it is drawn on dark paper.

    A grey keeps its place between paper and ink. Any other colour gets lighter, if it has to, until its contrast to the
    dark paper is `LEAST`.

    >>> from sparsify.drawing.svg import in_the_dark
    >>> in_the_dark("#ffffff"), in_the_dark("#e69f00"), in_the_dark("#002080")
    ('#1e2125', '#e69f00', '#245bff')
    """
    red, green, blue = to_rgb(colour)
    if max(red, green, blue) - min(red, green, blue) < 0.05:
        mixed = [red * paper + (1 - red) * ink for paper, ink in zip(to_rgb(PAPER), to_rgb(INK), strict=True)]
        return to_hex((mixed[0], mixed[1], mixed[2]))
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    while contrast(to_hex((red, green, blue)), PAPER) < LEAST:
        lightness += 0.01
        red, green, blue = colorsys.hls_to_rgb(hue, lightness, saturation)
    return to_hex((red, green, blue))


def contrast(one: str, other: str) -> float:
    """WCAG's contrast of two colours, from 1 to 21."""
    low, high = sorted(map(_luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    linear = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in to_rgb(colour))
    return sum(weight * v for weight, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _gather_ticks(root: Element) -> None:
    """Draw all grid lines of an axis, then its ticks of each kind, then its texts: those of a kind become one."""
    for axis in root.iter(GROUP):
        if not axis.get("id", "").startswith("matplotlib.axis"):
            continue
        parts = [part for tick in axis for part in (tick if len(tick) and tick[0].tag == GROUP else (tick,))]
        lines = [part for part in parts if part.find(PATH) is not None]
        ticks = [part for part in parts if part.find(f"{GROUP}/{USE}") is not None]
        shapes = [one for part in ticks for one in part.iterfind(DEFS)]
        kinds: dict[tuple[str | None, str], Element] = {}
        for mark in (one for part in ticks for one in part.iterfind(f"{GROUP}/{USE}")):
            style = mark.attrib.pop("style", "")
            kinds.setdefault((mark.get(HREF), style), Element(GROUP, {"style": style})).append(mark)
        rest = [part for part in parts if part not in lines and part not in ticks]
        axis[:] = [*lines, *shapes, *kinds.values(), *rest]


def _flatten(element: Element) -> None:
    """Drop the space between elements, and groups that hold nothing but others."""
    if element.text is not None and not element.text.strip():
        element.text = None
    children: list[Element] = []
    for child in element:
        _flatten(child)
        child.tail = None
        plain = child.tag == GROUP and not set(child.attrib) - {"id"}
        children += child if plain else [child]
    element[:] = children


def _share_shapes(root: Element) -> None:
    """Write a long path that stands at several places once, and refer to it where it stands."""
    long = [one for one in root.iter(PATH) if len(one.get("d", "")) > _LONG and "id" not in one.attrib]
    shapes = {one: _moved_to_0(one.attrib["d"]) for one in long}
    often = {
        shape: f"shape{n}"
        for n, (shape, count) in enumerate(Counter(s for s, _ in shapes.values()).items())
        if count > 1
    }
    defs = next(root.iter(DEFS))
    for shape, name in often.items():
        defs.append(Element(PATH, {"d": shape, "id": name}))
    for one, (shape, (x, y)) in shapes.items():
        if shape in often:
            del one.attrib["d"]
            one.tag = GROUP  # a clip path of its own would move with what is used
            one.append(Element(USE, {HREF: f"#{often[shape]}", "x": x, "y": y}))


def _join_marks(root: Element) -> None:
    """Draw many marks of one kind, a `use` for each, as one path with a marker at each point."""
    defs = next(root.iter(DEFS))
    groups = [one for one in root.iter(GROUP) if len(one) >= _MANY and all(child.tag == USE for child in one)]
    names: dict[tuple[str, str], str] = {}
    for group in groups:
        kinds = {(child.get(HREF), child.get("style", "")) for child in group}
        if len(kinds) > 1 or any(set(child.attrib) - {HREF, "style", "x", "y"} for child in group):
            continue
        ((shape, own),) = kinds
        style = "; ".join(filter(None, (group.attrib.pop("style", ""), own)))
        name = names.get((shape or "", style))
        if name is None:
            name = names[shape or "", style] = f"marks{len(names)}"
            # what a marker looks like does not come from the path that it is on
            marker = Element(MARKER, {"id": name, "markerUnits": "userSpaceOnUse", "overflow": "visible"})
            marker.append(Element(USE, {HREF: shape or "", "style": style}))
            defs.append(marker)
        points = "L".join(f"{child.get('x', '0')} {child.get('y', '0')}" for child in group)
        group[:] = [Element(PATH, {"d": f"M{points}", "style": f"fill: none; marker: url(#{name})"})]


def _moved_to_0(path: str) -> tuple[str, tuple[str, str]]:
    """The same path from (0, 0) on, and where it starts. Matplotlib's paths have absolute coordinates alone."""
    x, y = re.findall(r"-?[\d.]+", path)[:2]
    start = itertools.cycle((float(x), float(y)))
    return re.sub(r"-?[\d.]+", lambda number: _rounded(float(number[0]) - next(start)), path), (x, y)


def _rounded(value: float) -> str:
    """A coordinate in points: "12.5"."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _referred(root: Element) -> list[str]:
    """The names that something refers to, in the order in which it does."""
    found = (re.findall(r"url\(#([^)]+)\)|^#(.+)", value) for one in root.iter() for value in one.attrib.values())
    return list(dict.fromkeys(local or linked for local, linked in itertools.chain.from_iterable(found)))


def _shorter(key: str, value: str, names: dict[str, str]) -> str:
    """An attribute's value in as few characters."""
    if key == HREF and value.startswith(PNG):
        return PNG + base64.b64encode(_with_palette(base64.b64decode(value[len(PNG) :]))).decode()
    if key == "d" and re.fullmatch(r"[ML][ML\d.\s-]*", value) and len(re.findall("[ML]", value)) > _MANY:
        return _relative(value)
    if key in ("d", "x", "y", "transform"):
        value = re.sub(r"\d+\.\d{3,}", lambda number: _rounded(float(number[0])), value)
    if key == "d":
        value = re.sub(r"\s*([A-Za-z])\s*", r"\1", value).strip()
    return _renamed(value, names)


def _relative(line: str) -> str:
    """A path of straight lines, in tenths of a point: where each part begins, then the way from point to point."""
    written: list[str] = []
    before = (0, 0)
    for command, *numbers in re.findall(r"([ML])\s*(-?[\d.]+)\s+(-?[\d.]+)", line):
        x, y = (round(10 * float(number)) for number in numbers)
        way = (x, y) if command == "M" else (x - before[0], y - before[1])
        text = " ".join(re.sub(r"^(-?)0\.", r"\1.", f"{number / 10:g}") for number in way).replace(" -", "-")
        begins = command if command == "M" else "l" if not written or written[-1][0] == "M" else ""
        written.append(begins + text if begins or text.startswith("-") else f" {text}")
        before = (x, y)
    return "".join(written)


def _renamed(value: str, names: dict[str, str]) -> str:
    return re.sub(r"(?<=url\(#)[^)]+|(?<=^#)\w+$", lambda name: names.get(name[0], name[0]), value)


def _with_palette(png: bytes) -> bytes:
    """The same pixels with a palette if they have up to 256 colours, and without transparency that nothing uses."""
    with Image.open(io.BytesIO(png)) as image:
        kept = image.convert("RGBA")
    if kept.getchannel("A").getextrema() == (255, 255):
        kept = kept.convert("RGB")
        reduced = kept.quantize(256, dither=Image.Dither.NONE)
        if ImageChops.difference(reduced.convert("RGB"), kept).getbbox() is None:
            kept = reduced
    buffer = io.BytesIO()
    kept.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _merge(group: Element) -> None:
    """Make lines that follow each other and differ in nothing but their shape one; say the style of all marks once."""
    children: list[Element] = []
    for child in group:
        if child.tag == PATH and "d" not in child.attrib:
            continue  # matplotlib writes no shape for what lies outside of the axes
        before = children[-1] if children else None
        line = child.tag == PATH and "fill: none" in child.get("style", "")
        if line and before is not None and {**before.attrib, "d": ""} == {**child.attrib, "d": ""}:
            before.set("d", before.get("d", "") + child.get("d", ""))  # a line that is out of sight has none
        else:
            children.append(child)
    group[:] = children
    styles = {child.get("style") for child in group}
    marks = len(group) > 1 and all(child.tag == USE for child in group)
    if marks and len(styles) == 1 and None not in styles and "style" not in group.attrib:
        group.set("style", group[0].attrib["style"])
        for child in group:
            del child.attrib["style"]


def _names() -> Iterator[str]:
    """Short names of classes: a, b, …, z, aa, ab, …."""
    for length in itertools.count(1):
        yield from map("".join, itertools.product(string.ascii_lowercase, repeat=length))


def _rules(first: str, styles: dict[str, str]) -> str:
    """The style sheet: what matplotlib wrote, a class for each style, and their colours in the dark."""
    light = [f".{name}{{{style.replace(': ', ':').replace('; ', ';')}}}" for name, style in styles.items()]
    dark = [f"svg{{fill:{INK}}}"]  # what is black names no colour
    for name, style in styles.items():
        colours = re.findall(r"\b(fill|stroke): (#[0-9a-f]{6})\b", style)
        if colours:
            dark.append(f".{name}{{{';'.join(f'{what}:{in_the_dark(colour)}' for what, colour in colours)}}}")
    sharp = "image{image-rendering:pixelated}"  # each pixel is a weight or one of a picture
    return f"{first}{sharp}{''.join(light)}@media(prefers-color-scheme:dark){{{''.join(dark)}}}"
