// Elements. Text becomes text nodes and nothing else: what a client, a name or a country says is never markup.
const SVG = 'http://www.w3.org/2000/svg';
const SVG_TAGS = new Set('svg g path rect line circle text tspan defs pattern polygon polyline title clipPath use mask'.split(' '));
// Set when the children are there: a select's value is one of its options.
const PROPERTIES = new Set(['value', 'checked', 'selected', 'indeterminate']);
const MAX_TEXT = 120;

const flat = (kids) => kids.flat(9).filter((kid) => kid != null && kid !== false && kid !== true);

/** Return an element. Of `attrs`: `class`, `css` (properties of its style), `on...` (listeners), others as they are. */
export function h(tag, attrs, ...kids) {
  const node = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  const later = [];
  for (const [name, value] of Object.entries(attrs || {})) {
    if (value == null || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (name === 'css') for (const [property, one] of Object.entries(value)) node.style.setProperty(property, one);
    else if (PROPERTIES.has(name)) later.push([name, value]);
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...flat(kids));
  for (const [name, value] of later) node[name] = value;
  return node;
}

/** Put children in the place of those that are there. */
export function put(node, ...kids) {
  node.replaceChildren(...flat(kids));
  return node;
}

export const $ = (selector, root = document) => root.querySelector(selector);
export const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

/** Return somebody else's text: isolated from the direction of what is around it, cut, and whole in its title. */
export function foreign(value, most = MAX_TEXT) {
  const text = String(value ?? '');
  const chars = [...text];
  if (chars.length <= most) return h('bdi', {}, text);
  return h('bdi', { title: text }, chars.slice(0, most).join('') + '…');
}
