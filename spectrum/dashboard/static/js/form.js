// Forms from a description of fields. A field's key is the JSON pointer of its value, so that what the API says of a
// body stands at its field.
import { h, put } from './dom.js';
import { mark } from './marks.js';

let forms = 0;
// What a button is about, for who does not see its row.
const spoken = (name) => h('span', { class: 'vh' }, ` ${name}`);
const parts = (pointer) => pointer.split('/').slice(1).map((part) => part.replace(/~1/g, '/').replace(/~0/g, '~'));
export const pointer = (...keys) => keys.map((key) => '/' + String(key).replace(/~/g, '~0').replace(/\//g, '~1')).join('');

// The value at a pointer; undefined where there is none.
export const at = (value, where) => parts(where).reduce((node, key) => (node === null || node === undefined ? undefined : node[key]), value);

// The value with something else at a pointer; undefined takes it out, and objects that are empty then.
export function withAt(value, where, item) {
  const [key, ...rest] = parts(where);
  const copy = Array.isArray(value) ? [...value] : { ...value };
  const next = rest.length ? withAt(value?.[key] ?? {}, pointer(...rest), item) : item;
  const isGone = next === undefined || (rest.length && item === undefined && next && !Array.isArray(next) && !Object.keys(next).length);
  if (!isGone) copy[key] = next;
  else if (Array.isArray(copy)) copy.splice(Number(key), 1);
  else delete copy[key];
  return copy;
}

export const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
const text = (value) => (value === undefined || value === null ? '' : typeof value === 'object' ? JSON.stringify(value) : String(value));

function number(given) {
  const trimmed = given.trim();
  return trimmed === '' ? undefined : Number.isFinite(Number(trimmed)) ? Number(trimmed) : trimmed;
}

// What is typed, as a value. A duration or a free value may be a number; the API says whether it is one that can be.
const READ = {
  text: (given) => (given === '' ? undefined : given),
  free: (given) => (given.trim() === '' ? undefined : given.trim()),
  duration: (given) => (/^\s*\d+(\.\d+)?\s*$/.test(given) ? number(given) : READ.free(given)),
  size: (given) => (/^\s*\d+\s*$/.test(given) ? number(given) : READ.free(given)),
  number,
};

// Controls by kind. Each returns { node, sync } and may have `input`, what gets the focus and the field's label.
const CONTROLS = {
  line(field, io) {
    const input = h('input', { class: 'field', id: io.id, spellcheck: 'false', autocomplete: 'off', autocapitalize: 'off', ...(field.kind === 'number' ? { inputmode: 'decimal' } : {}), ...(field.placeholder !== undefined ? { placeholder: String(field.placeholder) } : {}) });
    input.addEventListener('input', () => io.set(READ[field.kind](input.value)));
    input.addEventListener('change', () => { io.tidy(); io.left(); });
    return { node: input, input, sync: () => { if (!same(READ[field.kind](input.value), io.get())) input.value = text(io.get()); } };
  },
  list(field, io) {
    const input = h('textarea', { class: 'field', id: io.id, spellcheck: 'false', autocapitalize: 'off', ...(field.placeholder ? { placeholder: String(field.placeholder) } : {}) });
    const read = () => { const found = input.value.split('\n').map((line) => line.trim()).filter(Boolean); return found.length || field.keepsEmpty ? found : undefined; };
    const fit = () => { input.rows = Math.min(12, Math.max(field.rows || 1, input.value.split('\n').length)); };
    input.addEventListener('input', () => { fit(); io.set(read()); });
    input.addEventListener('change', () => { io.tidy(); io.left(); });
    return { node: input, input, sync: () => { const now = io.get(); if (!same(read(), now)) input.value = [].concat(now ?? []).map(text).join('\n'); fit(); } };
  },
  json(field, io) {
    const input = h('textarea', { class: 'field mono', id: io.id, spellcheck: 'false', rows: '2', placeholder: 'JSON' });
    const read = () => { if (!input.value.trim()) return undefined; try { return JSON.parse(input.value); } catch { return input.value; } };
    input.addEventListener('input', () => io.set(read()));
    input.addEventListener('change', io.left);
    return { node: input, input, sync: () => { if (!same(read(), io.get())) input.value = io.get() === undefined ? '' : JSON.stringify(io.get(), null, 1); } };
  },
  // The text of a file: pasted, chosen or dropped. The field's `set` may put a part of it elsewhere.
  file(field, io) {
    const input = h('textarea', { class: 'field mono', id: io.id, rows: 6, spellcheck: 'false', autocomplete: 'off', autocapitalize: 'off', placeholder: field.placeholder });
    const sync = () => { const now = text(io.get()); if (input.value !== now) input.value = now; };
    const take = (given) => { io.set(READ.text(given)); sync(); };
    const read = async (file) => { if (file) { take(await file.text()); io.left(); } };
    const chosen = h('input', { type: 'file', hidden: true, accept: field.accept, onchange: () => { read(chosen.files[0]); chosen.value = ''; } });
    input.addEventListener('input', () => take(input.value));
    input.addEventListener('change', io.left);
    input.addEventListener('dragover', (event) => event.preventDefault());
    input.addEventListener('drop', (event) => { if (event.dataTransfer.files.length) { event.preventDefault(); read(event.dataTransfer.files[0]); } });
    return { node: h('div', { class: 'file' }, input, chosen, h('button', { type: 'button', class: 'btn', onclick: () => chosen.click() }, 'Choose a file', h('span', { class: 'vh' }, ` for ${field.label}`))), input, sync };
  },
  select(field, io) {
    const input = h('select', { class: 'field', id: io.id });
    const options = () => (typeof field.options === 'function' ? field.options(io.form) : field.options);
    input.addEventListener('change', () => { const found = options().find(([value]) => text(value) === input.value); io.set(input.value === '' && !found ? undefined : found[0]); io.left(); });
    return { node: input, input, sync: () => {
      const now = io.get() ?? field.default;
      const all = options();
      const isKnown = all.some(([value]) => same(value, now));
      const none = !isKnown ? [[now ?? '', now === undefined ? (field.none || 'choose') : text(now)]] : field.none ? [['', field.none]] : [];
      put(input, [...none, ...all].map(([value, label]) => h('option', { value: text(value) }, label ?? text(value))));
      input.value = text(now);
    } };
  },
  choice(field, io) {
    const buttons = field.options.map(([value, label, hint]) => h('button', { type: 'button', value: text(value), title: hint || null, onclick: () => { io.set(value); io.left(); } }, label ?? text(value)));
    const node = h('div', { class: 'seg', role: 'group', 'aria-labelledby': `${io.id}-l` }, buttons);
    return { node, input: buttons[0], isGroup: true, sync: () => field.options.forEach(([value], i) => buttons[i].setAttribute('aria-pressed', String(same(value, io.get() ?? field.default)))) };
  },
  switch(field, io) {
    const input = h('input', { type: 'checkbox', id: io.id });
    input.addEventListener('change', () => { io.set(input.checked); io.left(); });
    return { node: input, input, isSwitch: true, sync: () => { input.checked = Boolean(io.get() ?? field.default); } };
  },
  // Which one of several keys a body has; the others are kept in mind, in case that one goes back.
  variant(field, io) {
    const kept = {};
    const keys = field.options.flatMap((one) => [one.key, ...(one.also || [])]);
    const now = () => field.options.find((one) => at(io.form.value, one.key) !== undefined) || field.options[0];
    const pick = (one) => {
      if (now() === one && at(io.form.value, one.key) !== undefined) return;
      let value = io.form.value;
      for (const key of keys) {
        if (at(value, key) !== undefined) kept[key] = at(value, key);
        value = withAt(value, key, undefined);
      }
      for (const key of [one.key, ...(one.also || [])]) {
        const item = kept[key] ?? (key === one.key ? one.blank : undefined);
        if (item !== undefined) value = withAt(value, key, item);
      }
      io.form.replace(value);
      io.left();
    };
    const buttons = field.options.map((one) => h('button', { type: 'button', onclick: () => pick(one) }, one.label));
    return { node: h('div', { class: 'seg', role: 'group', 'aria-labelledby': `${io.id}-l` }, buttons), input: buttons[0], isGroup: true, sync: () => field.options.forEach((one, i) => buttons[i].setAttribute('aria-pressed', String(one === now()))) };
  },
  // References in an order that counts.
  refs(field, io) {
    const node = h('div', { class: 'refs', role: 'group', 'aria-labelledby': `${io.id}-l` });
    const options = () => (typeof field.options === 'function' ? field.options(io.form) : field.options);
    const draw = () => {
      const now = io.get() || [];
      const left = options().filter(([value]) => !now.includes(value));
      const name = (value) => options().find(([one]) => one === value)?.[1] ?? value;
      const put_ = (next) => { io.set(next.length ? next : undefined); io.left(); draw(); };
      const rows = now.map((value, i) => h('div', { class: 'ref' }, h('span', { class: 'quiet num' }, String(i + 1)), h('bdi', { class: 'grow' }, name(value)),
        h('button', { type: 'button', class: 'mini', disabled: i === 0 || io.readonly, onclick: () => put_(now.map((one, j) => (j === i - 1 ? value : j === i ? now[i - 1] : one))) }, 'Up', spoken(name(value))),
        h('button', { type: 'button', class: 'mini', hidden: io.readonly, onclick: () => put_(now.filter((one) => one !== value)) }, 'Remove', spoken(name(value)))));
      const add = h('select', { class: 'field', id: io.id, 'aria-label': field.add || `Add to ${field.label}`, disabled: io.readonly }, h('option', { value: '' }, left.length ? field.add || 'Add' : 'nothing more to add'), left.map(([value, label]) => h('option', { value }, label)));
      add.addEventListener('change', () => { if (add.value) put_([...now, add.value]); node.querySelector('select')?.focus(); });
      put(node, rows, add);
    };
    return { node, get input() { return node.querySelector('select'); }, isGroup: true, sync: draw };
  },
  map(field, io) {
    const node = h('div', { class: 'rows', role: 'group', 'aria-labelledby': `${io.id}-l` });
    let rows = [];
    const read = () => Object.fromEntries(rows.filter(([key]) => key !== '').map(([key, value]) => [key, field.of === 'number' ? number(value) : field.of === 'list' ? value.split(',').map((one) => one.trim()).filter(Boolean) : value]));
    const write = () => { const found = read(); io.set(Object.keys(found).length ? found : undefined); };
    const draw = () => put(node, rows.map((row, i) => h('div', { class: 'pair' },
      ...[0, 1].map((side) => { const input = h('input', { class: 'field', ...(i === 0 && side === 0 ? { id: io.id } : {}), disabled: io.readonly, spellcheck: 'false', autocomplete: 'off', 'aria-label': `${field.label}: ${side ? field.valueName || 'value' : field.keyName || 'name'}`, placeholder: side ? field.valueName || 'value' : field.keyName || 'name' }); input.value = row[side]; input.addEventListener('input', () => { row[side] = input.value; write(); }); input.addEventListener('change', io.left); return input; }),
      h('button', { type: 'button', class: 'mini', hidden: io.readonly, onclick: () => { rows.splice(i, 1); write(); draw(); } }, 'Remove', spoken(row[0] || 'this')))),
    h('button', { type: 'button', class: 'btn', ...(rows.length ? {} : { id: io.id }), hidden: io.readonly, onclick: () => { rows.push(['', '']); draw(); node.querySelectorAll('.pair:last-of-type input')[0]?.focus(); } }, field.add || 'Add'));
    return { node, get input() { return node.querySelector('input, button'); }, isGroup: true, sync: () => { if (same(read(), io.get() || {}) && rows.length) return; rows = Object.entries(io.get() || {}).map(([key, value]) => [key, [].concat(value).map(text).join(', ')]); draw(); } };
  },
  objects(field, io) {
    const node = h('div', { class: 'items', role: 'group', 'aria-labelledby': `${io.id}-l` });
    let drawn = -1;
    const draw = () => {
      const items = io.get() || [];
      drawn = items.length;
      io.form.forget(`${field.key}/`);
      const change = (next) => { io.set(next.length ? next : undefined); io.left(); draw(); io.form.sync(); };
      put(node, items.map((item, i) => {
        const own = (one) => io.form.build({ ...one, key: `${field.key}/${i}${one.key}` });
        const [main, more] = [field.fields.filter((one) => !one.isRare), field.fields.filter((one) => one.isRare)];
        const name = item[field.nameKey] || `${field.one} ${i + 1}`;
        return h('fieldset', { class: 'item' }, h('legend', { class: 'vh' }, name), h('div', { class: 'cells' }, main.map(own)),
          h('div', { class: 'itemfoot' }, more.length ? h('details', {}, h('summary', {}, 'More'), h('div', { class: 'cells' }, more.map(own))) : h('span', { class: 'grow' }),
            h('button', { type: 'button', class: 'mini', hidden: io.readonly, onclick: () => change(items.filter((_, j) => j !== i)) }, 'Remove', spoken(name))));
      }), h('button', { type: 'button', class: 'btn', id: io.id, hidden: io.readonly, onclick: () => { change([...items, { ...(field.blank || {}) }]); node.querySelector('.item:last-of-type input')?.focus(); } }, field.add || `Add ${field.one}`));
    };
    return { node, get input() { return node.querySelector('input, button'); }, isGroup: true, sync: () => { if ((io.get() || []).length !== drawn) draw(); } };
  },
};
for (const kind of ['text', 'free', 'number', 'duration', 'size']) CONTROLS[kind] = CONTROLS.line;

// Sections: [{ title, fields, isRare }]; `fields` alone is one section without a title. `onChange` gets each new value.
export function form({ sections, fields, value = {}, errors = [], onSave, onChange, readonly = false, label = '' }) {
  const prefix = `f${++forms}`;
  const known = new Map();
  const touched = new Set();
  let now = structuredClone(value);
  let faults = [];
  let showsAll = false;
  let count = 0;

  const own = {
    get value() { return now; },
    replace(next) { now = next; sync(); onChange?.(now); },
    forget(start) { for (const key of known.keys()) if (key.startsWith(start)) known.delete(key); },
    build,
    sync: () => sync(),
  };

  function build(field) {
    const id = `${prefix}-${++count}`;
    const entry = { field, id };
    const io = {
      id, readonly, form: own,
      get: () => (field.get ? field.get(now) : at(now, field.key)),
      set(item) { entry.stale = true; now = field.set ? field.set(now, item) : withAt(now, field.key, item); sync(field.key); onChange?.(now); },
      // What was typed in short is written out when the field is left.
      tidy() { const had = io.get(); const whole = field.tidy ? field.tidy(had, now) : had; if (!same(whole, had)) { io.set(whole); entry.control.sync(); } },
      left() { touched.add(field.key); draw(); },
    };
    const control = CONTROLS[field.kind](field, io);
    const hint = field.hint ? h('p', { class: 'hint', id: `${id}-h` }, field.hint) : null;
    entry.box = h('div', { class: 'errs', id: `${id}-e` });
    entry.control = control;
    const named = h(control.isGroup ? 'p' : 'label', { class: 'lab', id: `${id}-l`, ...(control.isGroup ? {} : { for: id }) }, field.label);
    entry.node = control.isSwitch
      ? h('div', { class: 'f check' }, control.node, h('div', {}, named, entry.box, hint))
      : h('div', { class: `f${field.isHalf ? ' half' : field.isWide ? ' wide' : ''}` }, named, control.node, entry.box, hint);
    known.set(field.key, entry);
    if (readonly && control.input) for (const one of [control.node, ...control.node.querySelectorAll('input, textarea, select, button')]) {
      if (one.tagName === 'INPUT' && one.type !== 'checkbox') one.readOnly = true;
      else if (one.tagName === 'TEXTAREA') one.readOnly = true;
      else if ('disabled' in one) one.disabled = true;
    }
    control.sync();
    return entry.node;
  }

  // Live values are not written into the field that is being typed in.
  function sync(except) {
    for (const [key, entry] of [...known]) {
      entry.node.hidden = Boolean(entry.field.when && !entry.field.when(now));
      if (key !== except && !entry.node.hidden) entry.control.sync();
      else if (key === except && ['choice', 'variant', 'refs'].includes(entry.field.kind)) entry.control.sync();
    }
    for (const one of groups) one.node.hidden = one.fields.every((field) => field.when && !field.when(now));
    draw();
  }

  // The field that a pointer is about: the one with the longest key that it begins with, else the first one below it.
  function fieldAt(where) {
    const shown = [...known.values()].filter((entry) => !entry.node.hidden);
    const above = shown.filter(({ field }) => where === field.key || where.startsWith(field.key + '/') || (field.also || []).some((key) => where === key || where.startsWith(key + '/')));
    above.sort((a, b) => b.field.key.length - a.field.key.length);
    return above[0] || shown.find(({ field }) => where !== '' && field.key.startsWith(where + '/'));
  }

  function draw() {
    const of = new Map();
    const elsewhere = [];
    for (const fault of faults) {
      const entry = fieldAt(fault.pointer || '');
      if (entry) of.set(entry, [...(of.get(entry) || []), fault]);
      else elsewhere.push(fault);
    }
    for (const entry of known.values()) {
      // What was said of a former value is kept where it is shown, and not shown anew.
      const own = (showsAll || touched.has(entry.field.key)) && !(entry.stale && !entry.drawn) ? of.get(entry) || [] : [];
      const input = entry.control.input;
      if (input && !entry.control.isGroup) input.setAttribute('aria-invalid', String(own.length > 0));
      const about = [own.length ? `${entry.id}-e` : '', entry.field.hint ? `${entry.id}-h` : ''].filter(Boolean).join(' ');
      if (input && about) input.setAttribute('aria-describedby', about);
      entry.node.classList.toggle('bad', own.length > 0);
      const key = own.map((fault) => fault.code + fault.message + fault.pointer).join('\n');
      if (key === entry.drawn) continue;
      entry.drawn = key;
      put(entry.box, own.map((fault) => h('div', { class: 'err', role: 'alert' }, mark('failed'), h('div', {}, h('p', {}, fault.message), h('p', { class: 'code' }, [fault.code, fault.pointer && `at ${fault.pointer}`].filter(Boolean).join(' ')),
        (fault.fix ? [fault.fix] : fixes(fault, entry.field)).map(([words, item]) => h('button', { type: 'button', class: 'mini', onclick: () => { now = withAt(now, entry.field.key, item); sync(); onChange?.(now); entry.control.input?.focus(); } }, words))))));
    }
    put(general, showsAll ? elsewhere.map((fault) => h('div', { class: 'err', role: 'alert' }, mark('failed'), h('div', {}, h('p', {}, fault.message), h('p', { class: 'code' }, [fault.code, fault.pointer && `at ${fault.pointer}`].filter(Boolean).join(' '))))) : []);
  }

  // What a message itself offers.
  function fixes(fault, field) {
    const meant = /did you mean "?([^"?\s]+)"?\?/.exec(fault.message);
    return meant && ['text', 'free', 'select'].includes(field.kind) ? [[`Use ${meant[1]}`, meant[1]]] : [];
  }

  const general = h('div', { class: 'errs' });
  const groups = (sections || [{ title: '', fields }]).map((section) => {
    const title = section.title;
    const rows = h('div', { class: 'rows' });
    const made = section.isRare ? h('details', { class: 'sect' }, h('summary', {}, title), rows) : title ? h('fieldset', { class: 'sect' }, h('legend', {}, title), rows) : h('div', { class: 'sect' }, rows);
    return { node: made, fields: section.fields, rows };
  });
  const node = h('form', { class: 'form', novalidate: true, ...(label ? { 'aria-label': label } : {}), onsubmit: (event) => { event.preventDefault(); onSave?.(now); } }, general, groups.map((one) => one.node));
  for (const one of groups) put(one.rows, one.fields.map(build));
  node.addEventListener('keydown', (event) => { if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) node.requestSubmit(); });
  node.addEventListener('focusout', (event) => { const entry = [...known.values()].find((one) => one.node.contains(event.target)); if (entry && !same(at(now, entry.field.key), at(value, entry.field.key))) { touched.add(entry.field.key); draw(); } });
  sync();

  function setErrors(found, { focus = true, all = true } = {}) {
    faults = found;
    showsAll ||= all;
    for (const entry of known.values()) entry.stale = false;
    draw();
    if (!focus || !faults.length) return;
    const first = [...known.values()].find((entry) => faults.some((fault) => fieldAt(fault.pointer || '') === entry));
    const hidden = first?.node.closest('details:not([open])');
    if (hidden) hidden.open = true;
    (first?.control.input || node).focus?.();
  }
  if (errors.length) setErrors(errors);
  return {
    node,
    get value() { return now; },
    get faults() { return faults; },
    setErrors,
    replace: own.replace,
    focus: () => [...known.values()].find((entry) => !entry.node.hidden)?.control.input?.focus(),
    // What faulty fields are called.
    names: () => [...new Set(faults.map((fault) => fieldAt(fault.pointer || '')?.field.label).filter(Boolean))],
  };
}
