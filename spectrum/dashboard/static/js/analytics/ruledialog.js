// "Make a rule": an access rule of the filters, with what it would have refused before it is there.

import { h, put } from '../dom.js';
import { api } from '../api.js';
import { bytes, capital, count, int, pct } from '../format.js';
import { mark } from '../marks.js';
import { dialog, toast } from '../overlay.js';
import { bones, button } from '../states.js';
import { ask } from './ask.js';
import { dimension, valueLabel } from './catalogue.js';
import { bodyOf, ruleOf } from './rule.js';

const DAYS = 7;
const APPS_SHOWN = 5;
const WHOM = { ip: ['address', 'addresses'], ip6: ['address', 'addresses'], ip_range: ['network', 'networks'], country: ['country', 'countries'], asn: ['', 'AS numbers'] };

/** Open the dialog. Options: filters, the table that they are of, and notes: the filters in words. */
export function ruleDialog({ filters, table, notes: words }) {
  const rule = ruleOf(filters, (key) => dimension(table, key).label);
  if (rule.faults.length) {
    dialog({ title: 'Make a rule', body: [h('p', {}, rule.faults.join(' ')), h('p', { class: 'quiet' }, 'Click a value below the chart, or type it: 203.0.113.0/24, country DE, asn 64500.')] });
    return;
  }
  const [one, several] = WHOM[rule.target], name = `${one} ${rule.values.slice(0, 3).join(', ')}${rule.values.length > 3 ? ` and ${rule.values.length - 3} more` : ''}`.trim();
  const tried = h('div', { class: 'tried', role: 'status' }, bones(3, 60)), fault = h('div', { role: 'alert' });
  const notes = h('input', { class: 'field', type: 'text', id: 'rule-notes', value: `From Analytics, ${new Date().toISOString().slice(0, 10)}${words ? `: ${words}` : ''}` });
  const verb = `Block ${name.length > 40 ? `${rule.values.length} ${several}` : name}`;
  const opened = dialog({ title: 'Make a rule of these filters', wide: true, body: [
    h('pre', { class: 'diff', tabindex: 0, role: 'region', 'aria-label': 'The rule' }, yamlLines(rule).map((line) => h('div', { class: 'add' }, h('s', {}, '+'), line))),
    rule.left.length > 0 && h('p', { class: 'st degraded wrap' }, mark('degraded'), h('span', {}, `An access rule cannot say ${rule.left.map((each) => dimension(table, each.dimension).label).join(' or ')}: it refuses all of ${name}${rule.apps ? ` at ${rule.apps.join(', ')}` : ''}.`)),
    tried, h('label', { for: 'rule-notes' }, h('span', { class: 'lab' }, 'Notes'), notes), fault],
  actions: [button('Cancel', () => opened.close()), button(verb, save, 'primary')] });
  dryRun(rule, name, tried);

  async function save() {
    put(fault);
    try {
      const ids = rule.apps && await idsOf(rule.apps);
      await api.post('/accounts/{account}/firewall/access_rules/rules', bodyOf(rule, ids, notes.value));
      opened.close();
      toast(`${capital(name)} is refused from now on.`);
    } catch (error) {
      put(fault, h('p', { class: 'err' }, mark('failed'), h('span', {}, error.text || error.message)));
    }
  }
}

/** What the rule would have refused in the last days, from the same question that the page asks. */
async function dryRun(rule, name, node) {
  const until = Math.floor(Date.now() / 1000), base = { table: 'events', filter: rule.filters, since: until - DAYS * 86400, until };
  try {
    const [all, apps] = await Promise.all([
      ask({ ...base, metrics: ['sessions', 'refused', 'failed', 'clients', 'bytes'], dimensions: [] }), ask({ ...base, metrics: ['sessions'], dimensions: ['app'], limit: APPS_SHOWN })]);
    put(node, told(all.totals, apps, name));
  } catch (error) {
    put(node, h('p', { class: 'quiet' }, `What it would have refused cannot be told: ${error.text || error.message}`));
  }
}

function told({ sessions = 0, refused = 0, failed = 0, clients = 0, bytes: moved = 0 }, apps, name) {
  if (!sessions) return h('p', {}, `In the last ${DAYS} days there was no session of ${name}: it would have refused nothing.`);
  const passed = sessions - refused - failed;
  return [h('p', {}, `In the last ${DAYS} days it would have refused `, h('b', {}, `${count(passed + failed, 'session')}`), ` of ${count(clients, 'client')}`,
    passed ? [': ', h('b', {}, `${int(passed)} that passed`), ` and moved ${bytes(moved)}`] : '', failed ? `, ${int(failed)} that failed` : '', '.',
    refused ? ` ${int(refused)} were refused as it is.` : ''),
  h('p', { class: 'soft' }, 'At ', apps.rows.filter((row) => row[0] !== null).map(([app, number], i) => [i ? ', ' : '', h('bdi', {}, valueLabel('app', app)), ` ${pct(number / sessions)}`]), apps.groups > APPS_SHOWN ? ` and ${int(apps.groups - APPS_SHOWN)} more apps` : '', '. Access rules are about apps with ip_firewall.')];
}

/** Ids of apps by their names, which analytics has. */
async function idsOf(names) {
  const ids = new Map();
  for (const zone of api.ownZones) {
    for (const app of await api.list(`/zones/${zone.id}/spectrum/apps`)) if (app.dns?.name) ids.set(app.dns.name, app.id);
  }
  const unknown = names.filter((one) => !ids.has(one));
  if (unknown.length) throw new Error(`There is no app ${unknown.join(', ')} in this account any more.`);
  return names.map((one) => ids.get(one));
}

function yamlLines({ values, target, apps }) {
  const name = target === 'ip6' ? 'ip' : target, quoted = (text) => (/^[\w.-]+$/.test(text) ? text : JSON.stringify(text));
  return ['access_rules:', `  - action: block`, `    target: ${name}`, values.length > 1 ? `    values: [${values.map(quoted).join(', ')}]` : `    value: ${quoted(values[0])}`,
    ...(apps ? [`    apps: [${apps.map(quoted).join(', ')}]`] : [])];
}
