// What a page is made of, as far as the token may read it.
import { h } from './dom.js';

const FORBIDDEN = 403;

/** Ask for several things at once: {name: promise}. Returns {name: answer} of those that the token may read, and `hidden`,
 * which has the names of the others. */
export async function parts(asked) {
  const hidden = new Set();
  const found = await Promise.all(Object.entries(asked).map(async ([name, answer]) => {
    try {
      return [name, await answer];
    } catch (error) {
      if (error.status !== FORBIDDEN) throw error;
      hidden.add(name);
      return [name, undefined];
    }
  }));
  return { ...Object.fromEntries(found), hidden };
}

/** Say that the token may not read something. */
export const mayNot = (what) => `Your token may not read ${what}.`;
export const unseen = (what) => h('p', { class: 'quiet pad' }, mayNot(what));
