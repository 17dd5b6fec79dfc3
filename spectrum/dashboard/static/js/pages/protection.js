// Protection from attacks: overrides of managed rules, and Advanced TCP protection.
import { h, foreign } from '../dom.js';
import { api } from '../api.js';
import { capital, count } from '../format.js';
import { deleting, editor, objects } from '../editor.js';
import { state } from '../marks.js';
import { confirmed, toast } from '../overlay.js';
import { parts, unseen } from '../parts.js';
import { go, href, open as reopen } from '../router.js';
import { blank, button } from '../states.js';
import { plainTable } from '../table.js';

const MANAGED = '3b64149bfa6e4220bbbc2bd6db589552';
const BACK = [['DDoS protection', '#/protection']];
const RULESETS = '/accounts/{account}/rulesets', CONFIGS = '/accounts/{account}/magic/advanced_tcp_protection/configs', STATUS = `${CONFIGS}/tcp_protection_status`;
const LEVELS = [['default'], ['medium', 'medium: 3 times as much'], ['low', 'low: 8 times'], ['eoff', 'essentially off: 40 times']];
const ACTIONS = [['ddos_dynamic', 'what costs clients least'], ['block', 'drop'], ['log', 'count only']];
const COMPONENTS = [['syn_protection', 'SYNs and SYN-ACKs'], ['tcp_flow_protection', 'All other packets']];
const MODES = [['monitoring', 'Only counts'], ['enabled', 'Acts'], ['disabled', 'Off']];
const MARKS = { enabled: 'passed', monitoring: 'degraded', disabled: 'idle' };
const wordOf = (options, value) => options.find(([one]) => one === value)?.[1] ?? value;

export default (ctx) => (ctx.params.section ? edit(ctx) : overview());

const add = (section, words, id = 'new') => h('a', { class: 'btn', href: href(`/protection/${section}/${id}`) }, words);

async function overview() {
  const { hidden, entry = [], rules = [], filters = [], prefixes = [], allowed = [], status, node } = await parts({
    entry: objects('rulesets'), rules: objects('tcp_rules'), filters: objects('tcp_filters'), prefixes: objects('tcp_prefixes'), allowed: objects('tcp_allowlist'), status: api.get(STATUS), node: api.get('/accounts/{account}/node').catch(() => undefined),
  });
  const overrides = entry[0]?.value.rules || [], isOn = status?.enabled !== false, verb = isOn ? 'Switch off' : 'Switch on', isInVain = node?.kernel.filter?.startsWith('off');
  const all = [...rules.map((one) => row('tcp_rules', one, `${wordOf(COMPONENTS, one.value.component)}, ${one.value.place || 'everywhere'}`)),
    ...filters.map((one) => row('tcp_filters', one, [wordOf(COMPONENTS, one.value.component), ' where ', h('code', {}, foreign(one.value.expression, 80))])),
    ...prefixes.map((one) => row('tcp_prefixes', one, ['Destination ', foreign(one.value.prefix)], !one.value.excluded, 'protected')),
    ...allowed.map((one) => row('tcp_allowlist', one, ['Source ', foreign(one.value.prefix)], one.value.enabled !== false, 'unjudged'))];
  async function flip() {
    if (!await confirmed({ title: `${verb} TCP protection?`, body: h('p', {}, isOn ? 'Nothing is challenged or dropped then.' : 'Rules and filters do what they say.'), verb, danger: isOn })) return;
    await api.patch(STATUS, { enabled: !isOn }).then(reopen, (error) => toast(`Not changed: ${error.text}`));
  }
  return {
    title: 'DDoS protection',
    node: [h('div', { class: 'head' }, h('div', { class: 'grow' }, h('h1', {}, 'DDoS protection'), h('p', { class: 'lede' }, 'What becomes of attacks. Overrides need ', h('code', {}, 'ddos'), ' in the file, TCP protection ', h('code', {}, 'filter'), '.'))),
      h('section', {}, h('div', { class: 'sec' }, h('h2', { class: 'grow' }, 'Overrides of managed rules'), !hidden.has('entry') && add('rulesets', overrides.length ? 'Change' : 'Add', entry[0]?.id)),
        hidden.has('entry') ? unseen('overrides') : overrides.length ? plainTable([['Override'], ['For attacks with'], ['Says']], overrides.map((one, i) => h('tr', {}, h('td', {}, h('b', {}, foreign(one.description || one.ref || `rule-${i + 1}`)), one.enabled === false && h('span', { class: 'quiet' }, '  off')), h('td', {}, h('code', {}, foreign(one.expression || 'true', 120))), h('td', {}, said(one.overrides || {}).join('; ')))), 'Overrides, in their order') : blank('Managed rules are as they are', 'An override changes how sensitive they are, and what they do; also for some addresses and ports alone.')),
      h('section', {}, h('div', { class: 'sec' }, h('h2', { class: 'grow' }, 'Advanced TCP protection'), !hidden.has('status') && [state(isOn && !isInVain ? 'passed' : 'idle', isOn && isInVain ? 'on, without effect: there is no filter' : isOn ? 'on' : 'off'), button(verb, flip)]),
        hidden.has('rules') ? unseen('TCP protection') : [all.length > 0 ? plainTable([['What'], ['For'], ['What becomes of it']], all, 'Rules, filters, prefixes and the allowlist') : blank('No rule yet', 'A rule challenges SYNs, or drops packets of no connection, beyond a rate. Begin with one that only counts.'),
          h('div', { class: 'acts pad' }, add('tcp_rules', 'Add a rule'), add('tcp_filters', 'Add a filter'), add('tcp_prefixes', 'Add a prefix'), add('tcp_allowlist', 'Allow a source'))])],
  };
}

const row = (section, one, what, isOn, words) => h('tr', {}, h('td', {}, h('a', { href: href(`/protection/${section}/${one.id}`) }, capital(NOUNS[section]))), h('td', {}, what),
  h('td', {}, one.value.mode ? state(MARKS[one.value.mode], wordOf(MODES, one.value.mode).toLowerCase()) : state(isOn ? 'passed' : 'idle', isOn ? words : `not ${words}`)));

// What an override says, in words.
function said({ categories = [], rules = [], ...all }) {
  const words = (of, one) => [one.sensitivity_level, wordOf(ACTIONS, one.action)].filter(Boolean).map((word) => `${of}: ${word}`).join(', ');
  return [words('all', all), ...categories.map((one) => words(one.category, one)), rules.length && count(rules.length, 'single rule')].filter(Boolean);
}

const NOUNS = { rulesets: 'override', tcp_rules: 'rule', tcp_filters: 'filter', tcp_prefixes: 'prefix', tcp_allowlist: 'allowlist entry' };
const expression = (hint) => ({ key: '/expression', label: 'For packets with', kind: 'text', isWide: true, placeholder: 'ip.dst in {203.0.113.0/28} and tcp.dstport eq 22', hint });
const strength = (key, label, hint) => ({ key, label, kind: 'choice', options: ['low', 'medium', 'high'].map((one) => [one]), default: 'medium', isHalf: true, hint });
const component = { key: '/component', label: 'Of which packets', kind: 'choice', options: COMPONENTS }, comment = { key: '/comment', label: 'Comment', kind: 'text' };
const modes = { key: '/mode', label: 'What it does', kind: 'choice', options: MODES };

const KINDS = {
  tcp_rules: {
    path: ({ component }) => `${component}/rules`, initial: { component: 'syn_protection', mode: 'monitoring' },
    fields: ({ isNew, stands }) => [
      ...(isNew ? [component, { key: '/scope', label: 'On which nodes', kind: 'choice', default: 'global', options: [['global', 'All'], ['region', 'A region'], ['datacenter', 'One']], set: ({ name, ...rest }, scope) => ({ ...rest, scope }) },
        { key: '/name', label: 'Its name', kind: 'text', when: (value) => (value.scope ?? 'global') !== 'global', hint: 'node.region or node.name' }] : []),
      modes, strength('/rate_sensitivity', 'Sensitivity', 'Beyond 10,000, 2,000 or 500 pps of one address'), strength('/burst_sensitivity', 'To bursts', 'So much at once: 2 s, 0.5 s or 0.1 s of that rate'),
      ...(isNew || stands.value.component === 'syn_protection' ? [{ key: '/mitigation_type', label: 'SYNs beyond it', kind: 'choice', default: 'challenge', options: [['challenge', 'Get a cookie'], ['retransmit', 'Have to come twice']], when: (value) => (value.component ?? 'syn_protection') === 'syn_protection' }] : []),
    ],
    effects: ({ after }) => [after.mode === 'disabled' ? 'It says that nothing is done.' : `${wordOf(COMPONENTS, after.component)} beyond that are ${after.mode === 'monitoring' ? 'counted, and pass' : after.component === 'syn_protection' ? 'challenged' : 'dropped, unless they are of a connection'}.`],
  },
  tcp_filters: {
    path: ({ component }) => `${component}/filters`, initial: { component: 'syn_protection', mode: 'monitoring' },
    fields: ({ isNew }) => [isNew && component, expression('Of ip.src, ip.dst, tcp.srcport and tcp.dstport'), modes],
    effects: () => ['It holds instead of the rule, for these packets.'],
  },
  tcp_prefixes: {
    path: () => 'prefixes', initial: { prefix: '' },
    fields: ({ isNew }) => [isNew && { key: '/prefix', label: 'Destinations', kind: 'text', placeholder: '203.0.113.0/24' }, { key: '/excluded', label: 'Not protected', kind: 'switch' }, comment],
    effects: ({ after }) => [after.excluded ? 'What goes there is not judged.' : 'Where there are prefixes, they alone are protected.'],
  },
  tcp_allowlist: {
    path: () => 'allowlist', initial: { prefix: '' },
    fields: ({ isNew }) => [isNew && { key: '/prefix', label: 'Sources', kind: 'text', placeholder: '192.0.2.0/24' }, { key: '/enabled', label: 'In force', kind: 'switch', default: true }, comment],
    effects: ({ after }) => [after.enabled === false ? 'It says nothing.' : 'Nothing from there is challenged or dropped. Sources can be forged.'],
  },
};

const setting = [{ key: '/sensitivity_level', label: 'Sensitivity', kind: 'select', options: LEVELS, none: 'as it is', isHalf: true }, { key: '/action', label: 'What becomes of it', kind: 'select', options: ACTIONS, none: 'as it is', isHalf: true }];
const below = '/action_parameters/overrides';

// Overrides are the rules of the phase's entry point.
function ofRulesets(managed) {
  const kinds = managed.rules.map((one) => [one.id, `${one.ref} ${one.description.split('. ')[0]}`]), tags = [...new Set(managed.rules.flatMap((one) => one.categories))].sort().map((one) => [one, one]);
  return {
    initial: { rules: [{ action: 'execute', expression: 'true', action_parameters: { id: MANAGED } }] },
    fields: () => [{
      key: '/rules', label: 'Overrides, in their order', kind: 'objects', one: 'override', nameKey: 'description', add: 'Add an override', blank: { action: 'execute', expression: 'true', action_parameters: { id: MANAGED } }, without: ['/ref', `${below}/enabled`],
      fields: [{ key: '/description', label: 'What it is called', kind: 'text' }, { ...expression('true is for all attacks. An override is no allowlist: it is about attacks, not packets'), label: 'For attacks with' },
        ...setting.map((one) => ({ ...one, key: below + one.key, label: `All rules: ${one.label.toLowerCase()}` })),
        { key: `${below}/categories`, label: 'Categories', kind: 'objects', one: 'category', nameKey: 'category', add: 'Add a category', fields: [{ key: '/category', label: 'Category', kind: 'select', options: tags }, ...setting] },
        { key: `${below}/rules`, label: 'Single rules', kind: 'objects', one: 'rule', add: 'Add a rule', fields: [{ key: '/id', label: 'Managed rule', kind: 'select', options: kinds }, ...setting] },
        { key: '/enabled', label: 'In force', kind: 'switch', default: true }],
    }],
    effects: ({ after }) => { const rules = (after.rules || []).filter((one) => one.enabled !== false); return [rules.length ? 'The first that fits an attack, and says something of its managed rule, decides.' : 'Managed rules are as they are.', ...rules.flatMap((one) => said(one.overrides || {}).map((text) => `${one.description || one.expression}: ${text}.`))]; },
  };
}

async function edit({ params: { section, id } }) {
  const isNew = id === 'new', isEntry = section === 'rulesets', noun = isEntry ? 'ruleset' : NOUNS[section];
  const kind = isEntry ? ofRulesets(await api.get(`${RULESETS}/${MANAGED}`)) : KINDS[section];
  if (!kind) return { title: 'Not found', node: blank('There is no such page', '') };
  const own = isNew || isEntry ? null : await objects(section, id), base = (value) => (isEntry ? RULESETS : `${CONFIGS}/${kind.path(own?.value || value)}`);
  const path = () => `${base()}/${id}`;
  const made = await editor({
    section, noun, id: isNew ? '' : id, path, isPut: isEntry, scope: () => '/accounts/{account}', collection: () => base(made.form.value), initial: kind.initial,
    layout: (facts) => ({ without: ['/component', '/scope', '/name', '/description', '/kind', '/phase', '/account', '/prefix', '/mitigation_type'], sections: [{ title: '', fields: kind.fields(facts) }] }),
    effects: kind.effects, saved: (result, added) => (added ? go('/protection') : reopen()),
  });
  const title = isEntry ? 'Overrides of managed rules' : isNew ? `Add ${noun === 'allowlist entry' ? 'an' : 'a'} ${noun}` : made.stands.name;
  return { title, crumbs: BACK, node: [h('div', { class: 'head' }, h('div', { class: 'grow' }, h('h1', {}, foreign(title)), h('p', { class: 'lede' }, isEntry ? 'How sensitive managed rules are, and what they do.' : 'Of Advanced TCP protection.')), h('div', { class: 'acts' }, !isNew && !made.isReadonly && deleting({ noun, name: title, path: path(), done: () => go('/protection') }))), made.node] };
}
