// A packet: its layers with their fields, and its bytes. A field and its bytes light up together.

import { foreign, h } from '../dom.js';
import { decode, hex } from './packet.js';

/** The node of a packet. value(field): what is shown of a field that filters know. more: [[name, nodes]], layers that are not in its bytes. */
export function packetView(raw, value = (field) => foreign(field.value), more = []) {
  const cells = [];
  const light = (at, size, on) => { for (let i = at; i < at + size; i++) cells[i]?.classList.toggle('on', on); };
  const shown = (one) => h('span', { class: 'f', onpointerenter: () => light(one.at, one.size, true), onpointerleave: () => light(one.at, one.size, false) },
    h('i', {}, `${one.name} `), one.filter ? value(one) : foreign(one.value));
  const layers = h('dl', { class: 'layers' }, decode(raw).map(({ name, fields }) => [h('dt', {}, name), h('dd', {}, fields.map(shown))]), more.map(([name, nodes]) => [h('dt', {}, name), h('dd', {}, nodes)]));
  const dump = h('div', { class: 'hex', tabindex: 0, role: 'region', 'aria-label': `First ${raw.length} bytes` });
  for (let from = 0; from < raw.length; from += 16) {
    dump.append(h('span', { class: 'off' }, `${from.toString(16).padStart(4, '0')}  `));
    for (let i = from; i < Math.min(raw.length, from + 16); i++) { cells[i] = h('span', {}, hex(raw[i])); dump.append(cells[i], i % 16 === 7 ? '  ' : ' '); }
    dump.append('\n');
  }
  return h('div', { class: 'packet' }, layers, raw.length > 0 && dump);
}
