// This node: its workers, what its kernel does for it, what is used of each limit, and what becomes of records.
import { h, put, foreign } from '../dom.js';
import { NB, int, bytes, dur, pct, count, capital } from '../format.js';
import { mark, state } from '../marks.js';
import { api } from '../api.js';
import { live } from '../live.js';
import { plainTable } from '../table.js';
import { failure } from '../states.js';

const EVERY_MS = 5000, NEAR = 0.85;
const PARTS = { filter: ['Filter', 'drops packets before the network stack (XDP)'], bindings: ['Bindings', 'steer prefixes to sockets (sk_lookup)'], udp_offload: ['UDP in the kernel', 'moves flows without a process (tc)'], helper: ['Helper', 'has the privileges; nothing else has'] };
const row = (cells) => h('tr', {}, cells.map(([value, kind]) => h('td', { class: kind }, value)));
const section = (title, aside, ...kids) => h('section', {}, h('div', { class: 'sec' }, h('h2', {}, title), aside && h('span', { class: 'small quiet' }, aside)), kids);

export default async function nodes(ctx) {
  const page = h('div', { class: 'stack' });
  let timer = 0, gone = false, heard = false;
  async function refresh() {
    clearTimeout(timer);
    if (!live.paused && !document.hidden) {
      try {
        const node = await api.get('/accounts/{account}/node', {}, { signal: ctx.signal });
        if (gone) return;
        if (!page.contains(document.activeElement) || !heard) put(page, drawn(node));
        heard = true;
      } catch (error) {
        if (gone || error.name === 'AbortError') return;
        if (!heard) put(page, h('h1', {}, 'The node cannot be shown'), failure(error, refresh));
      }
    }
    timer = setTimeout(refresh, EVERY_MS);
  }
  await refresh();
  return { title: 'Nodes and kernel', node: page, onLeave: () => { gone = true; clearTimeout(timer); } };
}

const kindOf = (worker) => (worker.deaf || worker.stalled || (!worker.ready && worker.silent_s > 0) ? 'failed' : worker.relieved !== undefined ? 'idle' : worker.ready ? 'ok' : 'degraded');
const wordOf = (worker) => (worker.relieved !== undefined ? 'from before an upgrade, until its sessions end' : worker.deaf ? `does not watch ${count(worker.deaf, 'listener')}` : worker.stalled ? 'does not accept: out of descriptors' : worker.ready ? 'serves' : worker.silent_s > 0 ? `not responding for ${dur(worker.silent_s)}` : 'starts');

function drawn(node) {
  const own = node.workers.filter((one) => one.relieved === undefined), wrong = own.filter((one) => kindOf(one) === 'failed'), near = node.limits.filter((one) => one.share >= NEAR);
  const headline = node.draining ? 'The node is draining' : node.starting ? 'The node starts' : wrong.length ? `Worker ${wrong[0].number} ${wordOf(wrong[0])}` : node.pauses.length ? `Worker ${node.pauses[0].number} starts again soon` : own.length === 1 ? 'One worker serves' : `${capital(count(own.length, 'worker'))}, all serving`;
  const sessions = node.workers.reduce((all, one) => all + one.sessions, 0);
  return [
    h('header', {}, h('h1', {}, headline), h('p', { class: 'lede' }, `Up for ${dur(node.uptime_s)}, with revision ${node.generation} and ${count(sessions, 'session')}. `,
      near.length ? [capital(count(near.length, 'limit')), near.length === 1 ? ' is' : ' are', ' near: ', near[0].limit.replaceAll('_', ' '), ` of ${near[0].of} at ${pct(near[0].share)}.`] : 'No limit is near.',
      node.restart_needed?.length > 0 && [' A restart would change ', node.restart_needed.join(', '), '.'])),
    section('Workers', null, plainTable(['', 'Worker', 'State', ['Process', 'num'], ['Sessions', 'num'], ['Flows in the kernel', 'num hide-s'], ['Revision', 'num hide-s']], [
      ...node.workers.map((one) => row([[mark(kindOf(one), kindOf(one)), 'state'], [h('b', {}, `worker ${one.number}`)], [wordOf(one), kindOf(one) === 'failed' ? 't-failed' : kindOf(one) === 'ok' ? 'quiet' : null], [String(one.pid), 'num quiet'], [int(one.sessions), 'num'],
        [int(one.offloaded ?? 0), `num hide-s${one.offloaded ? '' : ' quiet'}`], [String(one.generation ?? node.generation), `num hide-s${(one.generation ?? node.generation) === node.generation ? ' quiet' : ''}`]])),
      ...node.pauses.map((one) => row([[mark('failed', 'down'), 'state'], [h('b', {}, `worker ${one.number}`)], [[`starts again in ${dur(one.starts_in_s)}; the last one ended: `, foreign(one.why)], 't-failed'], ['', 'num'], ['', 'num'], ['', 'num hide-s'], ['', 'num hide-s']]))], 'Workers')),
    section('Kernel', 'programs that work for this node without one of its processes', h('dl', { class: 'kv kernel' }, Object.entries(node.kernel).map(([name, text]) => {
      const isOff = text.startsWith('off'), why = isOff && text.includes(':');
      return h('div', {}, h('dt', {}, PARTS[name]?.[0] ?? name), h('dd', {}, state(why ? 'degraded' : isOff ? 'idle' : 'ok', foreign(text)), h('span', { class: 'small quiet' }, PARTS[name]?.[1])));
    }))),
    section('Limits', node.limits.length ? 'the nearest first' : null, plainTable(['', 'Limit', 'Of', ['Used', 'num hide-s'], [h('span', { class: 'vh' }, 'Share, drawn'), 'hide-s'], ['At most', 'num hide-s'], ['Share', 'num'], ['Raised by', 'hide-s']], node.limits.slice(0, 40).map(limit), 'Limits')),
    node.records && section('Records', null, records(node.records)),
    node.names?.length > 0 && section('Names of origins', null, plainTable(['', 'Name', 'Addresses', 'State'], node.names.map((one) => row([[mark(one.reason ? 'degraded' : 'ok', one.reason ? 'degraded' : 'ok'), 'state'], [h('b', {}, foreign(one.name))], [foreign(one.addresses.join(', ') || 'none')], [one.reason ? foreign(one.reason) : h('span', { class: 'quiet' }, 'looked up')]])), 'Names of origins')),
  ];
}

function limit(one) {
  const kind = one.share >= 1 ? 'failed' : one.share >= NEAR ? 'degraded' : 'ok', amount = one.limit.includes('bytes') || one.limit === 'memory' ? bytes : int;
  return row([[mark(kind, kind === 'ok' ? 'room' : 'near'), 'state'], [h('b', {}, one.limit.replaceAll('_', ' '))], [foreign(one.of)], [amount(one.used), 'num hide-s'], [h('span', { class: `meter ${kind}` }, h('i', { css: { width: `${Math.min(100, one.share * 100)}%` } })), 'hide-s'], [amount(one.maximum), 'num hide-s quiet'], [pct(one.share), `num${kind === 'ok' ? ' quiet' : ` t-${kind}`}`], [h('code', {}, foreign(one.setting)), 'hide-s quiet']]);
}

function records({ journal, sinks }) {
  const trouble = (one) => [one.lost > 0 && h('span', { class: 't-failed' }, `${capital(count(one.lost, 'record'))} lost. `), one.failure && h('span', { class: 't-failed' }, foreign(one.failure))];
  return plainTable(['', 'Where', 'What waits', ['Size', 'num hide-s'], ['Records', 'num']], [
    row([[mark(journal.failure ? 'failed' : journal.lost ? 'degraded' : 'ok', 'journal'), 'state'], [[h('b', {}, 'journal'), h('span', { class: 'quiet' }, ' ', foreign(journal.path))]], [trouble(journal)], [`${bytes(journal.bytes)} of${NB}${bytes(journal.max_bytes)}`, 'num hide-s'], [int(journal.records), 'num']]),
    ...sinks.map((sink) => row([[mark(sink.failure ? 'failed' : sink.lag_s > 60 ? 'degraded' : 'ok', 'sink'), 'state'], [h('b', {}, 'sink ', foreign(sink.name))], [[sink.lag_records > 0 ? `${count(sink.lag_records, 'record')}, ${dur(sink.lag_s)} ` : h('span', { class: 'quiet' }, 'nothing '), trouble(sink)]], ['', 'num hide-s'], [int(sink.records), 'num']]))], 'Records');
}
