// What is wrong first, then how much there is.
import { h } from '../dom.js';

export default async function overview() {
  return { title: 'Overview', node: [h('section', {}, h('h1', {}, 'Overview'))] };
}
