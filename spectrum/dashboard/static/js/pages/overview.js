// Overview: what is wrong first, then how much there is, against what it was a day ago.
import { api } from '../api.js';
import { ask } from '../analytics/ask.js';
import { annotations } from '../analytics/notes.js';
import { begun, column } from '../analytics/series.js';
import { bucketFor, bucketTimes, chart, spark, zoneOffset } from '../chart/index.js';
import { foreign, h, put } from '../dom.js';
import { bits, change, instant, int, NB, pct, si, when } from '../format.js';
import { headline, item, keyOf, lede } from '../findings.js';
import { linkTo, pageIs } from '../links.js';
import { live } from '../live.js';
import { mark, swatch } from '../marks.js';
import { href } from '../router.js';
import { blank } from '../states.js';
import { strip } from '../strip.js';
import { plainTable } from '../table.js';
import { onRange, range, rangeQuery, setRange, zoomOut } from '../time.js';

const MOST_FINDINGS = 5, MOST_APPS = 8, MOST_CHANGES = 5;
const HOUR = 3600, DAY = 86400, SPARK_S = 1800;
const ASK_EVERY_MS = 60_000, DRAG_MS = 150, SORT_EVERY_MS = 5000;
const LEFT = 66;
const OFF = 404;
const NOTES = { origin_down: (f) => `${f.up} of ${f.of} origins`, origin_ejected: (f) => `${f.up} of ${f.of} origins`, pool_down: () => 'pool is down', on_fallback: (f) => (f.serves ? 'on its fallback pool' : 'no pool is up'),
  attack: () => 'under attack', app_failing: (f) => `${int(f.failed)} failed in a minute`, limit_near: (f) => `${pct(f.used / f.maximum)} of ${f.limit.replaceAll('_', ' ')}` };

export default async function overview(ctx) {
  await live.first();
  const parts = [heading(ctx), traffic(ctx), appTable(ctx), foot(ctx)];
  const node = parts.flatMap((one) => one.nodes);
  const offs = [live.on((now) => { for (const one of parts) one.live?.(now); }), onRange(() => { for (const one of parts) one.ranged?.(); })];
  const asking = () => { if (!document.hidden && !live.paused) for (const one of parts) one.ask?.(); };
  const timer = setInterval(asking, ASK_EVERY_MS);
  asking();
  return { title: 'Overview', strip: strip(), node, onLeave() { clearInterval(timer); for (const off of offs) off(); } };
}

// ---- what is wrong ----

function heading() {
  const title = h('h1', {}, live.now ? headline(live.now) : 'Overview'), line = h('p', { class: 'lede' });
  const list = h('ul', { class: 'finds', role: 'list', hidden: true }), more = h('p', {}), fresh = h('div', { class: 'acts' });
  let isAll = false, shown = '', waits = null, over = false, times = 0;
  const say = h('p', { class: 'vh', role: 'status' });
  list.addEventListener('pointerenter', () => { over = true; });
  list.addEventListener('pointerleave', () => { over = false; if (waits) draw(waits); });

  function draw(now) {
    waits = null;
    const some = now.findings.slice(0, isAll ? undefined : MOST_FINDINGS), rest = now.finding_count - some.length;
    const signature = JSON.stringify([some.map((one) => [keyOf(one), one.severity, one.facts, one.app_count]), rest]);
    if (signature === shown && times++ % 30) return;
    if (signature !== shown) say.textContent = headline(now);
    shown = signature;
    const focused = document.activeElement?.closest?.('.finds > li')?.dataset.key;
    put(list, some.map((one) => item(one, now.at)));
    if (focused) [...list.children].find((one) => one.dataset.key === focused)?.querySelector('.acts a, a')?.focus();
    list.hidden = !some.length;
    put(fresh);
    put(more, rest > 0 && (isAll ? `${int(rest)} more are not told.` : h('button', { type: 'button', class: 'btn', onclick: () => { isAll = true; draw(live.now); } }, `Show ${int(Math.min(rest, now.findings.length - some.length))} more`)));
    more.hidden = rest <= 0;
  }
  return {
    nodes: [h('section', { class: 'head' }, h('div', { class: 'grow' }, title, line, say), fresh), h('div', {}, list, more)],
    live(now) {
      title.textContent = headline(now);
      line.textContent = lede(now);
      // A new one slides nothing under the pointer: it waits.
      const known = new Set([...list.children].map((one) => one.dataset.key)), news = now.findings.filter((one) => !known.has(keyOf(one))).length;
      if (!over || !list.children.length) return draw(now);
      waits = now;
      put(fresh, news > 0 && h('button', { type: 'button', class: 'mini', onclick: () => draw(now) }, `${int(news)} new`));
    },
  };
}

// ---- how much there is ----

const FIGURES = [
  { key: 'open', label: 'Sessions open', live: (t) => [int(t.open)] },
  { key: 'new', label: 'New sessions', live: (t) => rate(t.new), hour: 'sessions' },
  { key: 'in', label: 'From clients', live: (t) => split(bits(t.in)), hour: 'bytesIngress' },
  { key: 'out', label: 'To clients', live: (t) => split(bits(t.out)), hour: 'bytesEgress' },
  { key: 'median', label: 'Time to connect, median', hour: 'connectMedian', show: (v) => milliseconds(v) },
  { key: '99th', label: 'Time to connect, 99th', hour: 'connect99th', show: (v) => milliseconds(v) },
  { key: 'failed', label: 'Sessions failed, 24 h', day: 'failed', show: (v) => split(int(v)), counted: true },
  { key: 'refused', label: 'Clients refused, 24 h', day: 'refused', show: (v) => split(int(v)) },
  { key: 'clients', label: 'Clients seen, 24 h', day: 'clients', show: (v) => split(int(v)) },
];
const split = (text) => text.split(NB);
const rate = (v) => (v == null ? ['–'] : [v < 100 ? String(+v.toFixed(v < 10 ? 1 : 0)) : int(v), '/s']);
const milliseconds = (v) => (v == null ? ['–'] : [si(v >= 100 ? Math.round(v) : v, ''), 'ms']);

function figures() {
  const rows = new Map(), node = h('dl', { class: 'figs' });
  const against = h('span', { class: 'small quiet' }), note = h('p', { class: 'small quiet' });
  put(node, FIGURES.map((one) => {
    const value = h('span', {}, '–'), unit = h('small', {}), difference = h('dd', { class: 'd' });
    rows.set(one.key, { ...one, value, unit, difference, row: null });
    return (rows.get(one.key).row = h('div', {}, h('dt', {}, one.label), h('dd', { class: 'v' }, value, unit), difference));
  }));
  const show = (row, [number, unit]) => { row.value.textContent = number; row.unit.textContent = unit ? NB + unit : ''; };
  const hide = (off) => { for (const row of rows.values()) if (!row.live) for (const cell of row.row.children) cell.hidden = off; };
  return {
    node: h('section', {}, h('div', { class: 'ch' }, h('h2', { class: 'grow' }, 'Now'), against), h('div', { class: 'ruled' }, node), note),
    live(now) { for (const row of rows.values()) if (row.live) show(row, row.live(now.totals)); },
    off(text) { hide(true); against.textContent = ''; put(note, text); },
    compared(hour, day) {
      hide(false);
      put(note);
      against.textContent = 'last hour or day, against yesterday';
      for (const row of rows.values()) {
        const from = row.hour ? hour : day, name = row.hour || row.day;
        if (!name) continue;
        const is = from.totals[name], was = from.previous?.totals?.[name];
        if (row.show) show(row, row.show(name.startsWith('connect') ? is || null : is));
        row.difference.textContent = row.counted ? (was == null ? '' : signed(is - was)) : change(is, was);
      }
    },
  };
}
const [bySecond, byMinute] = ['/s', '/min'].map((unit) => ({ unit, say: (v) => si(v, unit) }));
const signed = (n) => (n === 0 ? '0' : n > 0 ? `+${int(n)}` : int(n));

function traffic(ctx) {
  const passed = chart({ kind: 'area', height: 216, label: 'Passed', unit: 'bit/s', times: [], series: [], range: [range.since, range.until], axis: false, left: LEFT, offset: zoneOffset(), say: bits, onBrush: ([since, until]) => setRange({ since, until }), onZoomOut: zoomOut });
  const out = chart({ kind: 'area', height: 120, label: 'Kept out', ...bySecond, times: [], series: [], range: [range.since, range.until], notes: [], ticks: 2, left: LEFT, offset: zoneOffset(), onBrush: ([since, until]) => setRange({ since, until }), onZoomOut: zoomOut });
  const figs = figures(), before = h('span', {}, h('i', { class: 'sw dash' }), 'the day before'), to = h('a', { class: 'small', href: '#/analytics' }, 'Open in Analytics');
  const passedNote = h('span', { class: 'quiet' }), outNote = h('span', { class: 'quiet' }, 'on a scale of its own');
  let state = 'asking', abort = null, timer = 0, bucket = 0;

  // Without a store there is what this page has heard since it was opened.
  function drawHeard(now) {
    const times = live.past.map((one) => Math.floor(one.at)), values = (pick) => live.past.map((one) => pick(one.totals));
    const span = [now.at - 180, now.at], fixed = { times, bucket: 1, range: span, asOf: null, compare: null };
    passed.update({ ...fixed, notes: [], series: [{ key: 'passed', label: 'passed', color: 'passed', values: values((t) => (t.in == null ? null : t.in + t.out)) }] });
    out.update({ ...fixed, series: [{ key: 'refused', label: 'refused', color: 'mitigated', edge: 'mitigated-text', hatched: true, values: values((t) => t.refused) }], ...bySecond });
  }
  async function load() {
    abort?.abort();
    abort = new AbortController();
    ctx.signal.addEventListener('abort', () => abort.abort(), { once: true });
    const { signal } = abort, now = Date.now() / 1000;
    bucket = bucketFor(range.length, Math.max(200, (passed.node.clientWidth || 700) - LEFT));
    const since = Math.floor(range.since / bucket) * bucket, until = Math.ceil(Math.min(range.until, now));
    const question = { table: 'events', dimensions: [], since, until, bucket, compare: 'day' };
    try {
      const [found, hour, day, notes] = await Promise.all([
        ask({ ...question, metrics: ['bytes', 'refused'] }, signal),
        ask({ table: 'events', metrics: ['sessions', 'bytesIngress', 'bytesEgress', 'connectMedian', 'connect99th'], dimensions: [], since: now - HOUR, until: now, compare: 'day' }, signal),
        ask({ table: 'events', metrics: ['failed', 'refused', 'clients'], dimensions: [], since: now - DAY, until: now, compare: 'day' }, signal),
        annotations(since, until, signal),
      ]);
      state = 'known';
      draw(found, since, until, notes);
      figs.compared(hour, day);
    } catch (error) {
      if (error.name === 'AbortError') return;
      state = error.status === OFF ? 'off' : 'failed';
      before.hidden = to.hidden = true;
      passedNote.textContent = outNote.textContent = 'heard since this page is open';
      figs.off(state === 'off' ? [h('b', {}, 'Analytics is off.'), ' With ', h('code', {}, 'analytics: true'), ' in the file there is what was before now, and how it compares.'] : [h('b', {}, 'What was before now cannot be read. '), error.text || error.message]);
      if (live.now) drawHeard(live.now);
    }
  }
  function draw(found, since, until, notes) {
    const times = bucketTimes(since, until, bucket), perSecond = (values, factor) => values.map((one) => (one === null ? null : one * factor / bucket));
    const was = found.previous?.rows?.length ? perSecond(begun(column(found.previous.rows, times, 1), found.previous.rows[0][0], times), 8) : null;
    const fixed = { times, bucket, range: [since, until], asOf: found.asOf };
    before.hidden = !was;
    to.hidden = false;
    to.setAttribute('href', href('/analytics', { m: 'bits', ...rangeQuery() }));
    passedNote.textContent = !found.rows.length ? 'no session yet in this time' : found.rows[0][0] > since + (until - since) / 2 ? `first session in this time at ${when(found.rows[0][0])}` : '';
    outNote.textContent = 'on a scale of its own';
    passed.update({ ...fixed, notes, compare: was, series: [{ key: 'passed', label: 'passed', color: 'passed', values: perSecond(column(found.rows, times, 1), 8) }] });
    // Few are said per minute, as in Analytics.
    const refused = perSecond(column(found.rows, times, 2), 1), isRare = Math.max(0, ...refused) < 1;
    out.update({ ...fixed, ...(isRare ? byMinute : bySecond), series: [{ key: 'refused', label: 'refused', color: 'mitigated', edge: 'mitigated-text', hatched: true, values: isRare ? refused.map((one) => one && one * 60) : refused }] });
  }
  return {
    nodes: [h('div', { class: 'cols' },
      h('section', {},
        h('div', { class: 'ch' }, h('h2', {}, 'Passed'), h('div', { class: 'chkey grow' }, h('span', {}, swatch('passed'), 'to origins and clients'), before, passedNote), to), passed.node,
        h('div', { class: 'ch lower' }, h('h2', {}, 'Kept out'), h('div', { class: 'chkey' }, h('span', {}, swatch('mitigated', true), 'clients refused'), outNote)), out.node),
      figs.node)],
    ask: load,
    ranged() { clearTimeout(timer); timer = setTimeout(load, DRAG_MS); },
    live(now) { figs.live(now); if (state === 'off' || state === 'failed') drawHeard(now); },
  };
}

// ---- apps: trouble first, then by traffic ----

function appTable(ctx) {
  const body = h('div', {}), all = h('span', { class: 'end' });
  const rows = new Map();
  let order = [], sortedAt = 0, over = false, curves = new Map(), begins = 0;
  body.addEventListener('pointerenter', () => { over = true; });
  body.addEventListener('pointerleave', () => { over = false; sortedAt = Date.now(); });
  const heads = [[''], ['App'], ['Listens on', 'hide-s'], ['Sessions', 'num'], ['From clients', 'num hide-s'], ['To clients', 'num'], ['Failed', 'num hide-s'], ['24 h', 'hide-s curve']];

  function make(app) {
    const cell = (kind) => h('td', { class: kind });
    const made = { mark: cell(), name: cell(), protocol: cell('quiet nowrap hide-s'), open: cell('num'), in: cell('num hide-s'), out: cell('num'), failed: cell('num hide-s'), curve: cell('hide-s curve') };
    made.node = h('tr', {}, Object.values(made));
    const address = linkTo('apps', app.id);
    made.note = h('span', { class: 'small' });
    put(made.name, address ? h('a', { class: 'plain', href: address }, h('b', {}, foreign(app.name))) : h('b', {}, foreign(app.name)), made.note);
    made.protocol.textContent = app.protocol;
    made.shown = '';
    return made;
  }
  function show(row, app) {
    const kind = app.severity || (app.open || app.new ? 'ok' : 'idle'), noted = app.why ? ` ${(NOTES[app.why] || (() => app.why.replaceAll('_', ' ')))(app.facts)}` : '';
    if (row.shown !== kind + noted) {
      row.shown = kind + noted;
      put(row.mark, mark(kind, { ok: 'serving', idle: 'no session', degraded: 'degraded', failed: 'failed' }[kind]));
      row.note.textContent = noted;
      row.note.className = `small ${app.severity ? `t-${app.severity}` : 'quiet'}`;
    }
    const began = (app.new ?? 0), failed = began ? Math.min(1, app.failed / began) : app.failed ? 1 : 0;
    set(row.open, int(app.open), !app.open);
    set(row.in, app.in == null ? '–' : bits(app.in), !app.in);
    set(row.out, app.out == null ? '–' : bits(app.out), !app.out);
    set(row.failed, app.new == null ? '–' : pct(failed), failed < 0.001);
    const values = curves.get(app.name);
    if (row.values !== values) {
      row.values = values;
      put(row.curve, values && spark(values, { width: 112, height: 20, label: `Sessions of ${app.name}, 24 hours` }));
    }
  }
  const set = (cell, text, isQuiet) => { if (cell.textContent !== text) cell.textContent = text; cell.classList.toggle('quiet', isQuiet); };

  function draw(now) {
    const apps = new Map(now.apps.map((app) => [app.name, app]));
    // Order never changes under the pointer.
    if (!over && Date.now() - sortedAt > SORT_EVERY_MS) { order = now.apps.slice(0, MOST_APPS).map((one) => one.name); sortedAt = Date.now(); }
    const troubled = now.apps.filter((one) => one.severity).map((one) => one.name);
    const names = over ? order.filter((one) => apps.has(one)) : [...new Set([...troubled, ...order.filter((one) => apps.has(one)), ...now.apps.map((one) => one.name)])].slice(0, MOST_APPS);
    put(all, pageIs('/apps') && now.app_count > 0 && h('a', { href: '#/apps' }, `All ${int(now.app_count)}`));
    if (!now.app_count) {
      return void put(body, blank('No app yet', 'An app listens on a port and sends what comes to an origin. With a preset it takes a minute.', pageIs('/apps') && h('a', { class: 'btn primary', href: '#/apps/new' }, 'Add an app')));
    }
    if (!names.length) return void put(body, blank('No session is open', `${int(now.app_count)} ${now.app_count === 1 ? 'app listens' : 'apps listen'}, and nobody is connected now.`));
    const shown = names.map((name) => { const row = rows.get(name) || rows.set(name, make(apps.get(name))).get(name); show(row, apps.get(name)); return row.node; });
    const table = body.querySelector('tbody');
    if (!table) put(body, plainTable(heads, shown, 'Apps, trouble first'));
    else if (table.children.length !== shown.length || shown.some((one, i) => table.children[i] !== one)) put(table, shown);
  }
  return {
    nodes: [h('section', {}, h('div', { class: 'sec' }, h('h2', {}, 'Apps'), h('span', { class: 'small quiet' }, 'trouble first, then by traffic'), all), body)],
    live: draw,
    async ask() {
      const until = Math.floor(Date.now() / 1000 / SPARK_S) * SPARK_S;
      if (begins === until) return;
      try {
        const found = await ask({ table: 'events', metrics: ['sessions'], dimensions: ['app'], since: until - DAY, until, bucket: SPARK_S, limit: 50 }, ctx.signal);
        begins = until;
        const times = bucketTimes(until - DAY, until, SPARK_S), place = new Map(times.map((t, i) => [t, i])), fresh = new Map();
        for (const [t, app, sessions] of found.rows) {
          if (!fresh.has(app)) fresh.set(app, times.map(() => 0));
          if (place.has(t)) fresh.get(app)[place.get(t)] = sessions;
        }
        curves = fresh;
      } catch { /* the chart says why */ }
    },
  };
}

// ---- the node and what was changed ----

const MADE = { create: 'added', add: 'added', update: 'changed', change: 'changed', delete: 'removed', remove: 'removed' };

function foot(ctx) {
  const workers = h('dl', { class: 'kv' }), changes = h('div', {}), second = h('section', { hidden: true }, h('div', { class: 'sec' }, h('h2', {}, 'Changes'), h('span', { class: 'end' }, pageIs('/audit') && h('a', { href: '#/audit' }, 'Audit log'))), changes);
  const facts = new Map();
  const fact = (name, text) => {
    if (!facts.has(name)) { const value = h('dd', {}); facts.set(name, value); workers.append(h('div', {}, h('dt', {}, name), value)); }
    if (facts.get(name).textContent !== text) facts.get(name).textContent = text;
  };
  return {
    nodes: [h('div', { class: 'cols half' }, h('section', {}, h('div', { class: 'sec' }, h('h2', {}, 'Node'), h('span', { class: 'end' }, pageIs('/nodes') && h('a', { href: '#/nodes' }, 'Node and kernel'))), workers), second)],
    live(now) {
      if (now.node) fact('Name', now.node);
      if (now.workers) fact('Workers', `${now.workers.serving} of ${now.workers.wanted} serve`);
      fact('Serves', `revision ${now.revision}, version ${now.version}`);
      fact('Dropped', now.totals.dropped ? `${si(now.totals.dropped, '/s')} datagrams` : 'no datagrams');
    },
    async ask() {
      try {
        const found = await api.get('/accounts/{account}/audit_logs', { per_page: MOST_CHANGES }, { signal: ctx.signal });
        second.hidden = false;
        put(changes, found.length ? plainTable(['When', 'Who', 'What'], found.map((one) => h('tr', {}, h('td', { class: 'quiet nowrap', title: instant(one.when) }, when(one.when)), h('td', { class: 'nowrap' }, foreign(one.metadata?.actor_name || one.actor.email, 32)),
          h('td', {}, one.resource.type.replaceAll('_', ' ').replace(/s$/, ''), ' ', link(one), ' ', one.action.result === false ? 'not ' : '', MADE[one.action.type] || one.action.type))), 'The last changes')
          : blank('Nothing was changed by the API', 'Objects of the file are changed there.'));
      } catch { second.hidden = true; }
    },
  };
}
function link(entry) {
  const known = entry.metadata?.name || entry.resource.id, name = foreign(known, 48);
  // An attempt to add an object has no id, and may have no name.
  const address = !known || entry.action.type.startsWith('delet') ? '' : linkTo(entry.resource.type, entry.resource.id);
  return address ? h('a', { href: address }, name) : name;
}
