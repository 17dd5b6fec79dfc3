// Paints a chart that `layout` has laid out, on any surface: the ground, the data, what stands before the data.

import { timeLabel, valueLabel } from './scale.js';

const GAP_WORDS_PX = 64;

export function paintGround(surface, at, o) {
  for (const gap of at.gaps) {
    surface.rect(gap.from, at.y0, gap.to - gap.from, at.y1 - at.y0, { fill: 'sunken', title: gap.text });
  }
  at.axis.ticks.forEach((value) => {
    const y = Math.round(at.y(value)) + 0.5;
    surface.line(at.x0, y, at.x1, y, { stroke: 'line' });
    surface.text(at.x0 - 8, y + 3.5, valueLabel(value, at.axis, o.unit), { fill: 'ink-3', anchor: 'end' });
  });
}

export function paintData(surface, at, o) {
  const soft = o.kind === 'area' && o.series.length === 1 && !o.series[0].hatched;
  for (let i = o.series.length - 1; i >= 0; i--) {
    const one = o.series[i];
    for (const { high, low } of at.shapes[i]) {
      if (o.kind === 'area') {
        surface.area(high, low, { fill: one.color, opacity: soft ? 0.18 : 1, hatch: one.hatched });
        const stroke = soft ? one.color : one.edge && i === o.series.length - 1 ? one.edge : 'surface';
        surface.curve(high, { stroke, width: soft ? 1.5 : 1 });
      } else surface.curve(high, { stroke: one.color, width: one.width ?? 1.75, dash: one.dash });
    }
  }
  for (const points of at.before) surface.curve(points, { stroke: 'ink-3', width: 1.25, dash: '2 3' });
}

export function paintFront(surface, at, o) {
  for (const gap of at.gaps) {
    if (gap.to - gap.from > GAP_WORDS_PX) surface.text(gap.from + 5, at.y0 + 13, gap.short || gap.text, { fill: 'ink-3' });
  }
  for (const { value, text } of o.lines || []) {
    surface.line(at.x0, at.y(value), at.x1, at.y(value), { stroke: 'ink-2', dash: '4 3' });
    surface.text(at.x1 - 4, at.y(value) - 5, text, { fill: 'ink-2', anchor: 'end' });
  }
  surface.line(at.x0, at.y1 + 0.5, at.x1, at.y1 + 0.5, { stroke: 'line-strong' });
  if (o.axis !== false) {
    for (const t of at.time.ticks) {
      const x = Math.round(at.x(t)) + 0.5;
      surface.line(x, at.y1, x, at.y1 + 4, { stroke: 'line-strong' });
      if (x > at.x0 + 2 && x < at.x1 - 14) {
        surface.text(x, at.height - 6, o.timeLabel ? o.timeLabel(t) : timeLabel(t, at.time.step, o.offset), { fill: 'ink-3', anchor: 'middle' });
      }
    }
  }
}

/** One event of the lane: a bar with its words. */
export function paintBar(surface, at, bar, title) {
  const kind = bar.note.kind, y = bar.row * 18 + 1;
  surface.line(bar.x + 0.5, y, bar.x + 0.5, at.y1, { stroke: `${kind}-text`, dash: '2 2' });
  surface.rect(bar.x, y, bar.width, 15, { fill: `${kind}-wash`, title });
  surface.rect(bar.x, y, Math.min(3, bar.width), 15, { fill: kind });
  if (bar.width > 6) surface.rect(bar.x, y + 13, bar.width, 2, { fill: kind });
  surface.text(bar.textX, y + 11, bar.text, { fill: `${kind}-text`, weight: 500, title });
}

/** Changes at one place of the axis: a triangle, with their number. */
export function paintMark(surface, at, mark) {
  surface.line(mark.x, at.y0, mark.x, at.y1, { stroke: 'ink-3', dash: '1 3' });
  surface.shape([[mark.x, at.y1 + 1], [mark.x + 4.5, at.y1 + 9], [mark.x - 4.5, at.y1 + 9]], { fill: 'ink-2', title: mark.text });
  if (mark.notes.length > 1) surface.text(mark.x + 7, at.y1 + 9, String(mark.notes.length), { fill: 'ink-2', size: 10 });
}
