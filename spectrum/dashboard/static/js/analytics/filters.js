// Filters: what the address has, what a chip says, what is typed, and what the API is asked. Values alone, no document.
//
// A filter is {dimension, op, values}; all filters together have to hold, and of one filter any of the values
// (of one that says "is not": none of them).

// In the address: `app==web,api;reason!=idle_timeout`, as in Cloudflare's grammar.
const OPERATORS = [['==', '='], ['!=', '!='], ['>=', '>='], ['<=', '<='], ['=~', 'like'], ['!~', 'not_like'], ['=/', 'prefix'], ['!/', 'not_prefix'], ['>', '>'], ['<', '<']];
const WORDS = { '=': 'is', '!=': 'is not', like: 'is like', not_like: 'is not like', prefix: 'is in', not_prefix: 'is not in', '>': 'is above', '<': 'is below', '>=': 'is at least', '<=': 'is at most' };
const OPPOSITE = { '=': '!=', '!=': '=', like: 'not_like', not_like: 'like', prefix: 'not_prefix', not_prefix: 'prefix', '>': '<=', '<=': '>', '<': '>=', '>=': '<' };
const NEGATIVE = new Set(['!=', 'not_like', 'not_prefix']);
const escaped = (value) => String(value).replace(/[%,;=!<>~]/g, (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`);
const plain = (text) => { try { return decodeURIComponent(text); } catch { return text; } };

/** Filters as the address has them. */
export const toText = (filters) => filters
  .map(({ dimension, op, values }) => `${dimension}${OPERATORS.find((one) => one[1] === op)[0]}${values.map(escaped).join(',')}`).join(';');

/** Filters of an address; what cannot be read is left out. `isNumber` tells of dimensions of numbers. */
export function fromText(text, isNumber = () => false) {
  return (text || '').split(';').map((part) => {
    const found = /^([a-z_]+)(==|!=|>=|<=|=~|!~|=\/|!\/|>|<)(.*)$/s.exec(part);
    if (!found) return null;
    const [, dimension, sign, values] = found;
    return { dimension, op: OPERATORS.find((one) => one[0] === sign)[1], values: values.split(',').map((one) => typed(plain(one), isNumber(dimension))) };
  }).filter(Boolean);
}
const typed = (text, isNumber) => (isNumber && text.trim() !== '' && Number.isFinite(Number(text)) ? Number(text) : text);

export const isNegative = (filter) => NEGATIVE.has(filter.op);
export const opWords = (op) => WORDS[op];

/** With one more value: only it, or (`exclude`) without it. A value that an opposite filter has is taken from there. */
export function withValue(filters, dimension, value, exclude = false) {
  const op = exclude ? '!=' : '=';
  const others = filters.map((one) => (one.dimension === dimension && (one.op === '=' || one.op === '!=')
    ? { ...one, values: one.values.filter((each) => each !== value) } : one)).filter((one) => one.values.length);
  const same = others.findIndex((one) => one.dimension === dimension && one.op === op);
  // Only one value of a dimension at a time: who clicks on a second one wants that.
  if (same >= 0) return others.map((one, i) => (i === same ? { ...one, values: exclude ? [...one.values, value] : [value] } : one));
  return [...others, { dimension, op, values: [value] }];
}
/** With a filter that was typed: its values join those of the same dimension and operator. */
export function withFilter(filters, { dimension, op, values }) {
  const same = filters.find((one) => one.dimension === dimension && one.op === op && (op === '=' || NEGATIVE.has(op)));
  if (!same) return [...filters, { dimension, op, values }];
  return filters.map((one) => (one === same ? { ...one, values: [...new Set([...one.values, ...values])] } : one));
}
export const without = (filters, index) => filters.filter((_, i) => i !== index);
export const flipped = (filters, index) => filters.map((one, i) => (i === index ? { ...one, op: OPPOSITE[one.op] } : one));

const ADDRESS = /^(\d{1,3}(\.\d{1,3}){3}|[0-9a-f]*:[0-9a-f:.]*:[0-9a-f:.]*)$/i;
const PREFIX = /^(\d{1,3}(\.\d{1,3}){3}|[0-9a-f]*:[0-9a-f:.]*)\/\d{1,3}$/i;

/** What was typed as a filter: `app web`, `app = web, api`, `-reason:idle_timeout`, `status >= 500`, `203.0.113.0/24`.
 * Args: `dimensions` [{key, label, number?, address?}]; `client` is the dimension of an address alone.
 * Returns a filter, {dimension} as long as there is no value, or {error}. */
export function parseTyped(text, dimensions, client) {
  const input = text.trim();
  if (PREFIX.test(input)) return { dimension: client, op: 'prefix', values: [input] };
  if (ADDRESS.test(input)) return { dimension: client, op: '=', values: [input] };
  const excluded = input.startsWith('-'), rest = (excluded ? input.slice(1) : input).trim();
  const named = dimensions.map((one) => [one, nameIn(rest, one)]).filter((one) => one[1]).sort((a, b) => b[1] - a[1])[0];
  if (!named) return { error: `There is no dimension ${rest.split(/[\s:=!<>]/)[0] || ''}. Those that begin so are in the list.` };
  const [dimension, length] = named;
  const found = /^\s*(is not in|is not|is in|is|!=|==|>=|<=|=|:|>|<|in|not)?\s*(.*)$/is.exec(rest.slice(length));
  const values = found[2].split(',').map((one) => unquoted(one.trim())).filter((one) => one !== '');
  if (!values.length) return { dimension: dimension.key };
  let op = { 'is not': '!=', not: '!=', '!=': '!=', 'is in': 'prefix', in: 'prefix', 'is not in': 'not_prefix', '>': '>', '<': '<', '>=': '>=', '<=': '<=' }[(found[1] || '').toLowerCase()] || '=';
  if (dimension.address && values.every((one) => PREFIX.test(one))) op = op === '!=' || op === 'not_prefix' ? 'not_prefix' : 'prefix';
  if (op === '=' && values.some((one) => one.includes('%'))) op = 'like';
  if (dimension.number) {
    const numbers = values.map((one) => Number(one.replace(/^AS(?=\d)/i, '')));
    if (numbers.some((one) => !Number.isFinite(one))) return { error: `${dimension.label} is a number, such as ${dimension.label} 443.` };
    return { dimension: dimension.key, op: excluded ? OPPOSITE[op] : op, values: numbers };
  }
  return { dimension: dimension.key, op: excluded ? OPPOSITE[op] : op, values };
}
const unquoted = (text) => text.replace(/^(["'])(.*)\1$/, '$2');

// How long the name of a dimension is at the beginning of a text; 0 where it is another word.
function nameIn(text, { key, label }) {
  const lower = text.toLowerCase();
  for (const name of [label.toLowerCase(), key, key.replaceAll('_', ' ')]) {
    if (lower.startsWith(name) && (lower.length === name.length || /[\s:=!<>]/.test(lower[name.length]))) return name.length;
  }
  return 0;
}

/** Dimensions whose name has what was typed: those that begin with it first. */
export function matching(text, dimensions) {
  const wanted = text.trim().toLowerCase().replace(/^-/, '');
  const rank = ({ key, label }) => (label.toLowerCase().startsWith(wanted) || key.startsWith(wanted) ? 0 : label.toLowerCase().includes(wanted) ? 1 : 2);
  return dimensions.filter((one) => rank(one) < 2).sort((a, b) => rank(a) - rank(b));
}
