// A small curve beside a figure: no axis, the highest value fills the height.

import { pieces } from './series.js';
import { svg } from './surface.js';

/** SVG of values (numbers, or null for no data). Options: width, height, color and fill (tokens), label (what it shows). */
export function spark(values, { width = 120, height = 24, color = 'ink-3', fill = null, label = null } = {}) {
  const most = Math.max(1e-12, ...values.map((one) => one ?? 0)) * 1.08, last = Math.max(1, values.length - 1);
  const spot = (i) => `${(i / last * width).toFixed(1)} ${(height - 1 - values[i] / most * (height - 3)).toFixed(1)}`;
  const curves = pieces(values).map(([a, b]) => ({
    d: Array.from({ length: b - a }, (_, i) => `${i ? 'L' : 'M'}${spot(a + i)}`).join(''), a, b }));
  return svg('svg', { class: 'spark', width, height, viewBox: `0 0 ${width} ${height}`, role: label && 'img', 'aria-label': label, 'aria-hidden': label ? null : 'true' },
    fill && curves.map(({ d, a, b }) => svg('path', { d: `${d}L${((b - 1) / last * width).toFixed(1)} ${height}L${(a / last * width).toFixed(1)} ${height}z`, fill: `var(--${fill})` })),
    curves.map(({ d }) => svg('path', { d, fill: 'none', stroke: `var(--${color})`, 'stroke-width': 1.25 })));
}
