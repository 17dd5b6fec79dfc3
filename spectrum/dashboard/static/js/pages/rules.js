// Access rules: who is refused, who is let in, and at which apps.
import { h } from '../dom.js';
import { api } from '../api.js';
import { ago, capital, count, instant, int } from '../format.js';
import { deleting, editor, objects, objectsWith } from '../editor.js';
import { mark } from '../marks.js';
import { mayNot, parts } from '../parts.js';
import { go, href, open as reopen } from '../router.js';
import { blank } from '../states.js';
import { table } from '../table.js';

const TARGETS = { ip: 'address', ip_range: 'prefix', asn: 'AS', country: 'country' };
const whom = (value) => (value.list ? `list ${value.list}` : value.file ? `file ${value.file}` : value.values ? [].concat(value.values).map(String).join(', ') : String(value.value ?? ''));

export default async function rules(ctx) {
  return ctx.params.id ? edit(ctx) : list(ctx);
}

// How many clients each rule met, of the last day; nothing without analytics.
async function metBy(signal) {
  const until = Date.now();
  try {
    const told = await api.post('/accounts/{account}/analytics/query', { table: 'events', metrics: ['count'], dimensions: ['access_rule'], since: new Date(until - 86400000).toISOString(), until: new Date(until).toISOString(), limit: 1000 }, { signal });
    return new Map(told.rows.map((row) => (Array.isArray(row) ? [row[0], row[1]] : [row.access_rule, row.count])));
  } catch { return null; }
}

async function list({ query, setQuery, signal }) {
  const [found, { hidden, apps = [] }, met] = await Promise.all([objects('access_rules'), parts({ apps: objectsWith('apps', 'ip_firewall', true) }), metBy(signal)]);
  const guarded = apps.length;
  const rows = found.map((one) => ({ ...one, action: one.value.action, target: one.value.target, whom: whom(one.value), where: one.value.apps ? [].concat(one.value.apps).join(', ') : one.zone_id ? `zone ${one.value.zone || ''}` : 'all apps with access rules', notes: one.value.notes || '', met: met?.get(one.key) ?? 0 }));
  const blocks = rows.filter((row) => row.action === 'block').length;
  const shown = table({
    label: 'Access rules', rows, onOpen: (row) => go(`/access/${row.id}`),
    columns: [
      { key: 'mark', label: '', title: 'What it does', width: '36px', rank: 1, sort: false, render: (row) => mark(row.action === 'block' ? 'mitigated' : 'passed', row.action === 'block' ? 'refuses' : 'lets in') },
      { key: 'action', label: 'Does', rank: 2, width: '88px', render: (row) => (row.action === 'block' ? 'refuses' : 'lets in') },
      { key: 'whom', label: 'Whom', rank: 1, width: '30%', href: (row) => href(`/access/${row.id}`), render: (row) => [h('b', { title: row.whom }, h('bdi', {}, row.whom.slice(0, 120))), h('span', { class: 'small quiet' }, `  ${row.value.list ? '' : TARGETS[row.target] || row.target}`)] },
      { key: 'where', label: 'At', rank: 3, render: (row) => h('span', { class: 'soft' }, row.where) },
      { key: 'notes', label: 'Notes', rank: 3, render: (row) => h('span', { class: 'soft', title: row.notes }, h('bdi', {}, row.notes)) },
      ...(met ? [{ key: 'met', label: 'Met, 24 h', align: 'num', rank: 1, width: '96px', render: (row) => (row.met ? int(row.met) : h('span', { class: 'quiet' }, '0')) }] : []),
      { key: 'modified_on', label: 'Changed', align: 'num', rank: 4, width: '110px', render: (row) => (row.in_file ? h('span', { class: 'quiet' }, 'in the file') : h('span', { class: 'quiet', title: instant(row.modified_on) }, ago(row.modified_on))) },
    ],
    filter: { placeholder: 'Filter by address, note, app', value: query.q || '', text: (row) => `${row.whom} ${row.notes} ${row.where} ${row.target} ${row.key}`, parts: [{ label: 'All' }, { label: 'Refuse', test: (row) => row.action === 'block' }, { label: 'Let in', test: (row) => row.action !== 'block' }], onChange: (text) => setQuery({ q: text }) },
    empty: blank('No rule yet', 'A rule refuses addresses, prefixes, countries or autonomous systems before an origin is asked, or lets them in whatever other rules say.', h('a', { class: 'btn primary', href: '#/access/new' }, 'Add a rule')),
  });
  return {
    title: 'Access rules',
    node: [h('div', { class: 'head' }, h('div', { class: 'grow' }, h('h1', {}, 'Access rules'), h('p', { class: 'lede' }, rows.length ? `${[blocks && `${count(blocks, 'rule')} ${blocks === 1 ? 'refuses' : 'refuse'}`, rows.length > blocks && `${count(rows.length - blocks, 'rule')} ${rows.length - blocks === 1 ? 'lets' : 'let'} in`].filter(Boolean).map((text, i) => (i ? text : capital(text))).join(', ')}. ${hidden.size ? mayNot('apps') : `They hold at ${guarded === 0 ? 'no app' : guarded === 1 ? 'one app' : `${int(guarded)} apps`}: those with “Access rules apply”.`}` : 'Nobody is refused by a rule.')), h('div', { class: 'acts' }, h('a', { class: 'btn', href: '#/lists' }, 'Lists'), h('a', { class: 'btn primary', href: '#/access/new' }, 'Add a rule'))), h('section', { class: 'tight' }, shown.node)],
  };
}

// The body says by several keys what a form asks by one: whom.
const kindOf = (value) => { const at = value.configuration || {}; return String(at.value || '').startsWith('$') ? 'list' : Array.isArray(at.values) ? 'several' : at.target === 'ip6' ? 'ip' : at.target || 'ip'; };
const withWhom = (value, configuration) => ({ ...value, configuration });
const guess = (all) => (all.length && all.every((one) => /^(AS)?\d+$/i.test(one)) ? 'asn' : all.length && all.every((one) => /^[a-z]{2}$/i.test(one)) ? 'country' : 'ip_range');

async function edit({ params, query }) {
  const isNew = params.id === 'new';
  const [{ hidden, lists = [], apps = [] }, own] = await Promise.all([parts({ lists: objects('lists'), apps: objects('apps') }), isNew ? null : objects('access_rules', params.id)]);
  const base = own?.zone_id ? `/zones/${own.zone_id}` : '/accounts/{account}';
  const path = (id) => `${base}/firewall/access_rules/rules/${id}`;
  const guarded = apps.filter((app) => app.value.ip_firewall);
  const when = (...kinds) => (value) => kinds.includes(kindOf(value));
  const single = (target, label, placeholder, hint) => ({ key: `/configuration/value#${target}`, also: ['/configuration/value'], label, kind: 'text', placeholder, hint, when: when(target), get: (value) => value.configuration?.value, set: (value, text) => withWhom(value, { target: target === 'ip' && text?.includes(':') ? 'ip6' : target, ...(text ? { value: text } : {}) }) });
  const made = await editor({
    section: 'access_rules', noun: 'rule', id: isNew ? '' : params.id, path, scope: () => base, collection: () => '/accounts/{account}/firewall/access_rules/rules',
    initial: query.value ? { mode: query.mode || 'block', configuration: { target: query.value.includes('/') ? 'ip_range' : query.value.includes(':') ? 'ip6' : 'ip', value: query.value }, ...(query.notes ? { notes: query.notes } : {}) } : { mode: 'block', configuration: { target: 'ip' } },
    layout: ({ byName }) => ({
      without: ['/configuration'],
      sections: [
        { title: 'Rule', fields: [
          { key: '/mode', label: 'What it does', kind: 'choice', options: [['block', 'Refuses'], ['whitelist', 'Lets in']], hint: 'One that lets in wins over all that refuse' },
          { key: '/configuration/target', label: 'Whom', kind: 'choice', options: [['ip', 'Address'], ['ip_range', 'Prefix'], ['several', 'Several'], ['list', 'A list'], ['asn', 'AS'], ['country', 'Country']], get: kindOf, set: (value, kind) => withWhom(value, kind === 'list' ? { target: 'ip_range', value: lists[0] ? `$${lists[0].name}` : '$' } : kind === 'several' ? { target: 'ip_range', values: [] } : { target: kind }) },
          single('ip', 'Address', '203.0.113.77'), single('ip_range', 'Prefix', '203.0.113.0/24', 'Of any length, IPv4 or IPv6'), single('asn', 'Autonomous system', 'AS64500', 'Needs a database: geoip in the file'), single('country', 'Country', 'DE', 'Two letters. Needs a database: geoip in the file'),
          { key: '/configuration/values', label: 'Whom', kind: 'list', rows: 4, keepsEmpty: true, placeholder: '203.0.113.0/24', hint: 'One a line: prefixes, AS numbers or countries', when: when('several'), set: (value, all) => withWhom(value, { target: guess(all || []), values: all || [] }) },
          { key: '/configuration/value#list', also: ['/configuration/value'], label: 'List', kind: 'select', options: lists.map((one) => [`$${one.name}`, `${one.name}, ${int(one.num_items)} items`]), hint: hidden.has('lists') ? mayNot('lists') : lists.length ? undefined : 'There is none yet: Lists makes one', when: when('list'), get: (value) => value.configuration?.value, set: (value, text) => withWhom(value, { target: lists.find((one) => `$${one.name}` === text)?.value.kind === 'asn' ? 'asn' : 'ip_range', value: text }) },
          { key: '/apps', label: 'At these apps alone', kind: 'refs', add: 'All apps; choose one to limit it', hint: hidden.has('apps') ? mayNot('apps') : undefined, options: apps.slice(0, 2000).map((one) => [byName ? one.key : one.id, one.name]) },
          { key: '/notes', label: 'Notes', kind: 'text', hint: 'Why: it is in the list, and in stories of clients' },
        ] },
      ],
    }),
    effects: ({ after, isNew: added }) => {
      const at = after.apps ? [].concat(after.apps).length : guarded.length;
      return [`${after.action === 'block' ? 'New sessions of' : 'Whatever other rules say,'} ${whom(after) || 'nobody'} ${after.action === 'block' ? 'are refused' : 'is let in'} at ${hidden.has('apps') && !after.apps ? 'all apps with “Access rules apply”' : at === 1 ? 'one app' : `${int(at)} apps`}.`, ...(guarded.length || hidden.has('apps') ? [] : ['No app has “Access rules apply” now, so it holds nowhere yet.']), after.action === 'block' ? 'Sessions that are open go on.' : '', ...(added ? [] : ['It holds as soon as it is saved.'])].filter(Boolean);
    },
    saved: (result, added) => (added ? go('/access') : reopen()),
  });
  const title = isNew ? 'Add a rule' : made.stands.name;
  return { title, crumbs: [['Access rules', '#/access']], node: [h('div', { class: 'head' }, h('div', { class: 'grow' }, h('h1', {}, h('bdi', {}, title)), h('p', { class: 'lede' }, isNew ? 'Whom it is about, and what becomes of them.' : `${capital(whom(made.stands.value).slice(0, 80))}: ${made.stands.value.action === 'block' ? 'refused' : 'let in'}.`)), h('div', { class: 'acts' }, !isNew && !made.isReadonly && deleting({ noun: 'rule', name: title, path: path(params.id), effects: () => [own.value.action === 'block' ? 'Whom it refuses is let in from then on.' : 'Whom it lets in is refused where another rule says so.'], done: () => go('/access') }))), made.node] };
}
