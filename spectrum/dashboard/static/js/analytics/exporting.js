// The numbers of the chart as a table, as CSV, and the chart as a picture.

import { h } from '../dom.js';
import { bucketName } from '../chart/scale.js';
import { picture } from '../chart/picture.js';
import { int } from '../format.js';
import { dialog, toast } from '../overlay.js';
import { saveAs } from '../saving.js';
import { button } from '../states.js';
import { csv } from './csv.js';

const MOST_SHOWN = 2000;
const iso = (t) => new Date(t * 1000).toISOString().slice(0, 19) + 'Z';
const figure = (value) => (value === null || value === undefined ? '' : Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(7))));

/** Open it. `shown` is {title, unit, times, bucket, series, compare, before, options, lines, legend, file}. */
export function exportDialog(shown) {
  const heads = ['time', ...shown.series.map((one) => one.label), ...(shown.compare ? [shown.before] : [])];
  const columns = [...shown.series.map((one) => one.values), ...(shown.compare ? [shown.compare] : [])];
  const rows = shown.times.map((t, i) => [iso(t), ...columns.map((one) => one[i])]);
  const body = [h('p', { class: 'soft' }, `${shown.title}, by ${bucketName(shown.bucket)}: ${int(rows.length)} rows of ${shown.series.length} series${shown.unit ? `, in ${shown.unit}` : ''}. Times are UTC.`),
    h('div', { class: 'tw export', tabindex: 0, role: 'region', 'aria-label': 'Numbers of the chart' }, h('table', { id: 'export-table' },
      h('caption', { class: 'vh' }, shown.title), h('thead', {}, h('tr', {}, heads.map((one, i) => h('th', { scope: 'col', class: i ? 'num' : null }, h('bdi', {}, one))))),
      h('tbody', {}, rows.slice(0, MOST_SHOWN).map((row) => h('tr', {}, row.map((one, i) => h('td', { class: i ? 'num' : 'nowrap' }, i ? figure(one) : one)))))))];
  dialog({ title: 'Export', wide: true, body, actions: [
    button('PNG', async () => { saveAs(`${shown.file}.png`, await picture(shown.options, shown)); }),
    button('CSV', () => { saveAs(`${shown.file}.csv`, new Blob([csv(heads, rows)], { type: 'text/csv' })); }),
    { label: 'Close', kind: 'primary' }] });
}

/** Copy the address of this view, with its range as instants: a link to "the last hour" would show another one. */
export async function copyLink(address) {
  try {
    await navigator.clipboard.writeText(address);
    toast('Link copied.');
  } catch {
    const field = h('input', { class: 'field', type: 'text', readonly: true, value: address, 'aria-label': 'Link' });
    dialog({ title: 'Copy link', body: field });
    field.select();
  }
}
