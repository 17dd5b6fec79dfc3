// Analytics: the question as a sentence, its answer as a chart, the largest values of each dimension, and records.

import { h, put } from '../dom.js';
import { bucketFor, chart, colorist, legend, zoneOffset } from '../chart/index.js';
import { change, instant } from '../format.js';
import { onKey } from '../keys.js';
import { live } from '../live.js';
import { href } from '../router.js';
import { blank, button, failure } from '../states.js';
import { strip } from '../strip.js';
import { onRange, range, readRange, setRange, zoomOut } from '../time.js';
import { ask } from '../analytics/ask.js';
import { dimensions, metric, METRICS, PERCENTILES, PERIODS, TOPS, TOPS_AT_ONCE, valueLabel } from '../analytics/catalogue.js';
import { causeLine } from '../analytics/cause.js';
import { copyLink, exportDialog } from '../analytics/exporting.js';
import { filterBox } from '../analytics/filterbox.js';
import { withFilter, withValue } from '../analytics/filters.js';
import { annotations } from '../analytics/notes.js';
import { nothing } from '../analytics/nothing.js';
import { metricsOf, plotted, wholeRange } from '../analytics/plotted.js';
import { ruleDialog } from '../analytics/ruledialog.js';
import { samples } from '../analytics/samples.js';
import { top } from '../analytics/tops.js';
import { fromQuery, PERCENTILE, toQuery, valid } from '../analytics/view.js';
import { beforeWords, filterWords, headline, saying, sumBefore, titleOf, unitOf } from '../analytics/words.js';

const GROUPS = 6;
const HEIGHT = 312;
const SETTLE_MS = 120; // while the strip is dragged
const ARRIVES_S = 3; // records of a second are in the store by then
const REFRESH_S = [5, 60];
const LEGEND_PX = 348, MARGIN_PX = 48, RAIL_PX = 208, PHONE_PX = 860, LEFT_PX = 58, CONTENT_PX = 1280;
const REST = 10; // a live page asks at most for a tenth of the time
const OFF = 10404;

/** The page. */
export default async function analytics(ctx) {
  let q = fromQuery(ctx.query), shown = null, abort = new AbortController(), timer = 0, ticking = 0, under = null, lists = { table: '', tops: new Map() };
  const paint = colorist();
  const controls = h('div', { class: 'query' }), sentence = h('p', { class: 'lede', role: 'status' }), notice = h('div', {});
  const tops = h('div', { class: 'tops' }), more = h('div', {}), samplesHead = h('div', { class: 'sec' }), samplesPlace = h('div', {});
  const plot = chart({ height: HEIGHT, times: [], series: [], label: 'Loading', range: [range.since, range.until], onBrush: ([since, until]) => setRange({ since, until }), onZoomOut: zoomOut, onCross: (i) => key.at(i) });
  const key = legend({ kind: 'area', series: [], times: [], bucket: 60, range: [range.since, range.until], say: String, pick: (one, exclude) => pick(q.by, one.key, exclude), onHover: (node, one) => hover(node, q.by, one.key) });
  const filters = filterBox({ table: () => q.metric.table, filters: () => q.filters, base: () => ({ since: span().since, until: span().until }), change: (some) => become({ filters: some }), add: (one) => become({ filters: withFilter(q.filters, one) }) });
  const cause = causeLine({ pick, hover });
  const rest = [h('div', { class: 'cols' }, h('section', { 'aria-label': 'Chart' }, plot.node), h('section', { 'aria-label': 'Legend' }, key.node)),
    h('section', {}, h('h2', { class: 'vh' }, 'Most of each dimension'), tops, more), h('section', {}, samplesHead, samplesPlace)];
  const node = h('div', { class: 'analytics' }, h('h1', { class: 'vh' }, 'Analytics'), controls, filters.node, sentence, cause.node, notice, rest);

  // ---- the question ----
  function become(part, push = true) {
    q = valid({ ...q, ...part });
    ctx.setQuery(toQuery(q), { push });
    draw();
    load();
  }

  function pick(dimension_, value, exclude) {
    if (dimension_ === PERCENTILE || value === null) return;
    become({ filters: withValue(q.filters, dimension_, value, exclude) });
  }

  // What the keyboard's `x` excludes: the value under the pointer, or the one that has the focus.
  function hover(element, dimension_, value) {
    const on = () => { under = { element, dimension: dimension_, value }; }, off = () => { if (under?.element === element) under = null; };
    for (const [name, run] of [['pointerenter', on], ['focusin', on], ['pointerleave', off], ['focusout', off]]) element.addEventListener(name, run);
  }

  // Whole buckets, so that no first or last one has only a part of its time.
  function span() {
    const width = plot.node.clientWidth ? plot.node.clientWidth - LEFT_PX : guessedWidth();
    const bucket = bucketFor(range.length, width), until = range.isLive ? range.until : Math.min(Math.ceil(range.until / bucket) * bucket, Date.now() / 1000);
    return { since: Math.floor(range.since / bucket) * bucket, until: Math.ceil(until), bucket };
  }

  // A metric of one outcome is about those sessions alone, in the lists and the records, too.
  const filtersAsked = () => [...q.filters, ...(q.metric.outcome ? [{ dimension: 'outcome', op: '=', values: [q.metric.outcome] }] : [])];

  async function load() {
    abort.abort();
    clearTimeout(ticking);
    const mine = abort = new AbortController(), { since, until, bucket } = span(), base = { since, until, filter: filtersAsked() };
    // The chart is asked for first: a browser has few connections.
    const began = performance.now(), answered = answer(base, bucket, mine.signal), others = drawTops(base, mine.signal);
    try {
      await answered;
      const isEmpty = q.metric.additive && !shown.found.totals[q.metric.name] && q.filters.length > 0;
      put(notice, isEmpty && await nothing(q, base, (some) => become({ filters: some }), mine.signal));
      rest.forEach((part, i) => { part.hidden = isEmpty && i > 0; });
    } catch (error) {
      if (error.name === 'AbortError' || mine.signal.aborted) return;
      failed(error);
    }
    const lists_ = await Promise.all(others);
    if (!mine.signal.aborted) cause.show(lists_, q.filters);
    if (range.isLive && !mine.signal.aborted) again(Math.max(1000 * Math.min(REFRESH_S[1], Math.max(REFRESH_S[0], bucket)), REST * (performance.now() - began)));
  }

  function again(pause) {
    clearTimeout(ticking);
    ticking = setTimeout(() => { if (document.hidden || live.paused) again(1000 * REFRESH_S[0]); else load(); }, pause);
  }

  // Without a store there is nothing else to show; another fault leaves what was there.
  function failed(error) {
    const isOff = error.status === 404 && error.errors?.some((one) => one.code === OFF);
    for (const part of rest) part.hidden = isOff || !shown;
    if (isOff) put(sentence);
    put(notice, isOff ? blank('Analytics is off', ['It keeps every record of a session, refusal and change of health in a store of its own, and answers questions about them. ', h('code', {}, 'analytics: true'), ' in the file and a reload switch it on.']) : failure(error, load));
  }

  async function answer(base, bucket, signal) {
    const m = q.metric, grouped = q.by !== '' && q.by !== PERCENTILE;
    const asked = { ...base, table: m.table, metrics: metricsOf(q), dimensions: grouped ? [q.by] : [], limit: GROUPS, others: grouped && m.additive };
    const [found, whole, notes] = await Promise.all([
      ask({ ...asked, bucket, compare: q.against || null }, signal), m.additive ? null : ask(asked, signal), annotations(base.since, base.until, signal).catch(() => [])]);
    if (signal.aborted) return;
    shown = { found, whole, notes, base, bucket, ...plotted(q, found, base, bucket, paint) };
    drawChart();
  }

  // ---- drawing ----
  const select = (label, id, options, value, run) => [h('label', { for: id }, label), h('select', { class: 'pick', id, value, onchange: (event) => run(event.target.value) }, options)];
  const option = ({ key: one, label }) => h('option', { value: one }, label);

  function draw() {
    const m = q.metric, by = [...(m.percentiles ? [{ key: PERCENTILE, label: 'percentile' }] : [{ key: '', label: 'nothing' }]), ...dimensions(m.table).filter((one) => !one.single)];
    const focused = document.activeElement?.id;
    put(controls, h('div', { class: 'qsent' },
      select('Show', 'q-metric', METRICS.map(({ group, of }) => h('optgroup', { label: group }, of.map(option))), m.key, (value) => become({ metric: metric(value) })),
      m.percentiles && q.by !== PERCENTILE && select('at the', 'q-percentile', PERCENTILES.map(option), q.percentile, (value) => become({ percentile: value })),
      select('by', 'q-by', by.map(option), q.by, (value) => become({ by: value })),
      select('against', 'q-against', PERIODS.map(option), q.against, (value) => become({ against: value })),
      m.additive && h('div', { class: 'seg', role: 'group', 'aria-label': 'Rate or volume' }, [[true, 'Rate'], [false, 'Volume']].map(([asRate, label]) => h('button', { type: 'button', id: `q-${label}`, 'aria-pressed': String(q.asRate === asRate), onclick: () => become({ asRate }) }, label)))),
    h('div', { class: 'qacts' }, button('Make a rule', () => ruleDialog({ filters: q.filters, table: m.table, notes: filterWords(q, valueLabel) })),
      button('Export', () => shown && exportDialog(exported())), button('Copy link', () => copyLink(link()))));
    if (focused?.startsWith('q-')) document.getElementById(focused)?.focus();
    filters.draw();
  }

  function drawChart() {
    const { found, base, rate, kind, series, times, bucket, compare } = shown, asOf = range.isLive ? base.until - ARRIVES_S : null;
    const partly = found.partial ? [{ t: base.since, t2: base.until, kind: 'gap', text: found.partial }] : [];
    const all = { kind, series, times, bucket, compare, asOf, range: [base.since, base.until], unit: unitOf(q, rate), offset: zoneOffset(), label: titleOf(q, rate), say: saying(q, rate).value, notes: [...shown.notes, ...partly] };
    const now = found.totals[q.metric.name], was = sumBefore(q, shown), against = q.metric.additive && was ? `now ${change(now, was)}` : '';
    plot.update(all);
    key.update({ ...all, before: beforeWords(q), change: against, whole: wholeRange(q, shown, against) });
    put(sentence, headline(q, shown, range.length), found.partial ? ` ${found.partial}` : '');
  }

  function drawTops(base, signal) {
    const m = q.metric, keys = TOPS[m.table].slice(0, q.more ? undefined : TOPS_AT_ONCE), left = TOPS[m.table].length - TOPS_AT_ONCE;
    const asked = m.percentiles ? { ...m, name: m.key + (q.by === PERCENTILE ? '99th' : q.percentile) } : m, say = saying(q).sum;
    if (lists.table !== m.table) lists = { table: m.table, tops: new Map(), samples: samples({ table: m.table, pick, hover }) };
    for (const one of keys) if (!lists.tops.has(one)) lists.tops.set(one, top({ table: m.table, key: one, pick, hover }));
    const shownTops = keys.map((one) => lists.tops.get(one));
    if (tops.children.length !== keys.length || tops.firstChild !== shownTops[0].node) put(tops, shownTops.map((one) => one.node));
    // A list of one outcome is of all sessions, to tell what sets these apart.
    const listed = { ...base, filter: m.outcome ? q.filters : base.filter };
    const loads = shownTops.map((one) => one.load({ metric: asked, base: listed, say }, signal));
    put(more, left > 0 && button(q.more ? 'Fewer dimensions' : `${left} more dimensions`, () => become({ more: !q.more }, false), 'bare'));
    put(samplesHead, h('h2', {}, m.table === 'packets' ? 'Sampled packets' : 'Records'), h('span', { class: 'small quiet' }, 'the newest that the filters let through'));
    if (samplesPlace.firstChild !== lists.samples.node) put(samplesPlace, lists.samples.node);
    return [...loads, lists.samples.load(base, signal)];
  }

  function exported() {
    const { base, rate, series } = shown, filtered = filterWords(q, valueLabel);
    return { ...shown, title: titleOf(q, rate), unit: unitOf(q, rate), before: beforeWords(q), options: { ...plot.options }, legend: series.map((one) => [one, one.label]),
      lines: [`${instant(base.since)} to ${instant(base.until)}`, filtered].filter(Boolean), file: `analytics-${q.metric.key}${q.by ? `-by-${q.by}` : ''}` };
  }

  // A link to the last hour would show another one: it has the instants.
  function link() {
    const iso = (t) => `${new Date(t * 1000).toISOString().slice(0, 19)}Z`;
    return location.origin + location.pathname + href('/analytics', { ...toQuery(q), since: iso(range.since), until: iso(range.until) });
  }

  // ---- begin ----
  const later = () => { clearTimeout(timer); plot.update({ range: [range.since, range.until] }); timer = setTimeout(load, SETTLE_MS); };
  const off = onRange(later);
  onKey('c', node, () => become({ against: q.against ? '' : 'day' }));
  onKey('x', node, () => { if (under) pick(under.dimension, under.value, true); });
  draw();
  requestAnimationFrame(load);
  return {
    title: 'Analytics', node, strip: strip(),
    onQuery: (query) => { readRange(); q = fromQuery(query); draw(); load(); },
    onLeave: () => { off(); abort.abort(); clearTimeout(timer); clearTimeout(ticking); },
  };
}

function guessedWidth() {
  const narrow = innerWidth <= PHONE_PX;
  return Math.max(200, Math.min(CONTENT_PX - MARGIN_PX, innerWidth - (narrow ? 32 : RAIL_PX + MARGIN_PX)) - (narrow ? 0 : LEGEND_PX) - LEFT_PX);
}
