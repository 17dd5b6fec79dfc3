// An access rule of the filters: what can be said by one, and what cannot. No document.

import { isNegative } from './filters.js';

const WHO = {
  client_ip: (filter) => (filter.op === 'prefix' ? 'ip_range' : 'ip'), client_prefix: () => 'ip_range', country: () => 'country', asn: () => 'asn',
  source_ip: (filter) => (filter.op === 'prefix' ? 'ip_range' : 'ip'), source_prefix: () => 'ip_range', source_country: () => 'country', source_asn: () => 'asn',
};
const EVENT_NAMES = { source_ip: 'client_ip', source_prefix: 'client_prefix', source_country: 'country', source_asn: 'asn' };

/** Make a rule of filters.
 * Returns {target, values, apps, filters, left, faults}: `filters` are those that the rule can say, as a question about
 * sessions has them; `left` those that it cannot; `faults` (sentences) say why there is no rule at all. */
export function ruleOf(filters, label) {
  const faults = [], said = filters.filter((one) => (WHO[one.dimension] || one.dimension === 'app') && !isNegative(one) && (one.op === '=' || one.op === 'prefix'));
  const left = filters.filter((one) => !said.includes(one)), whom = said.filter((one) => WHO[one.dimension]);
  if (!whom.length) faults.push('An access rule names clients: filter by a client address, network, country or AS first.');
  if (whom.length > 1) faults.push(`An access rule names clients in one way: leave ${whom.slice(1).map((one) => label(one.dimension)).join(' or ')} out.`);
  const one = whom[0], app = said.find((each) => each.dimension === 'app');
  if (one && one.values.some((value) => value === '' || value === 0)) faults.push('A rule cannot name clients that are unknown.');
  const target = one ? WHO[one.dimension](one) : null;
  return { target: target === 'ip' && one.values.every((value) => String(value).includes(':')) ? 'ip6' : target, values: one ? one.values.map((value) => (target === 'asn' ? `AS${value}` : String(value))) : [],
    apps: app ? app.values : null, filters: said.map((each) => ({ ...each, dimension: EVENT_NAMES[each.dimension] || each.dimension })), left, faults };
}

/** The body for the API. `ids` are those of `apps`. */
export function bodyOf(rule, ids, notes) {
  const [target, values] = rule.values.length > 1 && rule.target === 'ip6' ? ['ip', rule.values] : [rule.target, rule.values];
  return { mode: 'block', configuration: values.length > 1 ? { target, values } : { target, value: values[0] }, ...(ids ? { apps: ids } : {}), notes };
}
