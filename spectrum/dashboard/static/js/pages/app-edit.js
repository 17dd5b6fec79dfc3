// An app: what it listens on, where it goes, what is known of it; a new one by a preset.
import { h, put } from '../dom.js';
import { api } from '../api.js';
import { ago, bits, capital, count, dur, int } from '../format.js';
import { at, withAt } from '../form.js';
import { deleting, editor, objects, sentence, steps } from '../editor.js';
import { trafficOf } from '../links.js';
import { confirmed, toast } from '../overlay.js';
import { mayNot, parts } from '../parts.js';
import { seconds } from '../pools.js';
import { presets } from '../presets.js';
import { go, href, open as reopen } from '../router.js';
import { button } from '../states.js';

const transportOf = (value, ports) => String(value.protocol || ports.get(value.preset) || 'tcp').split('/')[0];
const portsOf = (text) => { const found = /(\d+)(?:-(\d+))?$/.exec(String(text || '')); return found ? [Number(found[1]), Number(found[2] || found[1])] : null; };
const size = (text) => { const found = portsOf(text); return found ? found[1] - found[0] + 1 : 0; };

/** The zone that a name is in: the longest one; none where it would be a new one. */
function zoneOf(name) {
  const all = api.ownZones.filter((zone) => name === zone.name || name.endsWith(`.${zone.name}`));
  return all.sort((a, b) => b.name.length - a.name.length)[0] || null;
}
const newZone = (name) => (name.split('.').length > 2 ? name.split('.').slice(1).join('.') : name);

// Short for what an origin is: an address becomes what the file has.
function tidyOrigins(origins, value, ports) {
  const protocol = value.protocol || ports.get(value.preset) || '';
  const [transport, port] = protocol.split('/');
  return origins?.map((one) => {
    if (!port || /^\w+:\/\//.test(one)) return one;
    const bare = /^[0-9a-f]*:[0-9a-f:.]*$/i.test(one) ? `[${one}]` : one;
    return `${transport}://${/(^[^:[\]]+|\]):\d+(-\d+)?$/.test(bare) ? bare : `${bare}:${port}`}`;
  });
}

function layoutOf({ hidden, byName, balancers, certificates, ports, idle }) {
  const named = (list) => list.map((one) => [byName ? one.key ?? one.name : one.id, one.name]);
  const isTcp = (value) => transportOf(value, ports) === 'tcp';
  const edge = {
    key: '/edge_ips', label: 'Addresses', kind: 'choice', default: 'all',
    options: [['all', 'All'], ['ipv4', 'IPv4'], ['ipv6', 'IPv6'], ['static', 'These']],
    get: (value) => (Array.isArray(value.edge_ips) ? 'static' : value.edge_ips?.type === 'static' ? 'static' : value.edge_ips?.connectivity || 'all'),
    set: (value, picked) => (picked === 'static' ? { ...value, edge_ips: { type: 'static', ips: [] }, ...(value.dns ? { dns: { ...value.dns, type: 'ADDRESS' } } : {}) } : { ...value, edge_ips: { type: 'dynamic', connectivity: picked }, ...(value.dns ? { dns: { ...value.dns, type: 'CNAME' } } : {}) }),
  };
  const ips = { key: '/edge_ips/ips', label: 'Listens at', kind: 'list', keepsEmpty: true, placeholder: '192.0.2.1', hint: 'One a line: addresses of this machine', when: (value) => edge.get(value) === 'static', get: (value) => (Array.isArray(value.edge_ips) ? value.edge_ips : value.edge_ips?.ips) };
  const goes = (key) => (value) => at(value, '/load_balancer') !== undefined ? key === '/load_balancer' : at(value, key) !== undefined || (key === '/origin_direct' && at(value, '/origin_dns') === undefined);
  return {
    without: ['/traffic_type', '/argo_smart_routing', '/zone', '/account', '/preset', '/dns'],
    sections: [
      { title: 'Listen', fields: [
        { key: '/dns/name', label: 'Name', kind: 'text', placeholder: 'ssh.example.com', hint: 'What clients look up, and what the app is called here' },
        { key: '/protocol', label: 'Protocol and ports', kind: 'text', placeholder: 'tcp/22', hint: 'udp/53, tcp/22, or a range of ports: udp/27015-27020' },
        edge, ips,
      ] },
      { title: 'Origin', fields: [
        { key: '#origin', label: 'Where it goes', kind: 'variant', options: [{ key: '/origin_direct', label: 'Addresses', blank: [] }, { key: '/origin_dns', label: 'DNS name', blank: { name: '' }, also: ['/origin_port'] }, { key: '/load_balancer', label: 'Load balancer', blank: '' }] },
        { key: '/origin_direct', label: 'Address', kind: 'list', keepsEmpty: true, placeholder: '192.0.2.10', hint: 'One a line. tcp:// or udp://, an address or a name, a port or as many ports as are listened on; the address alone takes the app’s ports', when: goes('/origin_direct'), tidy: (one, value) => tidyOrigins(one, value, ports) },
        { key: '/origin_dns/name', label: 'Name', kind: 'text', placeholder: 'origin.example.com', when: goes('/origin_dns') },
        { key: '/origin_dns/type', label: 'Records', kind: 'choice', options: [['', 'A and AAAA'], ['A', 'A'], ['AAAA', 'AAAA'], ['SRV', 'SRV']], default: '', isHalf: true, when: goes('/origin_dns') },
        { key: '/origin_port', label: 'Port there', kind: 'free', isHalf: true, placeholder: '22', when: (value) => goes('/origin_dns')(value) && at(value, '/origin_dns/type') !== 'SRV' },
        { key: '/load_balancer', label: 'Load balancer', kind: 'select', options: named(balancers), none: 'choose one', hint: hidden.has('balancers') ? mayNot('load balancers') : balancers.length ? undefined : 'There is none yet; Load balancing makes one', when: goes('/load_balancer') },
      ] },
      { title: 'Client', fields: [
        { key: '/proxy_protocol', label: 'How the origin learns its client', kind: 'choice', default: 'off', options: [['off', 'Not at all'], ['v1', 'PROXY v1', 'TCP'], ['v2', 'PROXY v2'], ['simple', 'Simple Proxy', 'UDP']], hint: 'PROXY v1 is for TCP, Simple Proxy for UDP: 38 bytes before each datagram, and the same before each reply' },
        { key: '/ip_firewall', label: 'Access rules apply', hint: 'Whom they refuse is turned away before an origin is asked' },
        { key: '/tls', label: 'TLS', kind: 'choice', default: 'off', options: [['off', 'Off'], ['flexible', 'Flexible'], ['full', 'Full'], ['strict', 'Strict']], when: isTcp, hint: 'Off passes it through. Flexible ends it here; full speaks it anew with the origin, strict also verifies the origin’s certificate' },
        { key: '/edge_tls/certificates', label: 'Certificates', kind: 'refs', add: 'Add a certificate', options: named(certificates), hint: hidden.has('certificates') ? mayNot('certificates') : 'None means all of them', when: (value) => isTcp(value) && value.tls && value.tls !== 'off' },
      ] },
      { title: 'Limits', fields: [
        { key: '/timeouts/idle', label: 'Quiet ones end after', kind: 'duration', isHalf: true, placeholder: idle || '1h', hint: 'Without data in either direction; 0 is never' },
        { key: '/timeouts/connect', label: 'The origin answers within', kind: 'duration', isHalf: true, placeholder: '5s', when: isTcp },
        { key: '/limits/sessions', label: 'Sessions at once', kind: 'number', isHalf: true, placeholder: 'any number', when: isTcp },
        { key: '/limits/flows', label: 'Flows at once', kind: 'number', isHalf: true, placeholder: 'any number', when: (value) => !isTcp(value) },
        { key: '/limits/client/new_per_second', label: 'New from one client, per second', kind: 'number', isHalf: true, placeholder: 'any number' },
        { key: '/limits/client/sessions', label: 'From one client at once', kind: 'number', isHalf: true, placeholder: 'any number', when: isTcp },
        { key: '/limits/client/datagrams_per_second', label: 'Datagrams of one client, per second', kind: 'number', isHalf: true, placeholder: 'any number', when: (value) => !isTcp(value) },
      ] },
    ],
  };
}

// What a save does, in words: of the difference in the file's own terms.
function effectsOf({ before, after, isNew, changes }, { figures, ports }) {
  const udp = String(after.protocol || ports.get(after.preset) || '').startsWith('udp');
  const open = figures?.sessions || 0, what = udp ? 'flow' : 'session';
  const lines = [isNew ? [h('b', {}, after.protocol || ports.get(after.preset)), ' is listened on by all workers when the answer comes.'] : 'Live in all workers when the answer comes, or nowhere.'];
  if (!isNew) {
    const goesElsewhere = ['origin_direct', 'origin_dns', 'load_balancer', 'origin_port'].some((key) => key in changes);
    if ('protocol' in changes || 'edge_ips' in changes) lines.push(`It listens elsewhere: clients that use ${before.protocol || 'the former port'} are refused from then on.`);
    if (open && udp && goesElsewhere) lines.push(`${capital(count(open, 'flow'))} that ${open === 1 ? 'is' : 'are'} open ${open === 1 ? 'goes' : 'go'} to the new origin if theirs is gone.`);
    else if (open) lines.push(`${capital(count(open, what))} that ${open === 1 ? 'is' : 'are'} open ${open === 1 ? 'goes' : 'go'} on as ${open === 1 ? 'it is' : 'they are'}; new ones get what is new.`);
    else lines.push(`No ${what} is open now.`);
    if ('ip_firewall' in changes) lines.push(after.ip_firewall ? 'Access rules refuse new clients that they block.' : 'Access rules do not apply any more: nobody is refused by them.');
    lines.push('No session of another app is touched.');
  } else {
    if (after.load_balancer) lines.push(`New sessions go where load balancer ${after.load_balancer} says.`);
    if (!after.ip_firewall) lines.push('Access rules do not apply to it.');
  }
  return lines;
}

async function choose() {
  const all = await presets();
  const link = (query, label, hint) => h('li', {}, h('a', { href: href('/apps/new', query) }, h('b', {}, label), h('span', { class: 'small quiet' }, hint)));
  return {
    title: 'Add an app',
    crumbs: [['Apps', '#/apps']],
    node: [h('div', {}, h('h1', {}, 'What stands behind it?'), h('p', { class: 'lede' }, 'A preset sets port, idle time and monitor. All of it can be changed.')),
      h('section', {}, h('ul', { class: 'presets' }, all.map((one) => link({ preset: one.name }, one.label, one.protocol)), link({ preset: 'none' }, 'Something else', 'any port')))],
  };
}

export default async function appEdit({ params, query, signal }) {
  const isNew = !params.id || params.id === 'new';
  if (isNew && !query.preset) return choose();
  const [{ hidden, balancers = [], certificates = [] }, known, every] = await Promise.all([
    parts({ balancers: objects('load_balancers'), certificates: api.get('/accounts/{account}/spectrum/certificates') }), presets(), isNew ? [] : api.get('/accounts/{account}/spectrum/figures').catch(() => null)]);
  const ports = new Map(known.map((one) => [one.name, one.protocol]));
  const preset = known.find((one) => one.name === query.preset);
  const counted = isNew || !every?.apps[params.id] ? null : Object.fromEntries(every.keys.map((key, i) => [key, every.apps[params.id][i]]));
  const zone = api.ownZones[0];
  const own = isNew ? null : await objects('apps', params.id);
  const idle = (preset || known.find((one) => one.name === own?.value.preset))?.idle;
  const facts = { hidden, balancers, certificates, ports, figures: counted, idle };
  const path = (id) => (own.zone_id ? `/zones/${own.zone_id}/spectrum/apps/${id}` : '');
  const nameOf = (value) => String(value.dns?.name || '');
  const edit = await editor({
    section: 'apps', noun: 'app', id: isNew ? '' : params.id, facts, path,
    canEdit: isNew || Boolean(own.zone_id),
    scope: (value) => { const found = isNew ? zoneOf(nameOf(value)) : { id: own.zone_id }; return found ? `/zones/${found.id}` : '/accounts/{account}'; },
    collection: () => `/zones/${zoneOf(nameOf(edit.form.value)).id}/spectrum/apps`,
    before: async (value) => {
      if (zoneOf(nameOf(value))) return;
      const made = await api.post('/zones', { name: newZone(nameOf(value)), account: { id: api.account.id } });
      api.zones.push(made);
    },
    initial: preset ? { preset: preset.name, protocol: preset.protocol, dns: { type: 'CNAME', name: `${preset.name}.${zone?.name || 'example.com'}` }, origin_direct: [] } : { dns: { type: 'CNAME', name: `app.${zone?.name || 'example.com'}` }, origin_direct: [] },
    layout: layoutOf,
    tidy: (value) => (value.origin_direct ? withAt(value, '/origin_direct', tidyOrigins(value.origin_direct, value, ports)) : value),
    mend: (fault, value) => mendPorts(fault, value, ports),
    effects: (change) => {
      const lines = effectsOf(change, facts);
      const name = nameOf(edit.form.value);
      if (isNew && name && !zoneOf(name)) lines.push(['Zone ', h('b', {}, newZone(name)), ' is made for its name.']);
      return lines;
    },
    saved: (result, added) => { if (added) go(`/apps/${result.id}`); else reopen(); },
  });
  const back = [['Apps', '#/apps']];
  if (isNew) {
    setTimeout(() => focusFirst(edit), 0);
    return { title: `Add an app${preset ? `: ${preset.label}` : ''}`, crumbs: back, node: [h('div', { class: 'head' }, h('div', { class: 'grow' }, h('h1', {}, preset ? `Add an app for ${preset.label}` : 'Add an app'), h('p', { class: 'lede' }, preset ? `${preset.protocol}, quiet sessions end after ${dur(seconds(preset.idle))}. Where does it go?` : 'What does it listen on, and where does it go?')), h('div', { class: 'acts' }, h('a', { class: 'btn', href: '#/apps/new' }, 'Another preset'))), edit.node] };
  }
  const { stands } = edit;
  const lede = h('p', { class: 'lede' });
  const told = (rate) => put(lede, every?.paused.includes(params.id) ? h('b', {}, 'Paused: new sessions are refused. ') : null, counted ? [`${capital(count(counted.sessions, transportOf(stands.value, ports) === 'udp' ? 'flow' : 'session'))} open`, rate ? `, ${rate}` : '', `, ${int(counted.started)} since the daemon began. `] : 'Nothing has come to it since the daemon began. ', stands.in_file ? 'It stands in the file.' : ['Changed ', ago(stands.modified_on), `, revision ${stands.revision}.`]);
  told();
  const again = setTimeout(async () => {
    const next = await api.get('/accounts/{account}/spectrum/figures', null, { signal }).catch(() => null);
    const now = next?.apps[params.id];
    if (!now || !counted) return;
    const moved = (key) => (now[next.keys.indexOf(key)] - counted[key]) * 8 / Math.max(0.1, next.at - every.at);
    told(bits(moved('bytes_from_client') + moved('bytes_from_origin')));
  }, 1500);
  const fate = { keep: 'go on', drain: 'end one by one', close: 'are ended at once' };
  return {
    title: stands.name,
    crumbs: back,
    onLeave: () => clearTimeout(again),
    node: [
      h('div', { class: 'head' }, h('div', { class: 'grow' }, h('h1', {}, h('bdi', {}, stands.name)), lede), h('div', { class: 'acts' },
        h('a', { class: 'btn', href: trafficOf('app', stands.key) }, 'Traffic'),
        h('a', { class: 'btn', href: href('/sessions', { app: stands.key }) }, 'Sessions'),
        pausing(stands, every?.paused.includes(stands.id), counted),
        !edit.isReadonly && deleting({
          noun: 'app', name: stands.name, path: path(params.id),
          typed: () => (counted?.sessions && stands.value.on_remove === 'close' ? stands.name : ''),
          effects: () => [`${stands.value.protocol || 'Its port'} is listened on no more: new clients are refused.`, counted?.sessions ? `${capital(count(counted.sessions, 'session'))} ${fate[stands.value.on_remove || 'keep']} (on_remove: ${stands.value.on_remove || 'keep'}).` : 'No session is open.'],
          done: () => go('/apps'),
        }))),
      edit.node,
    ],
  };
}

function focusFirst(edit) {
  const field = [...edit.node.querySelectorAll('input, textarea')].find((one) => !one.value && one.offsetParent);
  field?.focus();
}

// By hand, until it is resumed: what the file or the API says of the app stays.
function pausing(app, isPaused, counted) {
  return button(isPaused ? 'Resume' : 'Pause', async () => {
    const open = counted?.sessions || 0, verb = isPaused ? 'Resume' : 'Pause';
    const lines = isPaused ? ['New sessions are taken again at once.'] : ['New sessions are refused at once (app_paused).', open ? `${capital(count(open, 'session'))} ${open === 1 ? 'goes' : 'go'} on.` : 'None is open.', 'It stays so over restarts, until it is resumed.'];
    if (!await confirmed({ title: `${verb} ${app.name}?`, body: steps(lines), verb: `${verb} ${app.name}` })) return;
    try {
      await api.post(`/accounts/{account}/spectrum/apps/${app.id}/${verb.toLowerCase()}`);
      toast(isPaused ? `${app.name} takes new sessions` : `${app.name} is paused`);
      reopen();
    } catch (error) {
      toast(`Not done: ${sentence(error)}`);
    }
  });
}

// Listened on six ports, and four at the origin: what the range would have to be.
function mendPorts(fault, value, ports) {
  const found = /^\/origin_direct\/(\d+)/.exec(fault.pointer || '');
  const protocol = value.protocol || ports.get(value.preset);
  const one = found && value.origin_direct?.[Number(found[1])];
  const first = portsOf(one);
  if (!first || !/port/.test(fault.message) || size(protocol) === size(one)) return undefined;
  const last = first[0] + size(protocol) - 1;
  const range = last > first[0] ? `${first[0]}-${last}` : `${first[0]}`;
  return [`Use ${range}`, value.origin_direct.map((other, i) => (i === Number(found[1]) ? one.replace(/\d+(-\d+)?$/, range) : other))];
}
