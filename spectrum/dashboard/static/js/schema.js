// Fields of a form from the JSON Schema of a body: `GET /spectrum/schemas/{section}`. A page says which come first and in
// which words; all others are made of the schema alone.
import { pointer } from './form.js';

const isOpen = (node) => !node || Object.keys(node).filter((key) => !['description', 'default', 'title', 'examples'].includes(key)).length === 0;

// What stands behind "or nothing".
function plain(node) {
  if (!node?.anyOf) return node || {};
  const kinds = node.anyOf.map(plain).filter((one) => one.type !== 'null' && !isOpen(one));
  const { anyOf, ...rest } = node;
  return kinds.length === 1 ? { ...kinds[0], ...rest } : rest;
}

// The node of a schema at a pointer.
export function nodeAt(schema, key) {
  return key.split('/').slice(1).reduce((node, part) => plain(plain(node).properties?.[part]), schema);
}

const said = (node) => (node.description ? node.description.replaceAll('`', '') : undefined);

function numberHint({ minimum, maximum, exclusiveMinimum }) {
  const least = minimum ?? exclusiveMinimum;
  if (least === undefined && maximum === undefined) return undefined;
  const shown = (n) => n.toLocaleString('en');
  return maximum === undefined ? `${shown(least)} or more` : least === undefined ? `at most ${shown(maximum)}` : `${shown(least)} to ${shown(maximum)}`;
}

// The field of a node, without words of a page's own.
export function fieldOf(node, key) {
  const found = plain(node);
  const label = key.slice(1).replaceAll('/', '.');
  const common = { key, label, hint: said(found), default: found.default, placeholder: found.default };
  const types = [].concat(found.type || []);
  if (found.enum) return { ...common, kind: found.enum.length > 4 ? 'select' : 'choice', options: found.enum.map((value) => [value, value === '' ? 'default' : String(value)]) };
  if (found.const !== undefined) return null;
  if (types.includes('boolean')) return { ...common, kind: 'switch', default: Boolean(found.default) };
  if (types.includes('string') && types.includes('number')) return { ...common, kind: 'duration', placeholder: common.placeholder ?? found.examples?.[0] };
  if (types.includes('string') && types.includes('integer')) return { ...common, kind: 'size', placeholder: common.placeholder ?? found.examples?.[0] };
  if (types.includes('integer') || types.includes('number')) return { ...common, kind: 'number', hint: [common.hint, numberHint(found)].filter(Boolean).join(' ') || undefined };
  if (types.includes('string')) return { ...common, kind: 'text' };
  if (types.includes('array')) {
    const item = plain(found.items);
    if (item.properties) return { ...common, kind: 'objects', one: 'entry', fields: leaves(item).map((one) => ({ ...one, isRare: !item.required?.includes(one.key.slice(1)) })) };
    return { ...common, kind: 'list' };
  }
  if (types.includes('object') && !found.properties) {
    const value = plain(found.additionalProperties === true ? {} : found.additionalProperties);
    const kind = [].concat(value.type || []);
    return { ...common, kind: 'map', of: kind.includes('array') ? 'list' : kind.includes('number') ? 'number' : 'text' };
  }
  return { ...common, kind: isOpen(found) ? 'free' : 'json' };
}

// All fields of a schema, those of nested objects too.
export function leaves(schema, base = '') {
  return Object.entries(plain(schema).properties || {}).flatMap(([key, node]) => {
    const where = base + pointer(key);
    const found = plain(node);
    if (found.properties) return leaves(found, where);
    const field = fieldOf(node, where);
    return field ? [field] : [];
  });
}

// Sections of a form: those of a layout in its words, and behind them all that it does not name. A field of a layout is a
// pointer, or { key, ... } with words of its own; `kind` there means that the schema is not asked.
export function sectionsOf(schema, layout, { without = [], rest = 'Everything else' } = {}) {
  const named = new Set();
  const own = layout.map((section) => ({
    ...section,
    fields: section.fields.filter(Boolean).map((given) => {
      const field = typeof given === 'string' ? { key: given } : given;
      for (const key of [field.key, ...(field.also || [])]) named.add(key);
      if (field.kind && field.kind !== 'objects') return field;
      const made = fieldOf(nodeAt(schema, field.key), field.key);
      const all = { ...made, ...field };
      if (field.fields && made?.fields) {
        const mine = field.fields.map((one) => ({ ...made.fields.find((other) => other.key === one.key), isRare: false, ...one }));
        all.fields = [...mine, ...made.fields.filter((one) => !mine.some((other) => other.key === one.key) && !(field.without || []).includes(one.key)).map((one) => ({ ...one, isRare: true }))];
      }
      if (field.hint === undefined && made?.hint) all.hint = made.hint;
      return all;
    }),
  }));
  const covers = (key) => [...named, ...without].some((one) => key === one || key.startsWith(one + '/') || (one.startsWith(key + '/') && false));
  const others = leaves(schema).filter((field) => !covers(field.key));
  return others.length && rest ? [...own, { title: rest, isRare: true, fields: others }] : own;
}
