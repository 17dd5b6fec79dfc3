// Forms over the API's objects: each fault stands at its field, and a save that is refused leads to the first one.
import { h, put, $, $$ } from './dom.js';
import { mark } from './marks.js';
import { count } from './format.js';
import { button } from './states.js';
import { ApiError } from './api.js';

const DURATION = /^(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+$/, SIZE = /^\d+(?:\.\d+)?(?:[kMGT]i?B|B)?$/;
let serial = 0;

const at = (value, path) => path.reduce((one, part) => one?.[part], value);
function setAt(value, path, one) {
  let there = value;
  for (const part of path.slice(0, -1)) there = there[part] ??= {};
  const last = path.at(-1);
  if (one === undefined) delete there[last]; else there[last] = one;
}
const decode = (pointer) => (pointer || '').split('/').slice(1).map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));

/**
 * Return {node, value, setErrors, set, focus}.
 *
 * fields: [{name: 'timeouts.idle', label, kind, hint, group, options: [value or [value, label]], placeholder, half, unit, readonly,
 *   when: (value) => whether it is shown, check: (one, value) => what is wrong, empty: what a cleared field is (left out by default)}].
 *   A `hint` may be text, a node, or (value) => either.
 * kinds: text, number, select, segments, switch, list, map, duration, size, area; or node: (field) => {node, get, set}.
 * errors: as the API says them; a field has those whose pointer begins with its name. onSave: async (value); an ApiError it throws is shown.
 */
export function form({ fields, value = {}, errors = [], onSave, onChange, onDiscard, save = 'Save', discard = 'Discard', readonly = false }) {
  const id = ++serial;
  let current = structuredClone(value), faults = new Map(), loose = [], touched = new Set();
  const parts = new Map();
  const told = h('span', { class: 'grow', role: 'status' });
  const saving = button(save, () => submit(), 'primary');
  const bar = !readonly && onSave && h('div', { class: 'bottombar' }, told, onDiscard && button(discard, onDiscard), saving);
  const above = h('div');
  const node = h('form', { class: 'form', novalidate: true, onsubmit: (event) => { event.preventDefault(); submit(); } }, above);

  for (const [name, mine] of grouped(fields)) {
    const rows = h('div', { class: 'rows' }, mine.map(makeField));
    node.append(name ? h('fieldset', {}, h('legend', {}, name), rows) : h('fieldset', {}, h('legend', { class: 'vh' }, 'Fields'), rows));
  }
  if (bar) node.append(bar);

  function makeField(field) {
    const path = field.name.split('.'), inputId = `f${id}-${field.name.replace(/\W/g, '-')}`;
    const hint = h('p', { class: 'hint', id: `${inputId}-hint` }), fault = h('div', { id: `${inputId}-fault` });
    const part = { field, path, inputId, hint, fault };
    const changed = (one) => {
      setAt(current, path, one === '' || one == null ? field.empty : one);
      // A faulty field is checked with each key, another one when it is left.
      if (faults.has(field.name)) check(part);
      refresh();
      onChange?.(current);
    };
    part.control = (field.node ? field.node({ ...field, id: inputId, changed }) : CONTROLS[field.kind || 'text'](field, inputId, changed, field.readonly || readonly));
    part.control.set(at(current, path));
    part.target = part.control.target || $('input, select, textarea, button', part.control.node) || part.control.node;
    part.target.addEventListener('blur', () => { touched.add(field.name); check(part); refresh(); });
    const label = field.kind === 'switch' ? null : isGroup(field) ? h('span', { class: 'lab', id: `${inputId}-label` }, field.label) : h('label', { class: 'lab', for: inputId }, field.label);
    part.row = h('div', { class: `row${field.half ? ' half' : ''}` }, label, part.control.node, fault, hint);
    parts.set(field.name, part);
    return part.row;
  }
  function check(part) {
    const { field, path } = part, one = at(current, path);
    const kept = faults.get(field.name);
    const wrong = field.required && (one == null || one === '' || (Array.isArray(one) && !one.length)) ? `${field.label} is needed.`
      : field.check?.(one, current) || CHECKS[field.kind]?.(one, field) || (kept?.fromApi && JSON.stringify(one) === kept.of ? kept.message : null);
    if (wrong) faults.set(field.name, kept?.message === wrong ? kept : { message: wrong });
    else faults.delete(field.name);
  }
  function refresh() {
    for (const part of parts.values()) {
      const { field, hint, fault } = part, one = faults.get(field.name);
      part.row.hidden = field.when ? !field.when(current) : false;
      const text = typeof field.hint === 'function' ? field.hint(current) : field.hint;
      put(hint, text);
      hint.hidden = !text;
      part.target.toggleAttribute('aria-invalid', false);
      if (one) part.target.setAttribute('aria-invalid', 'true');
      part.target.setAttribute('aria-describedby', [one && fault.id, text && hint.id].filter(Boolean).join(' '));
      if (fault.dataset.shown === (one?.message || '')) continue;
      fault.dataset.shown = one?.message || '';
      const mend = one?.fix && button(one.fix.label, () => { part.control.set(one.fix.value); setAt(current, part.path, one.fix.value); faults.delete(field.name); refresh(); onChange?.(current); });
      put(fault, one && h('div', { class: 'err' }, mark('failed'), h('div', {}, one.message, one.code && h('span', { class: 'code' }, `${one.code}${one.pointer ? ` at ${one.pointer}` : ''}`), mend)));
    }
    put(above, loose.length > 0 && h('div', { class: 'banner failed', role: 'alert', tabindex: -1 }, mark('failed'), h('p', {}, loose.map((one) => h('div', {}, one.message, one.code && h('span', { class: 'quiet' }, ` ${one.code}`))))));
    const n = faults.size;
    put(told, n > 0 && h('span', { class: 'st failed' }, mark('failed'), `${count(n, 'field')[0].toUpperCase()}${count(n, 'field').slice(1)} to mend: ${[...faults.keys()].map((name) => parts.get(name).field.label.toLowerCase()).join(', ')}`));
  }
  /** Show what the API found; its fields get the focus, the first one. */
  function setErrors(list, { focus = true } = {}) {
    faults = new Map();
    loose = [];
    for (const error of list) {
      const place = decode(error.pointer);
      let found = null;
      for (const part of parts.values()) if (!part.row.hidden && part.path.every((one, i) => place[i] === one) && (!found || part.path.length > found.path.length)) found = part;
      if (!found && place.length) for (const part of parts.values()) if (!found && place.every((one, i) => part.path[i] === one)) found = part;
      if (found && place.length && !faults.has(found.field.name)) faults.set(found.field.name, { ...error, fromApi: true, of: JSON.stringify(at(current, found.path)), fix: found.field.fix?.(error, current) });
      else if (!found || !place.length) loose.push(error);
    }
    refresh();
    if (focus) focusFirst();
  }
  function focusFirst() {
    for (const part of parts.values()) if (faults.has(part.field.name)) return part.target.focus();
    if (loose.length) $('.banner', above)?.focus();
  }
  async function submit() {
    if (!onSave || readonly) return;
    for (const part of parts.values()) if (!part.row.hidden) check(part);
    refresh();
    if (faults.size) return focusFirst();
    saving.setAttribute('aria-busy', 'true');
    try {
      await onSave(structuredClone(current));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      setErrors(error.errors.length ? error.errors : [{ message: error.text }]);
    } finally {
      saving.removeAttribute('aria-busy');
    }
  }
  refresh();
  if (errors.length) setErrors(errors, { focus: false });
  return {
    node,
    get value() { return structuredClone(current); },
    set(name, one) { const part = parts.get(name); setAt(current, part.path, one); part.control.set(one); refresh(); onChange?.(current); },
    setErrors,
    submit,
    focus: () => parts.values().next().value?.target.focus(),
  };
}

const isGroup = (field) => field.kind === 'segments' || field.kind === 'list' || field.kind === 'map';
function grouped(fields) {
  const groups = new Map();
  for (const field of fields) groups.set(field.group || '', [...(groups.get(field.group || '') || []), field]);
  return groups;
}
const CHECKS = {
  number: (one, field) => one == null || one === '' ? null : Number.isNaN(one) ? 'A number is needed.' : field.min != null && one < field.min ? `At least ${field.min}.` : field.max != null && one > field.max ? `At most ${field.max}.` : null,
  duration: (one) => (one == null || one === '' || DURATION.test(one) ? null : 'A duration, such as 30s, 5m or 1h.'),
  size: (one) => (one == null || one === '' || SIZE.test(one) ? null : 'A size, such as 64KiB or 10MB.'),
};
const options = (field) => (field.options || []).map((one) => (Array.isArray(one) ? one : [one, String(one)]));

const CONTROLS = {
  text(field, id, changed, readonly) {
    const input = h('input', { class: 'field', id, type: field.type || 'text', placeholder: field.placeholder, readonly, autocomplete: 'off', spellcheck: 'false', oninput: () => changed(input.value), inputmode: field.inputmode });
    const node = field.unit ? h('div', { class: 'unit' }, input, h('span', { class: 'quiet nowrap' }, field.unit)) : input;
    return { node, target: input, set: (one) => { input.value = one ?? ''; } };
  },
  number(field, id, changed, readonly) {
    return CONTROLS.text({ inputmode: 'decimal', ...field }, id, (text) => changed(text.trim() === '' ? null : Number(text.replaceAll(',', ''))), readonly);
  },
  duration: (...all) => CONTROLS.text(...all),
  size: (...all) => CONTROLS.text(...all),
  area(field, id, changed, readonly) {
    const input = h('textarea', { class: 'field', id, rows: field.rows || 3, placeholder: field.placeholder, readonly, spellcheck: 'false', oninput: () => changed(input.value) });
    return { node: input, set: (one) => { input.value = one ?? ''; } };
  },
  select(field, id, changed, readonly) {
    const all = options(field);
    const input = h('select', { class: 'field', id, disabled: readonly, onchange: () => changed(all[input.selectedIndex][0]) }, all.map(([, label], i) => h('option', { value: String(i) }, label)));
    return { node: input, set: (one) => { input.value = String(Math.max(0, all.findIndex(([value]) => value === one))); } };
  },
  segments(field, id, changed, readonly) {
    const all = options(field);
    const buttons = all.map(([value, label]) => h('button', { type: 'button', disabled: readonly, onclick: () => { set(value); changed(value); } }, label));
    const set = (one) => buttons.forEach((each, i) => each.setAttribute('aria-pressed', String(all[i][0] === (one ?? field.empty ?? all[0][0]))));
    return { node: h('div', { class: 'seg', role: 'group', 'aria-labelledby': `${id}-label` }, buttons), set };
  },
  switch(field, id, changed, readonly) {
    const input = h('input', { type: 'checkbox', id, disabled: readonly, onchange: () => changed(input.checked) });
    return { node: h('label', { class: 'check' }, input, h('span', { class: 'lab' }, field.label)), target: input, set: (one) => { input.checked = Boolean(one); } };
  },
  list(field, id, changed, readonly) {
    let all = [];
    const box = h('div', { class: 'items', role: 'group', 'aria-labelledby': `${id}-label` });
    const tell = () => changed(all.filter((one) => one.trim() !== ''));
    const draw = () => put(box, all.map((one, i) => h('div', {},
      h('input', { class: 'field', value: one, placeholder: field.placeholder, readonly, 'aria-label': `${field.label}, ${i + 1}`, spellcheck: 'false', oninput: (event) => { all[i] = event.target.value; tell(); } }),
      !readonly && all.length > 1 && h('button', { type: 'button', class: 'mini', 'aria-label': `Remove ${one || 'the empty line'}`, onclick: () => { all.splice(i, 1); draw(); tell(); } }, 'Remove'))),
    !readonly && h('div', {}, h('button', { type: 'button', class: 'mini', onclick: () => { all.push(''); draw(); $$('input', box).at(-1).focus(); } }, field.add || 'Add another')));
    return { node: box, get target() { return $('input', box) || box; }, set: (one) => { all = [...(Array.isArray(one) && one.length ? one : [''])]; draw(); } };
  },
  map(field, id, changed, readonly) {
    let all = [];
    const box = h('div', { class: 'items', role: 'group', 'aria-labelledby': `${id}-label` });
    const tell = () => changed(all.some(([name]) => name) ? Object.fromEntries(all.filter(([name]) => name)) : null);
    const cell = (i, at, label) => h('input', { class: 'field', value: all[i][at], readonly, 'aria-label': `${label}, ${i + 1}`, placeholder: (field.placeholders || [])[at], spellcheck: 'false', oninput: (event) => { all[i][at] = event.target.value; tell(); } });
    const draw = () => put(box, all.map((_, i) => h('div', {}, cell(i, 0, `${field.label}: name`), cell(i, 1, `${field.label}: value`), !readonly && h('button', { type: 'button', class: 'mini', onclick: () => { all.splice(i, 1); draw(); tell(); } }, 'Remove'))),
      !readonly && h('div', {}, h('button', { type: 'button', class: 'mini', onclick: () => { all.push(['', '']); draw(); $$('input', box).at(-2).focus(); } }, field.add || 'Add')));
    return { node: box, get target() { return $('input, button', box) || box; }, set: (one) => { all = Object.entries(one || {}); draw(); } };
  },
};
