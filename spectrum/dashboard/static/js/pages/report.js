// A report of a week: what has to be known first, one paragraph, figures, tables, what to do. Its words are the API's, as in the PDF.
import { h, put, foreign } from '../dom.js';
import { bytes, NB } from '../format.js';
import { swatch } from '../marks.js';
import { api } from '../api.js';
import { blank, button, failure, fill } from '../states.js';
import { saveAs } from '../saving.js';

const DAY = 86400, SPANS = [[1, 'Yesterday'], [7, 'Last 7 days'], [30, 'Last 30 days']], HEIGHT = 150, BASE = 126, TOP = 14;
const NOT_ON_PHONES = new Set(['Kept out/Reason', 'Busiest apps/Change', 'Busiest apps/Time to connect, 99th']);
const SIGN = new Map([['day', 1], ['week', 7], ['month', 30]]);
const midnight = () => Math.floor(Date.now() / 1000 / DAY) * DAY;
const iso = (t) => new Date(t * 1000).toISOString().slice(0, 19) + 'Z';

export default async function report(ctx) {
  let query = ctx.query, made = null;
  const paper = h('article', { class: 'paper' });
  const range = () => (query.since && query.until ? { since: query.since, until: query.until } : { since: iso(midnight() - (SIGN.get(query.of) ?? 7) * DAY), until: iso(midnight()) });
  const spans = h('div', { class: 'seg', role: 'group', 'aria-label': 'Of which time' });
  const draw = () => put(spans, SPANS.map(([days, label]) => {
    const of = [...SIGN].find(([, n]) => n === days)[0];
    return h('button', { type: 'button', 'aria-pressed': String(!query.since && (query.of ?? 'week') === of), onclick: () => { query = { of }; ctx.setQuery({ of: of === 'week' ? null : of, since: null, until: null }); draw(); load(); } }, label);
  }));
  const load = () => fill(paper, () => api.get('/accounts/{account}/report', range(), { signal: ctx.signal }), (found) => { made = found; return drawn(found); }, 8).catch(() => {});

  async function pdf(path = '/accounts/{account}/report', params = { ...range(), format: 'pdf' }, name = range().since.slice(0, 10)) {
    const answer = await fetch(api.url(path, params), { headers: api.token ? { authorization: `Bearer ${api.token}` } : {}, cache: 'no-store' });
    if (answer.ok) saveAs(`spectrum-${name}.pdf`, await answer.blob());
    else paper.prepend(failure({ text: 'The PDF cannot be made here; print the page instead.' }));
  }

  draw();
  const kept = await api.get('/accounts/{account}/reports', {}, { signal: ctx.signal }).catch(() => []);
  const older = kept.length > 0 && h('select', { class: 'pick', 'aria-label': 'Weekly reports that are kept', onchange: (event) => { const { value } = event.target; event.target.value = ''; if (value) pdf(`/accounts/{account}/reports/${value}`, {}, value); } },
    h('option', { value: '' }, 'Weekly reports'), kept.map(({ until }) => h('option', { value: until }, `until ${until}`)));
  const first = h('div', { class: 'report-tools noprint' }, spans, h('span', { class: 'grow' }), older, button('PDF', () => pdf()), button('Print', () => print(), 'primary'));
  try {
    made = await api.get('/accounts/{account}/report', range(), { signal: ctx.signal });
    put(paper, drawn(made));
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    put(paper, h('h1', {}, error.status === 404 ? 'No report' : 'The report cannot be made'), error.status === 404 ? blank('Nothing is kept to report of', [h('code', {}, 'analytics: true'), ' in the file keeps what happens, and the next week has a report.']) : failure(error, load));
  }
  return { title: 'Report', node: [first, paper] };
}

function drawn(found) {
  return [
    h('header', {}, h('p', { class: 'quiet' }, foreign(found.subtitle)), h('h1', {}, foreign(found.headline, 400)), h('p', { class: 'quote' }, foreign(bound(found.paragraph), 4000))),
    h('dl', { class: 'big' }, found.figures.map(({ label, value, note }) => h('div', {}, h('dt', {}, label), h('dd', {}, value), h('dd', {}, note)))),
    found.sections.map((one) => h('section', {}, h('h2', {}, one.title), one.lede && h('p', { class: 'soft' }, one.lede), one.kind === 'days' ? days(one) : grid(one))),
    found.to_do.length > 0 && h('section', {}, h('h2', {}, 'To do'), h('ol', { class: 'steps' }, found.to_do.map((text, i) => h('li', {}, h('span', { class: 'num' }, String(i + 1)), h('span', {}, foreign(text, 400)))))),
    h('footer', { class: 'small quiet' }, foreign(found.footer, 1000))];
}

// No line begins with the unit of a number.
const bound = (text) => text.replace(/(\d) (?=%|×|(?:[kMGT]?(?:B|bit\/s|pps)|m?s|min|h|d)\b)/g, `$1${NB}`);

function grid({ title, columns, rows }) {
  const kind = (i) => (columns[i].align === 'right' ? 'num' : null);
  // A phone has room for what names a row, and for the figures.
  const shown = (i) => [kind(i), NOT_ON_PHONES.has(`${title}/${columns[i].label}`) && 'hide-s'].filter(Boolean).join(' ') || null;
  return h('div', { class: 'tw', tabindex: 0, role: 'region', 'aria-label': title }, h('table', {}, h('caption', { class: 'vh' }, title),
    h('thead', {}, h('tr', {}, columns.map(({ label }, i) => h('th', { scope: 'col', class: shown(i) }, label)))),
    h('tbody', {}, rows.map((row) => h('tr', {}, row.map((cell, i) => h('td', { class: shown(i) }, i ? foreign(cell) : h('b', {}, foreign(cell)))))))));
}

// Bars of what was carried, with the day before as a dotted line.
function days({ days: list, before }) {
  const place = h('div', { class: 'days' }), most = Math.max(...list.flatMap((one) => [one.carried, one.before ?? 0]), 1), step = niceStep(most / 3), top = Math.max(step, Math.ceil(most / step) * step);
  const paint = () => {
    const width = Math.max(240, place.clientWidth || 640), x = (i) => 56 + (i + .5) * (width - 60) / list.length, y = (value) => BASE - value / top * (BASE - TOP), bar = Math.min(64, (width - 60) / list.length * .56);
    const lines = Array.from({ length: Math.round(top / step) }, (_, i) => (i + 1) * step);
    put(place, h('svg', { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: 'img', 'aria-label': `Carried a day: ${list.map((one) => `${one.label} ${bytes(one.carried)}`).join(', ')}` },
      lines.map((value) => [h('line', { x1: 56, x2: width, y1: y(value), y2: y(value), stroke: 'var(--line)' }), h('text', { x: 48, y: y(value) + 4, 'text-anchor': 'end', 'font-size': 11, fill: 'var(--ink-3)' }, bytes(value))]),
      list.map((one, i) => [h('rect', { x: x(i) - bar / 2, y: y(one.carried), width: bar, height: BASE - y(one.carried), fill: 'var(--passed)' }),
        one.before != null && h('line', { x1: x(i) - bar / 2 - 4, x2: x(i) + bar / 2 + 4, y1: y(one.before), y2: y(one.before), stroke: 'var(--ink)', 'stroke-width': 1.5, 'stroke-dasharray': '2 2' }),
        (list.length < 12 || i % 5 === 0) && h('text', { x: x(i), y: 143, 'text-anchor': 'middle', 'font-size': 11, fill: 'var(--ink-3)' }, one.label)]),
      h('line', { x1: 56, x2: width, y1: BASE, y2: BASE, stroke: 'var(--line-strong)' })));
  };
  new ResizeObserver(paint).observe(place);
  return [h('p', { class: 'small soft' }, swatch('passed'), 'carried', list.some((one) => one.before != null) && [h('i', { class: 'sw dash report-key' }), before]), place];
}

function niceStep(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((n) => n * power).find((n) => n >= value);
}
