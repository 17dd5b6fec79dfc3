// What a save changes, line by line; and YAML as the file has it.
import { h } from './dom.js';

const AROUND = 3, MOST = 4000;

/** Return the lines of both texts as [sign, line], by their longest common subsequence. */
export function lines(before, after) {
  const a = before ? before.replace(/\n$/, '').split('\n') : [], b = after ? after.replace(/\n$/, '').split('\n') : [];
  let begin = 0, enda = a.length, endb = b.length;
  while (begin < enda && begin < endb && a[begin] === b[begin]) begin++;
  while (enda > begin && endb > begin && a[enda - 1] === b[endb - 1]) { enda--; endb--; }
  const x = a.slice(begin, enda), y = b.slice(begin, endb), out = a.slice(0, begin).map((line) => [' ', line]);
  if (x.length * y.length > MOST * MOST) {
    out.push(...x.map((line) => ['-', line]), ...y.map((line) => ['+', line]));
  } else {
    const width = y.length + 1, longest = new Uint16Array((x.length + 1) * width);
    for (let i = x.length - 1; i >= 0; i--) for (let j = y.length - 1; j >= 0; j--) longest[i * width + j] = x[i] === y[j] ? longest[(i + 1) * width + j + 1] + 1 : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
    for (let i = 0, j = 0; i < x.length || j < y.length;) {
      if (i < x.length && j < y.length && x[i] === y[j]) { out.push([' ', x[i]]); i++; j++; }
      else if (j >= y.length || (i < x.length && longest[(i + 1) * width + j] >= longest[i * width + j + 1])) out.push(['-', x[i++]]);
      else out.push(['+', y[j++]]);
    }
  }
  out.push(...a.slice(enda).map((line) => [' ', line]));
  return out;
}

/** Return what differs, with some lines around it; the whole text with `whole`. */
export function diff(before, after, { whole = false, label = 'What changes' } = {}) {
  const all = lines(before, after), near = all.map(() => whole);
  all.forEach(([sign], i) => { if (sign !== ' ') for (let n = Math.max(0, i - AROUND); n <= Math.min(all.length - 1, i + AROUND); n++) near[n] = true; });
  const rows = [];
  all.forEach(([sign, line], i) => {
    if (near[i]) rows.push(h('div', { class: { '+': 'add', '-': 'del' }[sign] }, h('s', {}, sign), line || ' '));
    else if (i === 0 || near[i - 1]) rows.push(h('div', { class: 'skip-lines' }, h('s', {}, ' '), '…'));
  });
  const plus = all.filter(([sign]) => sign === '+').length, minus = all.filter(([sign]) => sign === '-').length;
  if (!plus && !minus && !whole) return h('p', { class: 'quiet' }, 'Nothing changes.');
  return h('div', { class: 'diff', tabindex: 0, role: 'region', 'aria-label': `${label}: ${plus} lines more, ${minus} fewer` }, rows);
}

const PLAIN = /^[A-Za-z0-9_./][\w./@ -]*$/, WORDS = /^(?:true|false|yes|no|on|off|null|~|[\d.eE_+:-]+|0x[\da-f]+|0o?\d+)$/i;
const scalar = (value) => {
  if (value === null) return 'null';
  if (typeof value !== 'string') return String(value);
  return PLAIN.test(value) && !WORDS.test(value) && value.trim() === value ? value : JSON.stringify(value);
};
const isFlat = (value) => Array.isArray(value) && value.every((one) => one === null || typeof one !== 'object') && value.map(scalar).join(', ').length < 72;

/** Return a value as YAML, in the style of the file: short lists in one line. */
export function yaml(value, indent = '') {
  if (value === null || typeof value !== 'object') return `${indent}${scalar(value)}\n`;
  if (Array.isArray(value)) {
    if (!value.length) return `${indent}[]\n`;
    return value.map((one) => (one !== null && typeof one === 'object' ? `${indent}- ${yaml(one, `${indent}  `).trimStart()}` : `${indent}- ${scalar(one)}\n`)).join('');
  }
  const entries = Object.entries(value).filter(([, one]) => one !== undefined);
  if (!entries.length) return `${indent}{}\n`;
  return entries.map(([name, one]) => {
    const shown = scalar(name);
    if (one === null || typeof one !== 'object') return `${indent}${shown}: ${scalar(one)}\n`;
    if (isFlat(one)) return `${indent}${shown}: [${one.map((each) => (typeof each === 'string' && /[,[\]{}]/.test(each) ? JSON.stringify(each) : scalar(each))).join(', ')}]\n`;
    if (!Object.keys(one).length) return `${indent}${shown}: {}\n`;
    return `${indent}${shown}:\n${yaml(one, `${indent}  `)}`;
  }).join('');
}
