// Analytics: the question as a sentence, its answer as a chart, the largest values of each dimension, and records.

import { h, put } from '../dom.js';
import { bucketFor, bucketTimes, chart, colorist, legend, zoneOffset } from '../chart/index.js';
import { bytes, change, dur, instant, int, ms, pct, si } from '../format.js';
import { onKey } from '../keys.js';
import { live } from '../live.js';
import { mark } from '../marks.js';
import { href } from '../router.js';
import { button, failure } from '../states.js';
import { strip } from '../strip.js';
import { onRange, range, rangeQuery, readRange, setRange, zoomOut } from '../time.js';
import { ask } from '../analytics/ask.js';
import { dimension, dimensions, metric, METRICS, PERCENTILES, PERIODS, TOPS, TOPS_AT_ONCE, valueLabel } from '../analytics/catalogue.js';
import { copyLink, exportDialog } from '../analytics/exporting.js';
import { filterBox } from '../analytics/filterbox.js';
import { fromText, opWords, toText, withFilter, withValue } from '../analytics/filters.js';
import { annotations } from '../analytics/notes.js';
import { ruleDialog } from '../analytics/ruledialog.js';
import { samples } from '../analytics/samples.js';
import { begun, byGroup, column, ordered, rateOf, shownAs } from '../analytics/series.js';
import { PLACES, standout } from '../analytics/standout.js';
import { top } from '../analytics/tops.js';

const GROUPS = 6;
const HEIGHT = 312;
const SETTLE_MS = 120; // while the strip is dragged
const ARRIVES_S = 3; // records of a second are in the store by then
const REFRESH_S = [5, 60];
const LEGEND_PX = 348, MARGIN_PX = 48, RAIL_PX = 208, PHONE_PX = 860, LEFT_PX = 58, CONTENT_PX = 1280;
const PERCENTILE = 'percentile';

const isNumber = (key) => ['events', 'packets'].some((table) => dimensions(table).some((one) => one.key === key && one.number));
const read = (query) => ({ metric: metric(query.m), by: query.by ?? 'outcome', against: query.vs ?? 'day', asRate: query.as !== 'volume', percentile: query.p || '99th', filters: fromText(query.f, isNumber), more: query.more === '1' });
const told = (q) => ({ m: q.metric.key === 'sessions' ? null : q.metric.key, by: q.by === 'outcome' ? null : q.by, vs: q.against === 'day' ? null : q.against || 'none', as: q.asRate ? null : 'volume',
  p: q.percentile === '99th' ? null : q.percentile, f: toText(q.filters) || null, more: q.more ? '1' : null });

/** The page. */
export default async function analytics(ctx) {
  let q = clean(read(ctx.query)), shown = null, abort = new AbortController(), timer = 0, ticking = 0, under = null, lists = { table: '', tops: new Map() };
  const paint = colorist();
  const controls = h('div', { class: 'query' }), sentence = h('p', { class: 'lede', role: 'status' }), notice = h('div', {}), cause = h('div', { class: 'cause' });
  const tops = h('div', { class: 'tops' }), more = h('div', {}), samplesHead = h('div', { class: 'sec' }), samplesPlace = h('div', {});
  const plot = chart({ height: HEIGHT, times: [], series: [], label: 'Loading', range: [range.since, range.until], onBrush: ([since, until]) => setRange({ since, until }), onZoomOut: zoomOut, onCross: (i) => key.at(i) });
  const key = legend({ kind: 'area', series: [], times: [], bucket: 60, range: [range.since, range.until], say: String, pick: (one, exclude) => pick(q.by, one.key, exclude), onHover: (node, one) => hover(node, q.by, one.key) });
  const filters = filterBox({ table: () => q.metric.table, filters: () => q.filters, base: () => ({ since: span().since, until: span().until }), change: (some) => become({ filters: some }), add: (one) => become({ filters: withFilter(q.filters, one) }) });
  const node = h('div', { class: 'analytics' }, h('h1', { class: 'vh' }, 'Analytics'), controls, filters.node, sentence, cause, notice,
    h('div', { class: 'cols' }, h('section', { 'aria-label': 'Chart' }, plot.node), h('section', { 'aria-label': 'Legend' }, key.node)),
    h('section', {}, h('h2', { class: 'vh' }, 'Most of each dimension'), tops, more), h('section', {}, samplesHead, samplesPlace));

  // ---- the question ----
  function become(part, push = true) {
    q = clean({ ...q, ...part });
    ctx.setQuery({ ...told(q) }, { push });
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
    const answered = answer(base, bucket, mine.signal);
    drawTops(base, mine.signal);
    try {
      await answered;
      put(notice);
    } catch (error) {
      if (error.name === 'AbortError' || mine.signal.aborted) return;
      put(notice, failure(error, load));
    }
    if (range.isLive) ticking = setTimeout(() => { if (node.isConnected && !document.hidden && !live.paused) load(); else ticking = setTimeout(load, REFRESH_S[0] * 1000); }, 1000 * Math.min(REFRESH_S[1], Math.max(REFRESH_S[0], bucket)));
  }

  async function answer(base, bucket, signal) {
    const m = q.metric, isPercentiles = q.by === PERCENTILE, grouped = !isPercentiles && q.by !== '';
    const names = isPercentiles ? PERCENTILES.map((one) => m.key + one.key) : m.percentiles ? [m.key + q.percentile] : m.parts ? [m.name, 'failed', 'refused', 'bytes'] : [m.name];
    const asked = { ...base, table: m.table, metrics: names, dimensions: grouped ? [q.by] : [], limit: GROUPS, others: grouped && m.additive };
    const [found, whole, notes] = await Promise.all([
      ask({ ...asked, bucket, compare: q.against || null }, signal), m.additive ? null : ask(asked, signal), annotations(base.since, base.until, signal).catch(() => [])]);
    if (signal.aborted) return;
    shown = { found, whole, notes, base, bucket, ...series(found, base, bucket, grouped, isPercentiles) };
    drawChart();
    await lookForCause(base, signal);
  }

  // Of sessions that failed: what nearly all of them have, and few others.
  async function lookForCause(base, signal) {
    put(cause);
    const m = q.metric, filter = q.filters.filter((one) => one.dimension !== 'outcome');
    if (!m.parts && m.outcome !== 'failed' || !shown.found.totals.failed) return;
    const asked = { ...base, filter, table: 'events', metrics: ['failed', 'sessions'], limit: 3 };
    const [sums, reasons, ...answers] = await Promise.all([ask({ ...asked, dimensions: [] }, signal), ask({ ...asked, dimensions: ['reason'], metrics: ['failed'] }, signal),
      ...PLACES.filter((one) => !filter.some((each) => each.dimension === one)).map(async (one) => ({ dimension: one, rows: (await ask({ ...asked, dimensions: [one] }, signal)).rows }))]);
    const { failed, sessions } = sums.totals, found = standout(answers, failed, sessions), [reason] = reasons.rows;
    if (signal.aborted || !found) return;
    const value = h('button', { class: 'bare-link strong', type: 'button', onclick: (event) => pick(found.dimension, found.value, event.altKey) }, h('bdi', {}, valueLabel(found.dimension, found.value)));
    hover(value, found.dimension, found.value);
    put(cause, mark('failed'), h('p', {}, `${pct(found.share)} of the failed sessions are of ${dimension('events', found.dimension).label} `, value, `, which has ${pct(found.rest)} of the others`,
      reason?.[1] ? [`; most failed with `, h('code', {}, reason[0])] : '', '.'));
  }

  function series(found, { since, until }, bucket, grouped, isPercentiles) {
    const times = bucketTimes(since, until, bucket), rate = rateOf(q.metric, found.totals[q.metric.name] / (until - since)), look = { asRate: q.asRate, factor: rate.factor, additive: q.metric.additive }, missing = q.metric.additive ? 0 : null;
    const compare = found.previous?.rows.length ? shownAs(begun(column(found.previous.rows, times, isPercentiles ? PERCENTILES.length : 1, missing), found.previous.rows[0][0], times), look, bucket) : null;
    if (isPercentiles) {
      const lines = PERCENTILES.map((one, i) => ({ key: one.key, label: one.label, color: 'passed', width: [1, 1.5, 2][i], dash: i === 0 ? '4 2' : null, values: column(found.rows, times, 1 + i, null), pickable: false }));
      return { times, rate, compare, kind: 'line', series: lines.reverse() };
    }
    const groups = byGroup(found.rows, times, grouped, missing), order = grouped ? ordered(groups, q.by) : [''];
    if (!grouped && !groups.has('')) groups.set('', times.map(() => missing));
    const colors = grouped ? paint(q.by, order) : [{ color: { failed: 'failed', refused: 'mitigated' }[q.metric.outcome] || 'passed' }];
    const rest = found.groups - order.filter((one) => one !== null).length;
    return { times, rate, compare, kind: q.metric.additive ? 'area' : 'line', series: order.map((value, i) => ({ ...colors[i], key: value, pickable: grouped && value !== null,
      label: value === null ? `${int(rest)} ${rest === 1 ? 'other' : 'others'}` : grouped ? valueLabel(q.by, value) : q.metric.label, values: shownAs(groups.get(value), look, bucket) })) };
  }

  // ---- words and numbers ----
  const unit = () => (q.metric.additive && q.asRate ? shown.rate.unit : q.metric.unit);
  function say(value) {
    if (q.metric.percentiles) return q.metric.key === 'duration' ? dur(value / 1e3) : ms(value * 1e6);
    return si(value, unit());
  }
  const sayTotal = (value) => (q.metric.percentiles ? say(value) : q.metric.unit === 'B' ? bytes(value) : q.metric.additive ? si(value, q.metric.unit) : int(value));
  const beforeWords = () => PERIODS.find((one) => one.key === q.against).label;

  function title() {
    const m = q.metric, by = q.by && q.by !== PERCENTILE ? ` by ${dimension(m.table, q.by).label}` : '';
    const what = m.additive && q.asRate ? `${m.label}, ${shown.rate.words}` : m.percentiles && q.by !== PERCENTILE ? `${m.label}, ${PERCENTILES.find((one) => one.key === q.percentile).label}` : m.label;
    return what.charAt(0).toUpperCase() + what.slice(1) + by;
  }

  // The answer in one line: how much, against what, and what was wrong in it.
  function headline() {
    const { found, base } = shown, m = q.metric, over = found.totals[m.name], was = before();
    const compared = was ? `, ${comparison(over, was)} ${beforeWords()}` : '';
    if (m.percentiles) {
      const of = (end) => (shown.whole ?? found).totals[m.key + end];
      if (q.by !== PERCENTILE) return of(q.percentile) == null ? 'Nothing was measured in this range.' : `${capitalOf(PERCENTILES.find((one) => one.key === q.percentile).label)} of the ${m.label}: ${say(of(q.percentile))}.`;
      return of('Median') == null ? 'Nothing was measured in this range.' : `${capitalOf(m.label)}: half within ${say(of('Median'))}, nine of ten within ${say(of('90th'))}, 99 of 100 within ${say(of('99th'))}.`;
    }
    if (!over) return m.outcome ? `No ${m.label.replace(' sessions', '')} session in this range${was ? `; ${sayTotal(was)} ${beforeWords()}` : ''}.` : `No ${m.label} in this range${was ? `; ${sayTotal(was)} ${beforeWords()}` : ''}.`;
    const length = base.until - base.since, mean = m.additive ? ` in ${dur(range.length)}, ${si(over * shown.rate.factor / length, shown.rate.unit)} on average` : '';
    const parts = m.parts && [[found.totals.failed, 'failed'], [found.totals.refused, 'refused']].filter(([one]) => one > 0).map(([one, word]) => `${int(one)} ${word} (${pct(one / over)})`);
    const words = m.unit === 'B' ? `${bytes(over)} of ${m.label}` : `${int(over)} ${m.label}`;
    return `${words}${mean}${compared}.${parts?.length ? ` ${parts.join(', ')}.` : ''}`;
  }
  // The period before is no measure where there is hardly anything of it.
  function before() {
    const { found, base } = shown, first = found.previous?.rows[0]?.[0];
    return q.against && first !== undefined && first - base.since <= (base.until - base.since) / 4 ? found.previous.totals[q.metric.name] : null;
  }
  const comparison = (now, was) => { const text = change(now, was); return text.includes('×') ? `${text} that of` : `${text} against`; };
  const capitalOf = (text) => text.charAt(0).toUpperCase() + text.slice(1);

  // ---- drawing ----
  function clean(one) {
    const table = one.metric.table;
    let by = one.by;
    if (one.metric.percentiles && (by === 'outcome' || by === '')) by = PERCENTILE;
    if (!one.metric.percentiles && by === PERCENTILE) by = 'outcome';
    if (by !== PERCENTILE && by !== '' && !dimensions(table).some((each) => each.key === by && !each.single)) by = 'outcome';
    if (one.metric.key === 'clients' && by === 'outcome' && !ctx.query.by) by = '';
    const against = PERIODS.some((each) => each.key === one.against) ? one.against : '';
    return { ...one, by, against, filters: one.filters.filter((each) => dimensions(table).some((known) => known.key === each.dimension)) };
  }

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
    h('div', { class: 'qacts' }, button('Make a rule', () => ruleDialog({ filters: q.filters, table: m.table, outcome: q.filters.map((one) => `${dimension(m.table, one.dimension).label} ${opWords(one.op)} ${one.values.join(', ')}`).join('; ') })),
      button('Export', () => shown && exportDialog(exported())), button('Copy link', () => copyLink(link()))));
    if (focused?.startsWith('q-')) document.getElementById(focused)?.focus();
    filters.draw();
  }

  function drawChart() {
    const { found, notes, base, times, bucket, compare } = shown, asOf = range.isLive ? base.until - ARRIVES_S : null;
    const extent = [base.since, base.until];
    const all = { kind: shown.kind, series: shown.series, times, bucket, range: extent, asOf, compare, unit: q.metric.key === 'duration' ? 'ms' : unit(), offset: zoneOffset(), label: title(), say, notes: found.partial ? [...notes, { t: base.since, t2: base.until, kind: 'gap', text: found.partial }] : notes };
    plot.update(all);
    key.update({ ...all, before: q.against && beforeWords(), change: nowAgainst(), whole: wholeRange() });
    put(sentence, headline());
    if (found.partial) sentence.append(` ${found.partial}`);
  }

  function nowAgainst() {
    const now = shown.found.totals[q.metric.name], was = before();
    return now && was && q.metric.additive ? `now ${change(now, was)}` : '';
  }

  // In the legend: means and peaks of rates; sums and shares of volumes; of what does not add up, the value of the whole range.
  function wholeRange() {
    if (q.metric.additive && q.asRate) return null;
    if (q.metric.additive) {
      const sums = new Map(shown.series.map((one) => [one.key, one.values.reduce((sum, value) => sum + (value ?? 0), 0)])), all = [...sums.values()].reduce((a, b) => a + b, 0);
      return { heads: ['Total', 'Share'], cells: (one) => [sayTotal(sums.get(one.key)), all ? pct(sums.get(one.key) / all) : ''], before: [sayTotal((shown.compare || []).reduce((sum, value) => sum + (value ?? 0), 0)), nowAgainst()] };
    }
    const { whole } = shown, peak = (one) => one.values.reduce((most, value) => Math.max(most, value ?? 0), 0);
    const value = (one) => (q.by === PERCENTILE ? whole.rows[0]?.[PERCENTILES.findIndex((each) => each.key === one.key)] : q.by === '' ? whole.rows[0]?.[0] : whole.rows.find((row) => row[0] === one.key)?.[1]);
    return { heads: ['All', 'Peak'], cells: (one) => [value(one) == null ? '' : say(value(one)), say(peak(one))], before: ['', ''] };
  }

  function drawTops(base, signal) {
    const m = q.metric, keys = TOPS[m.table].slice(0, q.more ? undefined : TOPS_AT_ONCE), left = TOPS[m.table].length - TOPS_AT_ONCE;
    const asked = m.percentiles ? { ...m, name: m.key + (q.by === PERCENTILE ? '99th' : q.percentile) } : m;
    if (lists.table !== m.table) lists = { table: m.table, tops: new Map(), samples: samples({ table: m.table, pick, hover }) };
    for (const one of keys) if (!lists.tops.has(one)) lists.tops.set(one, top({ table: m.table, key: one, say: sayTotal, pick, hover }));
    const shownTops = keys.map((one) => lists.tops.get(one));
    if (tops.children.length !== keys.length || tops.firstChild !== shownTops[0].node) put(tops, shownTops.map((one) => one.node));
    shownTops.forEach((one) => one.load(asked, base, signal));
    put(more, left > 0 && button(q.more ? 'Fewer dimensions' : `${left} more dimensions`, () => become({ more: !q.more }, false), 'bare'));
    put(samplesHead, h('h2', {}, m.table === 'packets' ? 'Sampled packets' : 'Records'), h('span', { class: 'small quiet' }, 'the newest that the filters let through'));
    if (samplesPlace.firstChild !== lists.samples.node) put(samplesPlace, lists.samples.node);
    lists.samples.load(base, signal);
  }

  function exported() {
    const { times, bucket, series: some, compare, base } = shown;
    const filtersText = q.filters.map((one) => `${dimension(q.metric.table, one.dimension).label} ${opWords(one.op)} ${one.values.map((value) => valueLabel(one.dimension, value)).join(' or ')}`).join('; ');
    return { title: title(), what: title(), unit: q.metric.percentiles ? 'ms' : unit(), times, bucket, series: some, compare, before: q.against ? beforeWords() : '', options: { ...plot.options },
      lines: [`${instant(base.since)} to ${instant(base.until)}`, ...(filtersText ? [filtersText] : [])], legend: some.map((one) => [one, one.label]), file: `analytics-${q.metric.key}${q.by ? `-by-${q.by}` : ''}` };
  }

  function link() {
    const fixed = { since: new Date(range.since * 1000).toISOString().slice(0, 19) + 'Z', until: new Date(range.until * 1000).toISOString().slice(0, 19) + 'Z', last: null };
    return location.origin + location.pathname + href('/analytics', { ...told(q), ...(range.isLive ? fixed : rangeQuery()) });
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
    onQuery: (query) => { readRange(); q = clean(read(query)); draw(); load(); },
    onLeave: () => { off(); abort.abort(); clearTimeout(timer); clearTimeout(ticking); },
  };
}

function guessedWidth() {
  const narrow = innerWidth <= PHONE_PX;
  return Math.max(200, Math.min(CONTENT_PX - MARGIN_PX, innerWidth - (narrow ? 32 : RAIL_PX + MARGIN_PX)) - (narrow ? 0 : LEGEND_PX) - LEFT_PX);
}
