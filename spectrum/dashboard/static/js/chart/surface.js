// Two surfaces with the same few strokes: SVG for pages and print, canvas for many buckets, for 1 Hz, and for pictures.
// Colours are names of tokens.

const NS = 'http://www.w3.org/2000/svg';
const HATCH_PX = 6;
let ids = 0;

/** An SVG element. Presentation attributes need no exception from the content security policy. */
export function svg(tag, attributes = {}, ...kids) {
  const element = document.createElementNS(NS, tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === 'function') element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? '' : value);
  }
  element.append(...kids.flat(9).filter((one) => one !== null && one !== undefined && one !== false));
  return element;
}

const token = (name) => (name ? `var(--${name})` : 'none');
const fixed = (value) => Math.round(value * 10) / 10;
const outline = (points) => points.map(([x, y], i) => `${i ? 'L' : 'M'}${fixed(x)} ${fixed(y)}`).join('');

/** A surface that collects SVG nodes in `nodes`. */
export function svgSurface() {
  const nodes = [], id = `hatch-${ids++}`;
  let hatched = false;
  const add = (node, title) => { if (title) node.append(svg('title', {}, title)); nodes.push(node); };
  return {
    nodes,
    rect: (x, y, width, height, { fill, opacity, stroke, title } = {}) => add(svg('rect', { x: fixed(x), y: fixed(y),
      width: fixed(Math.max(0, width)), height: fixed(height), fill: token(fill), 'fill-opacity': opacity, stroke: stroke && token(stroke) }), title),
    line: (x1, y1, x2, y2, { stroke, dash, width } = {}) => add(svg('line', { x1, y1, x2, y2, stroke: token(stroke),
      'stroke-dasharray': dash, 'stroke-width': width, 'shape-rendering': dash ? null : 'crispEdges' })),
    curve: (points, { stroke, width = 1, dash } = {}) => add(svg('path', { d: outline(points), fill: 'none', stroke: token(stroke),
      'stroke-width': width, 'stroke-dasharray': dash, 'stroke-linejoin': 'round' })),
    area: (high, low, { fill, opacity, hatch }) => {
      const d = `${outline(high)}${outline([...low].reverse()).replace('M', 'L')}z`;
      add(svg('path', { d, fill: token(fill), 'fill-opacity': opacity }));
      if (!hatch) return;
      if (!hatched) nodes.unshift(hatchPattern(id));
      hatched = true;
      add(svg('path', { d, fill: `url(#${id})` }));
    },
    shape: (points, { fill, title }) => add(svg('path', { d: `${outline(points)}z`, fill: token(fill) }), title),
    text: (x, y, text, { fill, anchor, weight, size = 11, title } = {}) => add(svg('text', { x: fixed(x), y: fixed(y), fill: token(fill),
      'text-anchor': anchor, 'font-weight': weight, 'font-size': size }, text), title),
  };
}

const hatchPattern = (id) => svg('defs', {}, svg('pattern', { id, width: HATCH_PX, height: HATCH_PX, patternUnits: 'userSpaceOnUse', patternTransform: 'rotate(45)' },
  svg('line', { x1: 0, y1: 0, x2: 0, y2: HATCH_PX, stroke: 'var(--mitigated-line)', 'stroke-width': 1.25, 'stroke-opacity': 0.6 })));

/** A surface that paints on the 2D context of a canvas, in the colours that `root` has now. */
export function canvasSurface(context, root) {
  const font = getComputedStyle(root).fontFamily, color = resolver(root);
  const trace = (points) => { points.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y))); };
  const stroked = ({ stroke, width = 1, dash }, path) => {
    context.strokeStyle = color(stroke); context.lineWidth = width; context.lineJoin = 'round';
    context.setLineDash(dash ? dash.split(' ').map(Number) : []);
    context.beginPath(); path(); context.stroke(); context.setLineDash([]);
  };
  const filled = ({ fill, opacity = 1 }, path) => {
    context.globalAlpha = opacity; context.fillStyle = color(fill);
    context.beginPath(); path(); context.closePath(); context.fill(); context.globalAlpha = 1;
  };
  return {
    rect: (x, y, width, height, look = {}) => {
      if (look.fill) filled(look, () => context.rect(x, y, width, height));
      if (look.stroke) stroked(look, () => context.rect(x + 0.5, y + 0.5, width, height));
    },
    line: (x1, y1, x2, y2, look = {}) => stroked(look, () => { context.moveTo(x1, y1); context.lineTo(x2, y2); }),
    curve: (points, look = {}) => stroked(look, () => trace(points)),
    area: (high, low, look) => {
      const path = () => trace([...high, ...[...low].reverse()]);
      filled(look, path);
      if (look.hatch) hatch(context, path, color('mitigated-line'), high, low);
    },
    shape: (points, look) => filled(look, () => trace(points)),
    text: (x, y, text, { fill, anchor, weight = 400, size = 11 } = {}) => {
      context.font = `${weight} ${size}px ${font}`; context.fillStyle = color(fill);
      context.textAlign = { middle: 'center', end: 'right' }[anchor] || 'left';
      context.fillText(text, x, y);
    },
  };
}

// A token may be light-dark(...): only a property of an element has the colour itself.
function resolver(root) {
  const probe = document.createElement('i'), known = new Map();
  probe.hidden = true;
  return (name) => {
    if (!name) return 'transparent';
    if (!known.has(name)) {
      root.append(probe);
      probe.style.color = `var(--${name})`;
      known.set(name, getComputedStyle(probe).color);
      probe.remove();
    }
    return known.get(name);
  };
}

function hatch(context, path, color, high, low) {
  const left = high[0][0], right = high.at(-1)[0];
  const top = Math.min(...high.map((one) => one[1])), bottom = Math.max(...low.map((one) => one[1]));
  const step = HATCH_PX * Math.SQRT2;
  context.save();
  context.beginPath(); path(); context.closePath(); context.clip();
  context.strokeStyle = color; context.globalAlpha = 0.6; context.lineWidth = 1.25;
  context.beginPath();
  for (let x = Math.floor((left - (bottom - top)) / step) * step; x < right; x += step) {
    context.moveTo(x, bottom); context.lineTo(x + (bottom - top), top);
  }
  context.stroke(); context.restore();
}
