// Attacks: ongoing and past ones, what was kept off by which part of the edge, and one of them with its rules and packets.
import { h, put, foreign } from '../dom.js';
import { ago, bits, capital, change, count, dur, instant, int, pct, seconds, si } from '../format.js';
import { mark, state } from '../marks.js';
import { api } from '../api.js';
import { chart, legend } from '../chart/index.js';
import { bucketFor, bucketTimes } from '../chart/scale.js';
import { ask } from '../analytics/ask.js';
import { attackTraffic } from '../analytics/attacktraffic.js';
import { bytesOf } from '../analytics/packet.js';
import { packetView } from '../analytics/packetview.js';
import { bySystem, trend } from '../analytics/systems.js';
import { table } from '../table.js';
import { blank, button, failure } from '../states.js';
import { saveAs } from '../saving.js';
import { onRange, range } from '../time.js';
import { strip } from '../strip.js';

const MARKS = { mitigated: 'mitigated', logged: 'degraded', left_alone: 'failed', fading: 'idle', ended: 'idle' };
const WORDS = { mitigated: 'mitigated', logged: 'counted', left_alone: 'left alone', fading: 'fading', ended: 'ended' };
const MOST = 1000, DAYS = 7, REFRESH_MS = 5000, MOST_PACKETS = 25;
const lasted = (one) => (one.ended ? dur(seconds(one.ended) - one.start) : 'ongoing');
const target = (one) => (one.app_id ? h('a', { href: `#/apps/${one.app_id}` }, foreign(one.app)) : foreign(one.app || one.target));
const link = (one, text = one.id) => h('a', { href: `#/attacks/${one.id}` }, text);
const withStart = (one) => ({ ...one, start: seconds(one.began) });

export default (ctx) => (ctx.params.id ? single(ctx) : list(ctx));

async function list(ctx) {
  let rows = [], timer = 0, gone = false;
  const title = h('h1', {}, 'Attacks'), lede = h('p', { class: 'lede' }), place = h('div'), figures = h('dl', { class: 'big' }), traffic = h('section');
  const found = table({
    label: 'Attacks', key: (one) => one.id, onOpen: (one) => { location.hash = `#/attacks/${one.id}`; },
    filter: { placeholder: 'Filter by app, target, vector', text: (one) => `${one.id} ${one.app} ${one.target} ${one.vectors.join(' ')} ${WORDS[one.state]}`, value: ctx.query.q, onChange: (text) => ctx.setQuery({ q: text || null }),
      parts: [{ label: 'All' }, { label: 'Ongoing', test: (one) => !one.ended }, { label: 'Left alone', test: (one) => one.mitigated_after === null }] },
    empty: blank('No attack was seen', ['Floods are found in samples of packets, and stopped by rules that write themselves, where the file has ', h('code', {}, 'ddos'), '.']),
    columns: [
      { key: 'state', label: '', rank: 1, width: '28px', render: (one) => mark(MARKS[one.state] || 'idle', WORDS[one.state]), value: (one) => one.state },
      { key: 'vectors', label: 'Attack', rank: 1, render: (one) => [link(one, foreign(one.vectors.join(', '))), h('div', { class: 'small quiet narrow' }, 'on ', foreign(one.app || one.target))], value: (one) => one.vectors.join() },
      { key: 'app', label: 'On', rank: 2, render: target, value: (one) => one.app || one.target },
      { key: 'peak', label: 'Peak', rank: 1, align: 'num', width: '112px', render: (one) => bits(one.bits_per_second), value: (one) => one.bits_per_second },
      { key: 'pps', label: 'Packets', rank: 3, align: 'num', width: '104px', render: (one) => si(one.packets_per_second, 'pps'), value: (one) => one.packets_per_second },
      { key: 'dropped', label: 'Kept off', rank: 2, align: 'num', width: '92px', render: (one) => int(one.dropped_packets), value: (one) => one.dropped_packets },
      { key: 'after', label: 'Mitigated after', rank: 3, align: 'num', width: '124px', render: (one) => (one.mitigated_after === null ? h('span', { class: 'quiet' }, 'never') : dur(one.mitigated_after)), value: (one) => one.mitigated_after },
      { key: 'lasted', label: 'Lasted', rank: 2, align: 'num', width: '96px', render: lasted, value: (one) => (one.ended ? seconds(one.ended) : Infinity) - one.start },
      { key: 'began', label: 'Began', rank: 2, align: 'num', width: '112px', render: (one) => h('time', { datetime: one.began, title: instant(one.began) }, ago(one.began)), value: (one) => one.start },
    ],
  });

  async function load() {
    try {
      rows = (await api.get('/accounts/{account}/attacks', { limit: MOST }, { signal: ctx.signal })).map(withStart);
      if (gone) return;
      say();
      put(place);
      found.node.hidden = false;
      found.setRows(rows);
    } catch (error) {
      if (error.name === 'AbortError') return;
      found.node.hidden = !rows.length;
      put(place, failure(error, load));
    }
    clearTimeout(timer);
    if (!gone) timer = setTimeout(load, REFRESH_MS);
  }

  function say() {
    const open = rows.filter((one) => !one.ended), alone = open.filter((one) => one.state === 'left_alone'), { now, before } = trend(rows, Date.now() / 1000, DAYS);
    put(title, open.length ? `${capital(count(open.length, 'ongoing attack'))}` : rows.length ? 'No ongoing attack' : 'No attack was seen');
    put(lede, alone.length > 0 && `No rule is written for ${count(alone.length, 'of them', 'of them')}: it would hit too much of the normal traffic. `,
      now.count > 0 ? [`${capital(count(now.count, 'attack'))} in the last seven days`, now.vectors[0]?.[1] > 1 && [', most often ', foreign(now.vectors[0][0])], '.'] : 'There was none in the last seven days.',
      before.count > 0 && ` In the seven days before: ${count(before.count, 'attack')}.`);
    const told = [['Attacks, 7 days', int(now.count), change(now.count, before.count)], ['Packets kept off', int(now.dropped), change(now.dropped, before.dropped)], ['Highest peak', bits(now.peak), change(now.peak, before.peak)]];
    put(figures, rows.length > 0 && told.map(([name, value, against]) => h('div', {}, h('dt', {}, name), h('dd', {}, value), h('dd', {}, before.count > 0 && against ? `${against} against the week before` : ''))));
  }

  async function draw() {
    const since = range.since, until = range.until, bucket = bucketFor(until - since, 800), times = bucketTimes(since, until, bucket);
    const asked = { table: 'packets', metrics: ['bits'], dimensions: ['outcome', 'verdict'], since: times[0], until: times.at(-1) + bucket, bucket, limit: 20 };
    try {
      const answer = await ask(asked, ctx.signal);
      if (gone || !answer.rows.length) { put(traffic); return; }
      const options = { kind: 'area', label: 'Packets by what became of them', unit: 'bit/s', height: 180, times, bucket, range: [times[0], times.at(-1) + bucket], series: bySystem(answer.rows, times, bucket), say: bits,
        notes: rows.filter((one) => one.start < until && (!one.ended || seconds(one.ended) > since)).map(noteOf) };
      const words = legend(options), made = chart({ ...options, onCross: (at) => words.at(at) });
      put(traffic, h('div', { class: 'sec' }, h('h2', {}, 'Passed and kept off'), h('span', { class: 'end quiet' }, 'of sampled packets, by what decided')), made.node, words.node);
    } catch (error) {
      if (error.name !== 'AbortError') put(traffic); // without analytics there is nothing to draw
    }
  }

  await load();
  draw();
  const stop = onRange(draw);
  return { title: 'Attacks', strip: strip(), node: [h('section', {}, h('div', { class: 'head' }, h('div', { class: 'grow' }, title, lede)), figures), traffic, h('section', {}, found.node, place)],
    onLeave: () => { gone = true; clearTimeout(timer); stop?.(); } };
}

/** An attack as a note of a chart. */
export const noteOf = (one) => ({ t: seconds(one.began), t2: one.ended ? seconds(one.ended) : undefined, kind: 'mitigated', text: `${one.vectors.join(', ')} on ${one.app || one.target}`, href: `#/attacks/${one.id}` });

async function single(ctx) {
  let gone = false, timer = 0, name = 'No such attack';
  const head = h('section'), facts = h('dl', { class: 'kv' }), rules = h('section'), packets = h('section'), opened = new Set(), traffic = attackTraffic(ctx.go, ctx.signal);

  async function load() {
    const one = withStart(await api.get(`/accounts/{account}/attacks/${encodeURIComponent(ctx.params.id)}`, {}, { signal: ctx.signal }));
    if (gone) return;
    describe(one);
    put(rules, h('div', { class: 'sec' }, h('h2', {}, one.rules.length === 1 ? 'Its rule' : 'Its rules'), h('span', { class: 'end quiet' }, 'matched and dropped: counted; rates: from samples')), one.rules.map(ruleOf));
    sampled(one);
    traffic.load(one);
    if (!one.ended) timer = setTimeout(() => load().catch(() => {}), REFRESH_MS);
  }

  function describe(one) {
    const after = one.mitigated_after, known = [
      ['State', state(MARKS[one.state], ` ${WORDS[one.state]}`)], ['On', [target(one), one.app && ` (${one.target})`]], ['Began', instant(one.began)], ['Ended', one.ended ? `${instant(one.ended)}, after ${lasted(one)}` : 'ongoing'],
      ['Mitigated after', after === null ? 'no rule is in force' : dur(after)], ['Peak', `${bits(one.bits_per_second)}, ${si(one.packets_per_second, 'pps')}`], ['Matched', `${int(one.packets)} packets`], ['Kept off', `${int(one.dropped_packets)} packets`],
      ['Sources', one.sources === null ? 'too many to count' : `about ${int(one.sources)}`], ['Good traffic hit', `at most ${pct(one.hits)} of an app’s normal openings`], ['Seen before', one.recurs && h('a', { href: `#/attacks/${one.recurs}` }, one.recurs)]];
    name = `${one.vectors.join(', ')} on ${one.app || one.target}`;
    put(head, h('div', { class: 'head' }, h('div', { class: 'grow' }, h('h1', {}, foreign(one.vectors.join(', ')), ' on ', foreign(one.app || one.target)),
      h('p', { class: 'lede' }, one.ended ? 'It is over. ' : 'It is ongoing. ', after === null ? 'Nothing of it was kept off.' : `The first rule acted after ${dur(after)}; ${int(one.dropped_packets)} packets were kept off.`)),
    h('div', { class: 'acts' }, one.samples.length > 0 && button('Capture', () => capture(one)))));
    put(facts, known.filter(([, value]) => value).map(([label, value]) => h('div', {}, h('dt', {}, label), h('dd', {}, value))));
  }

  const ruleOf = (rule) => h('div', { class: 'attack-rule' }, h('h3', {}, h('code', {}, rule.name || 'no rule'), ' ', foreign(rule.vector), h('span', { class: 'quiet' }, rule.ended ? ' ended' : rule.name ? ' in force' : '')),
    h('p', {}, rule.in_words.slice(1).map((text) => [foreign(text, 600), ' '])));

  function sampled(one) {
    if (!one.samples.length) { put(packets); return; }
    const rows = one.samples.slice(0, MOST_PACKETS);
    const end = (row, name) => foreign(row[name] === undefined ? '' : row[`${name}_port`] ? `${row[name].includes(':') ? `[${row[name]}]` : row[name]}:${row[`${name}_port`]}` : row[name]);
    const toggle = (i) => { if (!opened.delete(i)) opened.add(i); sampled(one); packets.querySelector(`[data-packet="${i}"]`)?.focus(); };
    put(packets, h('div', { class: 'sec' }, h('h2', {}, 'Packets'), h('span', { class: 'end quiet' }, `${count(one.samples.length, 'sample')}${one.samples.length > rows.length ? ', the first of them' : ''}`)),
      h('div', { class: 'tw', tabindex: 0, role: 'region', 'aria-label': 'Packets' }, h('table', { class: 'samples' }, h('caption', { class: 'vh' }, 'Sampled packets'),
        h('thead', {}, h('tr', {}, [['Time'], ['Source'], ['Destination', 'rank2'], ['Protocol', 'rank2'], ['Length', 'num'], ['TTL', 'num rank2']].map(([name, look]) => h('th', { scope: 'col', class: look }, name)))),
        h('tbody', {}, rows.map((row, i) => [h('tr', { 'data-row': true, 'aria-selected': opened.has(i) ? 'true' : null },
          h('td', { class: 'nowrap' }, h('button', { class: 'bare-link', type: 'button', 'data-packet': i, 'aria-expanded': String(opened.has(i)), onclick: () => toggle(i) }, row.time.slice(11, 23))),
          h('td', { class: 'nowrap' }, end(row, 'source')), h('td', { class: 'nowrap rank2' }, end(row, 'destination')), h('td', { class: 'nowrap rank2' }, foreign(`${row.protocol ?? ''} ${row.tcp_flags ?? ''}`.trim())),
          h('td', { class: 'num' }, int(row.length ?? row.frame_bytes)), h('td', { class: 'num rank2' }, int(row.ttl))),
        opened.has(i) && h('tr', { class: 'opened' }, h('td', { colspan: 6 }, packetView(bytesOf(row.header))))])))));
  }

  async function capture(one) {
    const answer = await fetch(api.url(`/accounts/{account}/attacks/${one.id}/pcap`), { headers: api.token ? { authorization: `Bearer ${api.token}` } : {}, cache: 'no-store' });
    if (answer.ok) saveAs(`attack-${one.id}.pcap`, await answer.blob());
    else head.append(failure({ text: 'The capture cannot be had now.' }));
  }

  try {
    await load();
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    put(head, h('h1', {}, 'No such attack'), error.status === 404 ? blank('It is not kept', 'The latest 1,000 attacks are.', h('a', { href: '#/attacks' }, 'All attacks')) : failure(error, load));
  }
  return { title: name, crumbs: [['Attacks', '#/attacks']], node: [head, h('div', { class: 'cols' }, h('div', { class: 'stack' }, traffic.node, rules), facts), traffic.tops, packets], onLeave: () => { gone = true; clearTimeout(timer); } };
}
