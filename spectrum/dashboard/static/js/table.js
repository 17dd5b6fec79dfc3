// Tables. From 200 rows on only those in sight are in the document; order never changes under the pointer.
import { h, put, $, $$ } from './dom.js';
import { int } from './format.js';
import { bones, blank, button, failure } from './states.js';

const VIRTUAL_FROM = 200, BESIDE = 6, QUIET_MS = 5000;
const WIDE_ROW = 36, NARROW_ROW = 56, NARROW = 860;
const COLLATOR = new Intl.Collator('en', { numeric: true });
let current = null;
let serial = 0;

/**
 * Return {node, setRows, focusFilter, rows}.
 *
 * columns: [{key, label, align: 'num', rank, render: (row) => node or text, value: (row) => what sorts, sort: false, width,
 *   href: (row) => address, title}]. `rank` 1 stays on any width (the default for the first three), 2 and 3 go first; `width` is CSS.
 * rows or source: an array, or what returns a promise of one. key: (row) => what tells rows apart.
 * onOpen: (row), by Enter and by click. filter: {placeholder, text: (row) => what is searched, parts: [{label, test}], value, onChange}.
 * order: {key, down}. empty: a node in place of a table without rows. label: what the table is, for screen readers.
 */
export function table({ columns, rows = [], source, key = (row) => row.id ?? row.name, onOpen, filter, order = null, first, empty, label = 'Table' }) {
  const id = ++serial, body = h('tbody'), head = h('tr'), group = h('colgroup');
  const grid = h('table', {}, h('caption', { class: 'vh' }, label), group, h('thead', {}, head), body);
  const box = h('div', { class: 'tw', tabindex: 0, role: 'region', 'aria-label': label }, grid);
  const input = filter && h('input', { class: 'field', type: 'search', 'data-filter': true, placeholder: filter.placeholder || 'Filter', 'aria-label': filter.placeholder || 'Filter', value: filter.value || '', oninput: () => refilter(true) });
  const parts = filter?.parts && h('div', { class: 'seg', role: 'group', 'aria-label': 'Show' });
  const count = h('span', { class: 'count', role: 'status' });
  const tools = filter && h('div', { class: 'tools' }, h('div', { class: 'find' }, input, h('kbd', { class: 'kbd', 'aria-hidden': 'true' }, '/')), parts, count);
  const rest = h('div');
  const node = h('div', { class: 'tbl' }, tools, box, rest);

  let all = [], ordered = [], hits = [], keys = new Map(), part = 0, sorted = order, visible = columns, drawn = new Map(), pointer = false, leftAt = 0, later = 0, waiting = false;
  const isTall = () => hits.length >= VIRTUAL_FROM;
  const rowHeight = () => (matchMedia(`(max-width: ${NARROW}px)`).matches ? NARROW_ROW : WIDE_ROW);

  // ---- which rows, in what order ----
  const sortKey = (column) => column.value || ((row) => row[column.key]);
  // What rows are sorted by is asked once of each, and a filter leaves them in their order: ten thousand in one frame.
  function inOrder(rows) {
    const column = sorted && columns.find((one) => one.key === sorted.key), by = column ? sortKey(column) : () => null;
    const rank = first && !sorted?.byHand ? first : () => 0;
    if (!column && !first) return rows;
    const sign = sorted?.down ? -1 : 1;
    return rows.map((row) => ({ row, rank: rank(row), x: by(row) })).sort((a, b) => {
      if (a.rank !== b.rank) return a.rank - b.rank;
      if (a.x == null || b.x == null) return (a.x == null) - (b.x == null);
      return sign * (typeof a.x === 'number' && typeof b.x === 'number' ? a.x - b.x : COLLATOR.compare(a.x, b.x));
    }).map((one) => one.row);
  }
  const searched = (row) => {
    const known = keys.get(row);
    if (known !== undefined) return known;
    const text = (filter.text ? filter.text(row) : columns.map((column) => row[column.key] ?? '').join(' ')).toLowerCase();
    keys.set(row, text);
    return text;
  };
  function refilter(byHand = false) {
    const words = (input?.value || '').toLowerCase().split(/\s+/).filter(Boolean);
    const test = filter?.parts?.[part]?.test;
    hits = ordered.filter((row) => (!test || test(row)) && words.every((word) => searched(row).includes(word)));
    if (byHand) { box.scrollTop = 0; filter?.onChange?.(input.value, part); }
    draw();
  }
  function drawParts() {
    if (!parts) return;
    put(parts, filter.parts.map((one, i) => h('button', { type: 'button', 'aria-pressed': String(i === part), onclick: () => { part = i; drawParts(); refilter(true); } },
      one.label, one.test && one.counted !== false ? `\u00a0${int(all.filter(one.test).length)}` : '')));
  }

  // ---- what is drawn ----
  function drawHead() {
    const width = box.clientWidth || innerWidth;
    const most = width >= 1080 ? 4 : width >= 820 ? 3 : width >= 600 ? 2 : 1;
    visible = columns.filter((column, i) => (column.rank ?? (i < 3 ? 1 : 2)) <= most);
    // Where few are left, shares of the width are not what they were.
    const isSet = (column) => column.width && (most > 1 || !column.width.endsWith('%'));
    put(group, visible.map((column) => h('col', { css: isSet(column) ? { width: column.width } : {} })));
    put(head, visible.map((column) => {
      const isSorted = sorted?.key === column.key;
      const inside = !column.label ? h('span', { class: 'vh' }, column.title || 'State') : column.sort === false ? column.label
        : h('button', { type: 'button', onclick: () => sortBy(column.key, column.align) }, column.label, isSorted && h('span', { 'aria-hidden': 'true' }, sorted.down ? '↓' : '↑'));
      return h('th', { scope: 'col', class: column.align === 'num' ? 'num' : null, 'aria-sort': isSorted && column.label ? (sorted.down ? 'descending' : 'ascending') : null, title: column.title }, inside);
    }));
    if (isTall()) grid.setAttribute('aria-colcount', visible.length); else grid.removeAttribute('aria-colcount');
  }
  function sortBy(name, align) {
    sorted = sorted?.key === name && sorted.byHand ? { key: name, down: !sorted.down, byHand: true } : { key: name, down: align === 'num', byHand: true };
    waiting = false;
    ordered = inOrder(all);
    drawHead();
    refilter();
    $$('button', head).find((one) => one.textContent.startsWith(columns.find((column) => column.key === name).label))?.focus();
  }
  function cell(column, row) {
    const shown = column.render ? column.render(row) : row[column.key] ?? '';
    return column.href ? h('a', { href: column.href(row), class: 'plain' }, shown) : shown;
  }
  function makeRow(row, i) {
    const cells = visible.map((column) => {
      const td = h('td', { class: column.align === 'num' ? 'num' : null });
      td.append(...[cell(column, row)].flat(9).filter((one) => one != null && one !== false));
      return td;
    });
    return h('tr', { 'data-key': String(key(row)), tabindex: -1, 'data-open': onOpen ? '' : null, 'aria-rowindex': isTall() ? i + 2 : null }, cells);
  }
  /** Have what a row shows now in cells that stay where they are. */
  function freshen(tr, row, i) {
    visible.forEach((column, at) => {
      const td = tr.children[at], shown = [cell(column, row)].flat(9).filter((one) => one != null && one !== false);
      if (shown.length === 1 && typeof shown[0] !== 'object') {
        if (td.childNodes.length !== 1 || td.firstChild.nodeType !== 3) td.textContent = shown[0];
        else if (td.textContent !== String(shown[0])) td.firstChild.data = shown[0];
        return;
      }
      const made = document.createDocumentFragment();
      made.append(...shown);
      const same = made.childNodes.length === td.childNodes.length && [...made.childNodes].every((one, n) => one.isEqualNode(td.childNodes[n]));
      if (!same && !td.contains(document.activeElement)) td.replaceChildren(made);
    });
    if (isTall()) tr.setAttribute('aria-rowindex', i + 2);
  }
  function span() {
    if (!isTall()) return [0, hits.length];
    const height = rowHeight(), from = Math.max(0, Math.floor(box.scrollTop / height) - BESIDE);
    return [from, Math.min(hits.length, Math.ceil((box.scrollTop + box.clientHeight) / height) + BESIDE)];
  }
  const gap = (height) => h('tr', { class: 'gap', 'aria-hidden': 'true' }, h('td', { colspan: visible.length, css: { height: `${height}px` } }));
  function draw() {
    node.classList.toggle('tall', isTall());
    if (isTall()) grid.setAttribute('aria-rowcount', hits.length + 1); else grid.removeAttribute('aria-rowcount');
    const [from, to] = span(), height = rowHeight(), made = new Map(), focused = document.activeElement?.closest?.('tr')?.dataset.key;
    const trs = hits.slice(from, to).map((row, n) => {
      const name = String(key(row)), known = drawn.get(name);
      if (known) freshen(known, row, from + n);
      const tr = known || makeRow(row, from + n);
      made.set(name, tr);
      tr.row = row;
      return tr;
    });
    drawn = made;
    const wanted = [from > 0 && gap(from * height), ...trs, to < hits.length && gap((hits.length - to) * height)].filter(Boolean);
    const there = [...body.children];
    if (there.length !== wanted.length || there.some((one, i) => one !== wanted[i])) {
      body.replaceChildren(...wanted);
      if (focused && made.has(focused) && !body.contains(document.activeElement)) made.get(focused).focus({ preventScroll: true });
    }
    if (count) count.textContent = hits.length === all.length ? int(all.length) : `${int(hits.length)} of ${int(all.length)}`;
    const isBlank = !hits.length;
    box.hidden = isBlank;
    if (!isBlank) put(rest);
    else if (!all.length) put(rest, empty || blank('Nothing here yet'));
    else put(rest, nothingMatches());
    if (tools) tools.hidden = !all.length;
  }
  function nothingMatches() {
    const text = input?.value.trim(), name = filter?.parts?.[part]?.test ? filter.parts[part].label : '';
    const without = all.filter((row) => !text || searched(row).includes(text.toLowerCase())).length;
    const what = [name, text && `“${text}”`].filter(Boolean).join(', ');
    if (name && text && without) return blank('Nothing matches', `${what}. Without “${name}” there are ${int(without)}.`, button(`Take “${name}” away`, () => { part = 0; drawParts(); refilter(true); }));
    return blank('Nothing matches', `${what}. There are ${int(all.length)} in all.`, button('Show all', () => { if (input) input.value = ''; part = 0; drawParts(); refilter(true); }));
  }

  // ---- rows come and change ----
  function setRows(fresh) {
    const before = new Map(hits.map((row, i) => [String(key(row)), i]));
    all = fresh;
    keys = new Map();
    ordered = inOrder(all);
    drawParts();
    // Under the pointer rows stay where they are; new ones come behind them.
    waiting = before.size > 0 && (pointer || Date.now() - leftAt < QUIET_MS) && !sorted?.byHand;
    refilter();
    if (waiting) {
      hits.sort((a, b) => (before.get(String(key(a))) ?? 1e9) - (before.get(String(key(b))) ?? 1e9));
      draw();
      clearTimeout(later);
      if (!pointer) later = setTimeout(resort, QUIET_MS);
    }
  }
  function resort() {
    if (pointer || !node.isConnected) return;
    waiting = false;
    const before = hits.map((row) => key(row));
    refilter();
    const moved = hits.filter((row, i) => key(row) !== before[i]).length;
    if (moved && count) count.textContent = `${int(moved)} rows moved`;
  }
  async function load() {
    box.hidden = true;
    if (tools) tools.hidden = true;
    put(rest, bones(6));
    try {
      setRows(await source());
    } catch (error) {
      if (error.name !== 'AbortError') put(rest, failure(error, load));
    }
  }
  function step(by) {
    const height = rowHeight(), focused = document.activeElement?.closest?.('tr');
    let at = body.contains(focused) ? hits.indexOf(focused.row) + by : by > 0 ? 0 : hits.length - 1;
    at = Math.max(0, Math.min(hits.length - 1, at));
    if (isTall()) {
      if (at * height < box.scrollTop) box.scrollTop = at * height;
      else if ((at + 2) * height > box.scrollTop + box.clientHeight) box.scrollTop = (at + 2) * height - box.clientHeight;
      draw();
    }
    const tr = hits[at] && drawn.get(String(key(hits[at])));
    tr?.focus({ preventScroll: isTall() });
    if (!isTall()) tr?.scrollIntoView({ block: 'nearest' });
  }

  let scrolled = 0;
  box.addEventListener('scroll', () => { scrolled ||= requestAnimationFrame(() => { scrolled = 0; if (isTall()) draw(); }); }, { passive: true });
  node.addEventListener('pointerenter', () => { pointer = true; current = api; });
  node.addEventListener('pointerleave', () => { pointer = false; leftAt = Date.now(); if (waiting) { clearTimeout(later); later = setTimeout(resort, QUIET_MS); } });
  node.addEventListener('focusin', () => { current = api; });
  body.addEventListener('click', (event) => {
    const tr = event.target.closest('tr');
    if (onOpen && tr?.row && !event.target.closest('a, button, input, select, label') && !getSelection().toString()) onOpen(tr.row, event);
  });
  body.addEventListener('keydown', (event) => {
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') { if (event.target.closest('tr') === event.target) { event.preventDefault(); step(event.key === 'ArrowDown' ? 1 : -1); } }
    if (event.key !== 'Enter' || event.target.closest('a, button, input, select')) return;
    const tr = event.target.closest('tr');
    const link = tr && $('a', tr);
    if (onOpen && tr?.row) onOpen(tr.row, event); else link?.click();
  });
  let width = 0;
  new ResizeObserver(() => {
    if (!box.clientWidth || box.clientWidth === width) return;
    width = box.clientWidth;
    drawn = new Map();
    drawHead();
    draw();
  }).observe(box);

  const api = { id, node, setRows, step, focusFilter: () => input?.focus(), get rows() { return hits; }, reload: load };
  current = api;
  drawHead();
  drawParts();
  if (source) load(); else setRows(rows);
  return api;
}

/** Go to the next row (1) or the one before (-1) of the table that was used last. */
export function stepRow(by) {
  const there = current?.node.isConnected ? current : null;
  if (there) there.step(by);
}

/** A table that is read and not worked with: no sorting, no filter. `heads` are texts or [text, class]. */
export function plainTable(heads, rows, label) {
  const th = heads.map((head) => { const [text, kind] = [head].flat(); return h('th', { scope: 'col', class: kind }, text || h('span', { class: 'vh' }, 'State')); });
  return h('div', { class: 'tw', tabindex: 0, role: 'region', 'aria-label': label }, h('table', {}, h('caption', { class: 'vh' }, label), h('thead', {}, h('tr', {}, th)), h('tbody', {}, rows)));
}
