// One client: an address in, everything that is known of it out.
import { h, put, foreign } from '../dom.js';
import { NB, int, bytes, dur, moment, when, instant, count, capital } from '../format.js';
import { mark } from '../marks.js';
import { api } from '../api.js';
import { linkTo, trafficOf } from '../links.js';
import { mayNot, parts, unseen } from '../parts.js';
import { range, onRange, rangeQuery } from '../time.js';
import { strip } from '../strip.js';
import { chart } from '../chart/index.js';
import { blank, failure } from '../states.js';
import { confirmInPlace, toast } from '../overlay.js';
import { open } from '../router.js';
import { isAddress, isPrefix } from '../address.js';
import { explained } from '../steps.js';
import { events, fold, median, verdict } from '../story.js';
import { metric } from '../analytics/catalogue.js';
import { top } from '../analytics/tops.js';

const EXPLAINED = 5, RTT_BUCKETS = 96;
const iso = (t) => new Date(t * 1000).toISOString();
const to = (address) => `#/clients/${encodeURIComponent(address)}`;
// Of the story that is shown: what names of apps and rules lead to.
let ids = { apps: {}, access_rules: {} };
// What is known where the token may not read records.
const UNTOLD = { rows: [], ids, is_kept: false };
const link = (section, id, name) => (id ? h('a', { href: linkTo(section, id) }, foreign(name)) : foreign(name));
const app = (name) => (name ? link('apps', ids.apps[name], name) : 'an app that is gone');
const rule = (name) => link('access_rules', ids.access_rules[name], name);
const code = (text) => h('code', {}, foreign(text));
const listed = (parts) => parts.map((part, i) => [i ? (i === parts.length - 1 ? ' and ' : ', ') : '', part]);
const times = (n) => (n === 1 ? 'once' : n === 2 ? 'twice' : `${int(n)}${NB}times`);
const nth = (n) => `${int(n)}${(n % 100 > 10 && n % 100 < 14 ? 'th' : ['th', 'st', 'nd', 'rd'][n % 10]) ?? 'th'}`;
// Of today the time is enough.

export default async function client(ctx) {
  const address = ctx.params.address ?? '';
  const field = h('input', { class: 'field', type: 'search', value: address, 'aria-label': 'Address of a client', placeholder: '203.0.113.7', 'data-filter': true, spellcheck: 'false', autocapitalize: 'off' });
  const wrong = h('p', { class: 'err', hidden: true, role: 'alert' });
  const form = h('form', { class: 'client-ask', role: 'search', onsubmit: (event) => {
    event.preventDefault();
    const text = field.value.trim();
    wrong.hidden = isAddress(text);
    put(wrong, mark('failed'), h('span', {}, text ? [foreign(text), ' is no address. '] : '', 'Write 203.0.113.7 or 2001:db8::7.'));
    if (wrong.hidden) ctx.go(to(text)); else field.setAttribute('aria-invalid', 'true');
  } }, field, h('button', { class: 'btn' }, 'Tell its story'));
  const told = h('div', { class: 'stack' }), head = h('div');
  const node = [h('section', {}, form, wrong, head), told];
  if (!address) {
    put(head, h('h1', {}, 'Clients'), h('p', { class: 'lede' }, 'An address in, everything about it out: whether it was refused, when and by which rule; its sessions, their origins, its round-trip time.'));
    const load = () => busiest(told, ctx), stop = onRange(load);
    load();
    return { title: 'Clients', node, strip: strip(), onLeave: stop };
  }
  const draw = () => tell(head, told, address, ctx);
  const stop = onRange(draw);
  await draw();
  return { title: address, crumbs: [['Clients', '#/clients']], node, strip: strip(), onLeave: stop };
}

async function tell(head, told, address, ctx) {
  const asked = { subject: address, since: iso(range.since), until: range.isLive ? null : iso(range.until), limit: 1000 };
  let story, open, hidden;
  try {
    ({ hidden, story = UNTOLD, open = [] } = await parts({
      story: api.get('/accounts/{account}/story', asked, { signal: ctx.signal }),
      open: api.get('/accounts/{account}/sessions', { client: address, limit: 100 }, { signal: ctx.signal }),
    }));
    if (hidden.size === 2) throw new Error(mayNot('records, and no open sessions'));
  } catch (error) {
    if (error.name === 'AbortError') return;
    put(head, h('h1', {}, foreign(address)));
    put(told, failure(error, () => tell(head, told, address, ctx)));
    return;
  }
  ids = story.ids;
  const rows = story.rows, lines = fold(events(rows)), said = verdict(lines);
  const names = [...new Set([...said.refused.map((line) => line.row.app), ...lines.map((line) => line.row.app), ...open.map((one) => one.app)].filter(Boolean))];
  const now = h('div', { class: 'stack' });
  put(head, h('h1', {}, headline(said, lines, address, open)), h('p', { class: 'lede' }, hidden.has('story') ? mayNot('records') : lede(said, lines, open, story)));
  put(told, h('div', { class: 'cols' },
    h('section', {}, h('div', { class: 'sec' }, h('h2', {}, range.isLive ? 'Until now' : 'In this time'), h('span', { class: 'small quiet' }, amount(lines)),
      h('span', { class: 'end' }, h('a', { href: trafficOf('client_ip', address, rangeQuery(), isPrefix(address) ? '=/' : '==') }, 'In Analytics'))),
    lines.length ? h('ol', { class: 'story' }, lines.map(item)) : hidden.has('story') ? unseen('records') : nothing(story, address), several(story), notes(story)),
    h('div', { class: 'stack' }, who(rows, hidden.has('open') ? null : open, story, address), rtt(rows), now)));
  const looks = (isPrefix(address) ? [] : names.slice(0, EXPLAINED)).map((name) => inApp(now, name, address, open.filter((one) => one.app === name), ctx));
  Promise.all(looks).then((blocked) => {
    const refused = blocked.filter((name) => name && !said.refused.some((line) => line.row.app === name));
    if (refused.length) head.querySelector('.lede')?.append(' ', h('b', {}, 'Now it would be refused at ', listed(refused.map(app)), '.'));
  }, () => {});
}

// Where no address is given: those that came, moved, were refused or failed most.
const MOST = [['sessions', 'Most sessions', int], ['bits', 'Most traffic', bytes], ['refused', 'Refused most', int], ['failed', 'Failed most', int]];
function busiest(place, ctx) {
  const base = { since: range.since, until: range.until, filter: [{ dimension: 'client_ip', op: '!=', values: [''] }] };
  const lists = MOST.map(([key, title, say]) => [top({ table: 'events', key: 'client_ip', title, isLink: true, pick: (_, value) => ctx.go(to(value)), hover: () => {} }), metric(key), say]);
  put(place, h('section', {}, h('div', { class: 'sec' }, h('h2', {}, 'Top clients'), h('span', { class: 'small quiet' }, 'in this time')), h('div', { class: 'tops' }, lists.map(([one]) => one.node))));
  // Without analytics there is no list, and the field is all that is needed.
  for (const [one, of, say] of lists) one.load({ metric: { ...of, parts: false }, base: { ...base, filter: [...base.filter, ...(of.outcome ? [{ dimension: 'outcome', op: '=', values: [of.outcome] }] : [])] }, say }, ctx.signal, () => put(place));
}

const total = (lines) => lines.reduce((all, line) => all + line.count, 0);
const amount = (lines) => (lines.length ? `${count(total(lines), 'event')} in ${count(lines.length, 'line')}` : '');

function headline({ refused, troubled, served }, lines, address, open) {
  const elsewhere = served.length > 0 || open.length > 0;
  if (refused.length) {
    const where = refused.slice(0, 2).map((line) => line.row.app).join(' and ') + (refused.length > 2 ? ` and ${refused.length - 2} more` : '');
    return ['Refused at ', foreign(where), ` since ${moment(Math.min(...refused.map((line) => line.first)))}`, elsewhere && ', welcome elsewhere'];
  }
  if (troubled.length) return [troubled[0].kind === 'degraded' ? 'Its TLS fails with ' : 'Its sessions fail on ', foreign(troubled[0].row.app), served.length > 0 && ', and work elsewhere'];
  if (!lines.length) return open.length ? 'It is connected now' : ['Nothing is known of ', foreign(address)];
  return open.length ? 'Connected, and not refused' : `Served ${times(total(lines))}, and not refused`;
}

function lede({ refused, troubled, served }, lines, open, story) {
  const elsewhere = listed(served.map((line) => app(line.row.app)));
  const also = served.length > 0 && ['It is a client of ', elsewhere, ' at the same time, so the address may be a shared one.'];
  if (refused.length) {
    const { row, last } = refused[0], n = total(refused);
    const why = row.access_rule ? ['Rule ', rule(row.access_rule), row.access_prefix ? [' names its prefix ', row.access_prefix] : ' names it', row.access_list && [', in ', code(row.access_list)], '. ']
      : row.limit_hit ? ['It was over a limit: ', code(row.limit_hit), '. '] : [code(row.reason), '. '];
    return [why, `It was refused ${times(n)}${n > 1 ? `, the last time at ${moment(last)}` : ''}. `, also];
  }
  if (troubled.length) return [code(troubled[0].row.reason), `, the last time at ${moment(troubled[0].last)}. `, served.length > 0 && ['It is served on ', elsewhere, '.']];
  if (!lines.length) return open.length ? 'No record names it yet: they are written when sessions end.' : 'It may have come at another time: take a longer range above.';
  return [open.length > 0 && [capital(count(open.length, 'session')), open.length === 1 ? ' is' : ' are', ' open, on ', listed([...new Set(open.map((one) => one.app))].map(app)), '. '],
    `It came ${times(total(lines))}, to `, listed([...new Set(lines.map((line) => line.row.app))].map(app)), '.', story.omitted > 0 && ` ${capital(count(story.omitted, 'earlier event'))} ${story.omitted === 1 ? 'is' : 'are'} not shown.`];
}

const item = (line) => h('li', {}, h('time', { datetime: iso(line.last), title: instant(line.last) }, moment(line.last)), mark(line.kind, line.kind === 'mitigated' ? 'refused' : line.kind),
  h('div', {}, h('p', {}, h('b', {}, what(line))), h('p', {}, details(line))));

function what({ row, kind, count: n, open, origins }) {
  const some = [...origins].filter(Boolean), where = some.length === 1 ? [' to ', foreign(some[0])] : some.length > 1 && ` to ${count(some.length, 'origin')}`;
  const sessions = n > 1 ? capital(count(n, 'session')) : 'Session';
  if (row.clients > 1) return [`${capital(count(n, 'refusal'))} of ${count(row.clients, 'client')} together at `, app(row.app), '.'];
  if (kind === 'mitigated') return ['Refused at ', app(row.app), row.access_rule ? [' by rule ', rule(row.access_rule)] : row.limit_hit && ' by a limit', '.'];
  if (kind === 'degraded') return ['TLS with ', app(row.app), ' failed', n > 1 && ` ${times(n)}`, '.'];
  if (kind === 'failed' && row.duration == null) return [sessions, ' on ', app(row.app), ' had no origin.'];
  if (kind === 'failed') return [sessions, ' on ', app(row.app), n > 1 ? ' were cut' : ' was cut', some.length === 1 && [': ', foreign(some[0]), ' went away'], '.'];
  return [sessions, ' on ', app(row.app), where, open && ', open', '.'];
}

function details(line) {
  const { row, kind, count: n, first, last } = line, said = [], turned = kind === 'mitigated' || kind === 'degraded';
  if (n > 1) said.push(turned ? `The ${nth(n)} time since ${moment(first)}${last > first ? `, every ${dur((last - first) / (n - 1))}` : ''}` : `Since ${moment(first)}`);
  if (kind === 'mitigated' && row.access_prefix) said.push([row.access_prefix, row.access_list && [' in ', code(row.access_list)]]);
  if (row.limit_hit) said.push(['Limit of ', code(row.limit_hit)]);
  if (row.tls_error) said.push(foreign(row.tls_error));
  if (row.reason === 'sni_unknown') said.push(['It asked for ', row.sni ? foreign(row.sni) : 'no name']);
  else if (row.sni) said.push([row.tls_version !== 'none' && `${row.tls_version}, `, 'server name ', foreign(row.sni)]);
  if (line.open) said.push(`Open since ${moment(line.began)}`);
  else if (row.duration != null && n === 1) said.push(`Open for ${dur(row.duration / 1e6)}`);
  if (row.connect_duration && n === 1) said.push(`Connected in ${dur(row.connect_duration / 1e6)}`);
  if (line.bytesIn || line.bytesOut) said.push(`${bytes(line.bytesIn)} in, ${bytes(line.bytesOut)} out`);
  if (line.packetsIn) said.push(`${capital(count(line.packetsIn, 'datagram'))} in, ${int(line.packetsOut)} out`);
  const trip = median(line.rtts.map(([, value]) => value));
  if (trip) said.push(`RTT ${dur(trip / 1e6)}`);
  if (row.attempts > 0) said.push(`${capital(count(row.attempts, 'other origin'))} could not be reached before`);
  if (row.reason) said.push([code(row.reason), `, status ${row.status}`]);
  return [said.map((part, i) => [i > 0 && '. ', part]), '.'];
}

const nothing = (story, address) => (story.is_kept
  ? blank('No record names it', ['In this time nothing was kept of ', foreign(address), '. ', story.kept_since ? `Records reach back to ${when(story.kept_since)}.` : ''])
  : blank('No records are kept', ['So there is no past to tell. With ', code('analytics: true'), ' in the file there is.']));

const several = (story) => story.several?.length > 0 && h('section', {}, h('h3', { class: 'sec' }, 'Refused together with others'),
  h('p', { class: 'soft' }, 'Refusals of several clients that came at once have no addresses; it may be among them.'), h('ol', { class: 'story' }, fold(events(story.several)).map(item)));

const notes = (story) => story.notes?.length > 0 && h('ul', { class: 'small quiet client-notes' }, story.notes.map((text) => h('li', {}, `${capital(text)}.`)));

function who(rows, open, story, address) {
  const latest = rows.at(-1) ?? {}, sum = (key) => rows.reduce((all, row) => all + (row[key] ?? 0), 0), origins = [...new Set(rows.map((row) => row.origin).filter(Boolean))];
  const known = [['Address', foreign(address)], ['Country', latest.country !== 'XX' && latest.country], ['Network', latest.asn > 0 && `AS${latest.asn}`], ['Node', latest.node && foreign(latest.node)],
    ['Open now', !open ? mayNot('open sessions') : open.length ? h('a', { href: `#/sessions?client=${encodeURIComponent(address)}` }, count(open.length, 'session')) : 'nothing'],
    ['Moved', rows.length > 0 && `${bytes(sum('client_bytes'))} in, ${bytes(sum('origin_bytes'))} out`],
    ['Origins', origins.length > 0 && [origins.slice(0, 4).map((name, i) => [i > 0 && ', ', foreign(name)]), origins.length > 4 && ` and ${origins.length - 4} more`]],
    ['First seen', story.first_seen && when(story.first_seen)]];
  return h('section', {}, h('h2', { class: 'sec' }, 'Who it is'), h('dl', { class: 'kv' }, known.filter(([, value]) => value).map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value)))));
}

function rtt(rows) {
  const points = rows.filter((row) => row.client_rtt).map((row) => [row.time, row.client_rtt / 1000]);
  if (points.length < 2) return null;
  const [since, until] = [range.since, range.until], bucket = (until - since) / RTT_BUCKETS, at = (t) => Math.min(RTT_BUCKETS - 1, Math.floor((t - since) / bucket));
  const groups = Array.from({ length: RTT_BUCKETS }, () => []);
  for (const [t, value] of points) groups[at(t)]?.push(value);
  const made = chart({ kind: 'line', label: 'Round-trip time to the client', unit: 'ms', height: 112, range: [since, until], bucket, times: groups.map((_, i) => since + i * bucket),
    series: [{ key: 'rtt', label: 'median', color: 'passed', values: groups.map(median) }] });
  return h('section', {}, h('div', { class: 'sec' }, h('h2', {}, 'Round trip to it'), h('span', { class: 'end quiet' }, `median ${dur(median(points.map(([, value]) => value)) / 1000)}`)), made.node);
}

// Returns the name of the app if an access rule would refuse the client there now.
async function inApp(place, name, address, open, ctx) {
  const said = h('div'), acts = h('div', { class: 'client-acts' }), section = h('section', {}, h('h2', { class: 'sec' }, h('span', {}, 'If it came to ', app(name), ' now')), said, acts);
  place.append(section);
  const steps = await explained(said, name, address, ctx.signal);
  const blocked = steps.map((text) => text.match(/^access rule (\S+) blocks it/)?.[1]).find(Boolean);
  if (blocked) acts.append(h('button', { type: 'button', class: 'btn', onclick: () => letIn(acts, address, blocked) }, 'Let this address in'));
  if (open.length) acts.append(h('button', { type: 'button', class: 'btn danger', onclick: () => endAll(acts, name, address, open.length) }, open.length === 1 ? 'End its session' : `End its ${int(open.length)} sessions`));
  return blocked && name;
}

async function letIn(acts, address, name) {
  const text = [h('b', {}, `${address} gets in. `), 'A rule that allows it is more specific than ', foreign(name), ', and holds for all apps of this account that ask access rules, at once. It stands under Access rules.'];
  if (!await confirmInPlace(acts, { text, verb: `Let ${address} in` })) return;
  await carryOut(() => api.post('/accounts/{account}/firewall/access_rules/rules', { mode: 'whitelist', configuration: { target: address.includes(':') ? 'ip6' : 'ip', value: address }, notes: `let in from its story, past ${name}` }), () => `${address} is let in`);
}

async function endAll(acts, name, address, n) {
  const text = [h('b', {}, `${capital(count(n, 'session'))} of ${address} ${n === 1 ? 'is' : 'are'} cut off. `), 'It may connect again at once.'];
  if (!await confirmInPlace(acts, { text, verb: n === 1 ? 'End its session' : `End its ${int(n)} sessions`, danger: true })) return;
  await carryOut(() => api.post('/accounts/{account}/sessions/kill', { client: address, app: name }), ({ killed }) => `${capital(count(killed, 'session'))} ended`);
}

async function carryOut(run, done) {
  try {
    toast(done(await run()));
    await open();
  } catch (error) {
    toast(error.text || error.message);
  }
}
