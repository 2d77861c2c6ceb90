"""Curves over time as a small SVG, drawn by a few lines and coloured by the page's style sheet."""

import html
from collections.abc import Sequence

from engine.speech.audio import FRAME_RATE
from training.report_figures import Curve

_WIDTH, _HEIGHT = 960, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 8, 10, 26


def curves(title: str, series: Sequence[tuple[str, Curve]]) -> str:
    """An SVG of values in [0, 1] at 25 a second; each curve (name, values) has a class "curve-NAME".

    A None breaks its curve. The vertical axis reaches the largest value, at least 0.1.
    """
    pictures = max((len(values) for _, values in series), default=0)
    top = max([0.1, *(value for _, values in series for value in values if value is not None)])
    seconds = max(pictures - 1, 1) / FRAME_RATE

    def x(time: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * time / seconds

    def y(value: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - value / top)

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(title, quote=True)}">',
        *(_line(y(value), f"{value:.2f}") for value in (0.0, top / 2, top)),
    ]
    step = next(step for step in (0.5, 1, 2, 5, 10, 30, 60, 600) if seconds / step <= 10 or step == 600)
    for number in range(int(seconds / step) + 1):
        parts.append(
            f'<text class="tick" x="{x(number * step):.1f}" y="{_HEIGHT - 8}" text-anchor="middle">'
            f"{number * step:g} s</text>"
        )
    for name, values in series:
        points = _path([None if v is None else (x(k / FRAME_RATE), y(v)) for k, v in enumerate(values)])
        parts.append(f'<path class="curve curve-{html.escape(name, quote=True)}" d="{points}"/>')
    return "\n".join([*parts, "</svg>"])


def _line(y: float, label: str) -> str:
    return (
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'
    )


def _path(points: Sequence[tuple[float, float] | None]) -> str:
    """SVG path data; None lifts the pen."""
    parts, pen_down = [], False
    for point in points:
        if point is not None:
            parts.append(f"{'L' if pen_down else 'M'}{point[0]:.1f} {point[1]:.1f}")
        pen_down = point is not None
    return "".join(parts)
