// The newest records or sampled packets that the filters let through; a row opens into all that is known of it.

import { foreign, h, put } from '../dom.js';
import { bytes, day, dur, hms, int, when } from '../format.js';
import { mark } from '../marks.js';
import { blank, bones, failure } from '../states.js';
import { rows } from './ask.js';
import { dimensions, valueLabel } from './catalogue.js';
import { bytesOf } from './packet.js';
import { packetView } from './packetview.js';

export const SHOWN = 25;
const MARKS = { passed: 'passed', failed: 'failed', refused: 'mitigated', pass: 'passed', drop: 'mitigated' };
const HEADER = 'header';

const seconds = (us) => (us === null || us === undefined ? '' : dur(us / 1e6));
const size = (number) => (number ? bytes(number) : h('span', { class: 'quiet' }, bytes(0)));
const place = (address, port) => (address ? [foreign(address.includes(':') ? `[${address}]` : address), h('span', { class: 'quiet' }, port ? `:${port}` : '')] : h('span', { class: 'quiet' }, 'several'));
const clock = (t) => `${day(t)}${hms(t)}.${String(Math.floor((t % 1) * 1000)).padStart(3, '0')}`;

const COLUMNS = {
  events: [
    ['Client', (row) => (row.client_ip ? h('a', { class: 'plain', href: `#/clients/${encodeURIComponent(row.client_ip)}` }, place(row.client_ip, row.client_port)) : h('span', { class: 'quiet' }, row.clients > 1 ? `${int(row.clients)} clients` : 'several'))],
    ['App', (row) => foreign(row.app), 'rank2'], ['Origin', (row) => (row.origin ? foreign(row.origin) : h('span', { class: 'quiet' }, 'none')), 'rank2'],
    ['In', (row) => size(row.client_bytes), 'num rank2'], ['Out', (row) => size(row.origin_bytes), 'num rank2'],
    ['Duration', (row) => seconds(row.duration), 'num rank2'], ['Because of', (row) => h('bdi', { class: row.outcome === 'failed' ? 't-failed' : row.outcome === 'refused' ? 't-mitigated' : 'quiet' }, row.reason || row.event)],
  ],
  packets: [
    ['Source', (row) => place(row.source_ip, row.source_port)], ['Destination', (row) => place(row.destination_ip, row.destination_port), 'rank2'],
    ['Length', (row) => int(row.length), 'num'], ['TTL', (row) => int(row.ttl), 'num rank2'], ['Country', (row) => row.source_country, 'rank2'], ['Because of', (row) => foreign(row.verdict)],
  ],
};

// Which fields of a record stand together, and what they are called there.
const GROUPS = {
  Client: ['client_ip', 'client_port', 'client_prefix', 'country', 'asn', 'ip_version', 'clients', 'client_rtt'],
  Edge: ['app', 'edge_ip', 'edge_port', 'protocol', 'node', 'colo', 'session', 'proxy_protocol'],
  Origin: ['origin', 'origin_ip', 'origin_port', 'origin_name', 'pool', 'load_balancer', 'origin_rtt', 'connect_duration', 'attempts'],
  TLS: ['tls_version', 'tls_cipher', 'tls_status', 'tls_error', 'sni', 'origin_tls_mode', 'origin_tls_version'],
  Moved: ['client_bytes', 'origin_bytes', 'client_packets', 'origin_packets', 'duration', 'weight'],
  Outcome: ['outcome', 'reason', 'event', 'status', 'access', 'access_rule', 'access_prefix', 'access_list', 'limit_hit'],
};
const WORDS = { client_ip: 'address', client_port: 'port', client_prefix: 'network', asn: 'AS', ip_version: 'IP', client_rtt: 'RTT', edge_ip: 'address', edge_port: 'port', colo: 'location', proxy_protocol: 'PROXY protocol',
  origin_ip: 'address', origin_port: 'port', origin_name: 'name', origin_rtt: 'RTT', connect_duration: 'connected after', tls_version: 'version', tls_cipher: 'cipher', tls_status: 'status', tls_error: 'error', sni: 'server name',
  origin_tls_mode: 'to the origin', origin_tls_version: 'version to the origin', client_bytes: 'from the client', origin_bytes: 'from the origin', client_packets: 'datagrams from the client', origin_packets: 'datagrams from the origin',
  duration: 'open for', weight: 'sessions', access: 'access rules say', access_rule: 'rule', access_prefix: 'prefix', access_list: 'list', limit_hit: 'limit' };
const TIMES = new Set(['client_rtt', 'origin_rtt', 'connect_duration', 'duration']), SIZES = new Set(['client_bytes', 'origin_bytes']);
const SILENT = { tls_version: 'none', tls_cipher: 'UNK', tls_status: 'UNKNOWN', origin_tls_mode: 'off', origin_tls_version: 'none', access: 'UNKNOWN', proxy_protocol: 'off', weight: 1 };

/** The table. Options: table ('events' or 'packets'), pick(key, value, exclude), hover(node, key, value).
 * Returns {node, load({since, until, filter}, signal)}. */
export function samples({ table, pick, hover }) {
  const node = h('div', {}), opened = new Set();
  let list = [], isFiltered = false;

  async function load(base, signal) {
    try {
      list = await rows(table, { ...base, limit: SHOWN }, signal);
      isFiltered = base.filter.length > 0;
      draw();
    } catch (error) {
      if (error.name !== 'AbortError') put(node, failure(error, () => load(base, signal)));
    }
  }

  const id = (row) => (row.sequence !== undefined ? `${row.source}/${row.sequence}` : `${row.time}/${row.source_ip}/${row.source_port}`);

  function draw() {
    if (!list.length) {
      put(node, blank('Nothing matches', isFiltered ? 'No record of this range has all that the filters ask for.' : 'There is no record in this range.'));
      return;
    }
    const columns = COLUMNS[table];
    put(node, h('div', { class: 'tw', tabindex: 0, role: 'region', 'aria-label': 'Samples' }, h('table', { class: 'samples' },
      h('caption', { class: 'vh' }, table === 'packets' ? 'Sampled packets, newest first' : 'Records, newest first'),
      h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, h('span', { class: 'vh' }, 'Outcome')), h('th', { scope: 'col' }, 'Time'), columns.map(([name, , look]) => h('th', { scope: 'col', class: look }, name)))),
      h('tbody', {}, list.map((row) => [line(row, columns), opened.has(id(row)) && h('tr', { class: 'opened' }, h('td', { colspan: columns.length + 2 }, table === 'packets' ? packet(row) : record(row)))])))));
  }

  function line(row, columns) {
    const isOpen = opened.has(id(row));
    return h('tr', { 'data-row': true, 'data-id': id(row), 'aria-selected': isOpen ? 'true' : null }, h('td', {}, mark(MARKS[row.outcome] || 'idle', row.outcome)),
      h('td', { class: 'nowrap' }, h('button', { class: 'bare-link', type: 'button', 'aria-expanded': String(isOpen), title: when(row.time), onclick: () => toggle(id(row)) }, clock(row.time))),
      columns.map(([, cell, look]) => h('td', { class: `nowrap ${look || ''}` }, cell(row))));
  }

  function toggle(key) {
    if (!opened.delete(key)) opened.add(key);
    draw();
    node.querySelector(`[data-id="${CSS.escape(key)}"] button`)?.focus();
  }

  // A value of a dimension is a click away from a filter.
  function value(key, raw, text) {
    if (!dimensions(table).some((one) => one.key === key)) return foreign(text);
    const button = h('button', { class: 'bare-link', type: 'button', title: 'Only this. With Alt, or x: without it', onclick: (event) => pick(key, raw, event.altKey) }, foreign(text));
    hover(button, key, raw);
    return button;
  }

  const shown = (key, raw) => (TIMES.has(key) ? dur(raw / 1e6) : SIZES.has(key) ? bytes(raw) : valueLabel(key, raw));
  const says = (key, raw) => raw !== null && raw !== undefined && raw !== '' && raw !== 0 && raw !== SILENT[key];

  function record(row) {
    return h('div', { class: 'packet' }, h('dl', { class: 'layers' }, Object.entries(GROUPS).map(([name, keys]) => {
      const told = keys.filter((key) => says(key, row[key]));
      return told.length > 0 && [h('dt', {}, name), h('dd', {}, told.map((key) => (key === 'attempts' ? attempts(row[key])
        : h('span', { class: 'f' }, h('i', {}, `${WORDS[key] || key.replaceAll('_', ' ')} `), value(key, row[key], shown(key, row[key]))))))];
    }), h('dt', {}, 'Record'), h('dd', {}, h('span', { class: 'f' }, id(row)), row.client_ip && h('span', { class: 'f' }, h('a', { href: `#/clients/${encodeURIComponent(row.client_ip)}` }, 'this client’s story')))));
  }

  function attempts(text) {
    let list_ = [];
    try { list_ = JSON.parse(text); } catch { return h('span', { class: 'f' }, text); }
    return list_.map((one) => h('span', { class: 'f' }, h('i', {}, 'failed before '), foreign(`${one.Name || one.Origin}: ${one.Reason}`)));
  }

  const packet = (row) => packetView(bytesOf(row[HEADER]), ({ filter: [key, raw], value: text }) => value(key, raw, text), [
    ['Seen by', [h('span', { class: 'f' }, foreign(row.node)), h('span', { class: 'f' }, h('i', {}, 'stands for '), `${int(row.sample_interval)} packets`)]],
    ['Outcome', [h('span', { class: 'f' }, value('verdict', row.verdict, row.verdict)), row.app && h('span', { class: 'f' }, h('i', {}, 'app '), value('app', row.app, row.app))]]]);

  put(node, bones(6, 36 * 6));
  return { node, load };
}
