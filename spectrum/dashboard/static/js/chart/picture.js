// A chart as a PNG, with its title and its legend, painted as the page shows it.

import { layout } from './layout.js';
import { paintBar, paintData, paintFront, paintGround, paintMark } from './paint.js';
import { canvasSurface } from './surface.js';

const PAD = 24;
const TITLE = 28;
const ROW = 20;
const SCALE = 2;

/** Paint a chart. Args: `options` of the chart; `title`; `lines` of text below it (range, filters); `legend` [[series, text]].
 * Returns a promise of a Blob. */
export function picture(options, { title, lines, legend, width = 960 }) {
  const columns = 3, legendRows = Math.ceil(legend.length / columns);
  const head = PAD + TITLE + lines.length * ROW, foot = head + options.height + 16;
  const height = foot + legendRows * ROW + PAD;
  const canvas = document.createElement('canvas'), context = canvas.getContext('2d');
  canvas.width = width * SCALE; canvas.height = height * SCALE;
  context.scale(SCALE, SCALE);
  const surface = canvasSurface(context, document.documentElement);
  surface.rect(0, 0, width, height, { fill: 'page' });
  surface.text(PAD, PAD + 14, title, { fill: 'ink', weight: 600, size: 16 });
  lines.forEach((line, i) => surface.text(PAD, PAD + TITLE + 8 + i * ROW, line, { fill: 'ink-2', size: 12 }));
  context.save();
  context.translate(PAD, head);
  const at = layout(options, width - 2 * PAD);
  paintGround(surface, at, options);
  paintData(surface, at, options);
  paintFront(surface, at, options);
  at.events.bars.forEach((bar) => paintBar(surface, at, bar));
  at.events.marks.forEach((mark) => paintMark(surface, at, mark));
  context.restore();
  legend.forEach(([one, text], i) => {
    const x = PAD + (i % columns) * (width - 2 * PAD) / columns, y = foot + Math.floor(i / columns) * ROW;
    surface.area([[x, y], [x + 10, y]], [[x, y + 10], [x + 10, y + 10]], { fill: one.color, hatch: one.hatched });
    surface.text(x + 16, y + 9, text, { fill: 'ink', size: 12 });
  });
  return new Promise((done) => { canvas.toBlob(done, 'image/png'); });
}
