"""A report as a PDF: A4, in one column, with the texts and tables of the page."""

import io
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from reportlab.graphics.shapes import Drawing, Line, Rect, String
from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, Flowable, Frame, KeepTogether, PageTemplate, Paragraph, Spacer, Table

from spectrum.core.analytics.figures import amount

INK, INK_2, INK_3 = HexColor("#171a1e"), HexColor("#44484e"), HexColor("#5e6269")
LINE, STRONG, PASSED = HexColor("#e2e2df"), HexColor("#bebeba"), HexColor("#4389cc")
MARGIN, FOOT = 15 * mm, 18 * mm
WIDTH = A4[0] - 2 * MARGIN
CHART_HEIGHT, CHART_LEFT = 118.0, 44.0
# Limit of a name, a reason or a sentence.
MOST_CHARACTERS = 2000
_BOLD, _PLAIN = "Helvetica-Bold", "Helvetica"


def _style(size: float, leading: float, font: str = _PLAIN, color: Any = INK, **more: Any) -> ParagraphStyle:
    return ParagraphStyle("", fontName=font, fontSize=size, leading=leading, textColor=color, **more)


_TEXT, _SMALL = _style(9.5, 14), _style(8.5, 11.5, color=INK_3)
_CELL, _NUMBER = _style(9, 12), _style(9, 12, alignment=2)
_NAME = _style(9, 12, _BOLD)
_HEAD, _HEAD_NUMBER = _style(8.5, 11, color=INK_3), _style(8.5, 11, color=INK_3, alignment=2)
_TITLE, _SECTION = (
    _style(21, 26, _BOLD, spaceBefore=3, spaceAfter=9),
    _style(12, 17, _BOLD, spaceBefore=14, spaceAfter=3),
)
_QUOTE = _style(11.5, 17, leftIndent=10, borderPadding=(0, 0, 0, 8))
_FIGURE = _style(16, 21, _BOLD)


def pdf(report: Mapping[str, Any]) -> bytes:
    """Return a report (`core.analytics.report`) as a PDF."""
    out = io.BytesIO()
    document = BaseDocTemplate(
        out,
        pagesize=A4,
        title=_plain(report["headline"]),
        author=_plain(report["node"]),
        subject=_plain(report["subtitle"]),
        invariant=True,
    )
    frame = Frame(MARGIN, FOOT, WIDTH, A4[1] - FOOT - 16 * mm, 0, 0, 0, 0)
    document.addPageTemplates(PageTemplate(frames=[frame], onPage=lambda canvas, _: _foot(canvas, report)))
    document.build(_story(report))
    return out.getvalue()


def load() -> None:
    """Import all modules that a PDF needs, by making one: reportlab imports many on first use."""
    table = {"kind": "table", "title": "", "columns": [{"label": "", "align": "left"}], "rows": [[""]]}
    day = {"label": "", "carried": 0, "before": None}
    pdf(
        {
            **dict.fromkeys(("headline", "node", "subtitle", "paragraph", "footer"), ""),
            "figures": [{"label": "", "value": "", "note": ""}],
            "sections": [table, {"kind": "days", "title": "", "before": "", "days": [day]}],
            "to_do": [""],
        }
    )


def _plain(text: Any) -> str:
    """Return a text in characters that the fonts of every reader have."""
    short = str(text)[:MOST_CHARACTERS].replace("\u2212", "\u2013")
    return short.encode("cp1252", "replace").decode("cp1252")


def _said(text: Any, style: ParagraphStyle = _TEXT) -> Paragraph:
    """Return a paragraph of plain text, without markup."""
    return Paragraph(escape(_plain(text)), style)


def _foot(canvas: Canvas, report: Mapping[str, Any]) -> None:
    canvas.setFont(_PLAIN, 8)
    canvas.setFillColor(INK_3)
    canvas.drawString(MARGIN, 10 * mm, _plain(report["subtitle"])[:120])
    canvas.drawRightString(A4[0] - MARGIN, 10 * mm, str(canvas.getPageNumber()))


def _story(report: Mapping[str, Any]) -> list[Flowable]:
    story: list[Flowable] = [
        _said(report["subtitle"], _SMALL),
        _said(report["headline"], _TITLE),
        _quoted(report["paragraph"]),
        Spacer(0, 14),
    ]
    if report["figures"]:
        story.append(_figures(report["figures"]))
    for one in report["sections"]:
        parts: list[Flowable] = [_said(one["title"], _SECTION)]
        if one.get("lede"):
            parts.append(_said(one["lede"]))
        if one["kind"] == "days":
            parts += [_said(f"Carried; lines: {one['before']}", _SMALL), _days(one["days"])]
        else:
            parts.append(_table(one))
        story.append(KeepTogether(parts))
    if report["to_do"]:
        rows = [[_said(number, _SMALL), _said(text)] for number, text in enumerate(report["to_do"], 1)]
        story.append(KeepTogether([_said("To do", _SECTION), Table(rows, [14, WIDTH - 14], style=_lines(len(rows)))]))
    return [*story, Spacer(0, 16), _said(report["footer"], _SMALL)]


def _quoted(text: str) -> Flowable:
    style = [("LINEBEFORE", (0, 0), (0, -1), 1.5, INK), *_padding(0, 0)]
    return Table([[_said(text, _QUOTE)]], [WIDTH], style=style)


def _figures(figures: Sequence[Mapping[str, str]]) -> Flowable:
    cells = [[_said(one["label"], _SMALL), _said(one["value"], _FIGURE), _said(one["note"], _SMALL)] for one in figures]
    style = [
        ("LINEABOVE", (0, 0), (-1, 0), 1.5, INK),
        ("LINEBELOW", (0, 0), (-1, -1), 0.5, LINE),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        *_padding(6, 8),
    ]
    return Table([cells], [WIDTH / len(cells)] * len(cells), style=style)


def _table(section: Mapping[str, Any]) -> Flowable:
    columns = section["columns"]
    right = [one["align"] == "right" for one in columns]
    heads = [_said(one["label"], _HEAD_NUMBER if right[at] else _HEAD) for at, one in enumerate(columns)]
    rows = [
        [_said(cell, _NAME if not at else _NUMBER if right[at] else _CELL) for at, cell in enumerate(row)]
        for row in section["rows"]
    ]
    # Column widths are proportional to the contents.
    longest = [
        max(8, *(min(len(row[at]), 40) for row in [[one["label"] for one in columns], *section["rows"]]))
        for at in range(len(columns))
    ]
    widths = [WIDTH * one / sum(longest) for one in longest]
    style = [*_lines(len(rows) + 1), ("LINEBELOW", (0, 0), (-1, 0), 0.75, STRONG)]
    return Table([heads, *rows], widths, style=style, repeatRows=1)


def _lines(rows: int) -> list[tuple[Any, ...]]:
    below = [("LINEBELOW", (0, row), (-1, row), 0.5, LINE) for row in range(rows)]
    return [*below, ("VALIGN", (0, 0), (-1, -1), "MIDDLE"), *_padding(4, 4)]


def _padding(above: float, below: float) -> list[tuple[Any, ...]]:
    whole = (0, 0), (-1, -1)
    return [
        ("TOPPADDING", *whole, above),
        ("BOTTOMPADDING", *whole, below),
        ("LEFTPADDING", *whole, 0),
        ("RIGHTPADDING", *whole, 8),
        ("RIGHTPADDING", (-1, 0), (-1, -1), 0),
    ]


def _days(days: Sequence[Mapping[str, Any]]) -> Flowable:
    """Return bars of the bytes of each day, with a line for the previous period."""
    drawing = Drawing(WIDTH, CHART_HEIGHT)
    most = max([1, *(one["carried"] for one in days), *(one["before"] or 0 for one in days)])
    room, base, wide = CHART_HEIGHT - 28, 16.0, (WIDTH - CHART_LEFT) / len(days)
    for share in (0.5, 1.0):
        y = base + room * share
        drawing.add(Line(CHART_LEFT, y, WIDTH, y, strokeColor=LINE, strokeWidth=0.5))
        drawing.add(_label(CHART_LEFT - 6, y - 3, amount(most * share, "B"), "end"))
    for at, one in enumerate(days):
        left, bar = CHART_LEFT + wide * at + wide * 0.2, wide * 0.6
        drawing.add(Rect(left, base, bar, room * one["carried"] / most, fillColor=PASSED, strokeColor=None))
        if one["before"] is not None:
            y = base + room * one["before"] / most
            drawing.add(Line(left - 3, y, left + bar + 3, y, strokeColor=INK, strokeWidth=1, strokeDashArray=[2, 2]))
        if len(days) < 12 or at % 5 == 0:
            drawing.add(_label(left + bar / 2, 4, one["label"], "middle"))
    drawing.add(Line(CHART_LEFT, base, WIDTH, base, strokeColor=STRONG, strokeWidth=0.75))
    return drawing


def _label(x: float, y: float, text: str, anchor: str) -> String:
    return String(x, y, _plain(text), fontName=_PLAIN, fontSize=8, fillColor=INK_3, textAnchor=anchor)
