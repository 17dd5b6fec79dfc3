// What was typed and not saved: nobody leaves it without a question.
import { confirmed } from './overlay.js';

const watched = new Map();
let asked = null;

/** Have whoever leaves be asked, while `node` is in the page and `isDirty()`. */
export const watch = (node, isDirty) => watched.set(node, isDirty);
/** It is saved, or what it was about is gone. */
export const forget = () => watched.clear();

/** Whether something on the page would be lost. */
export function isUnsaved() {
  for (const node of watched.keys()) if (!node.isConnected) watched.delete(node);
  return [...watched.values()].some((isDirty) => isDirty());
}

/** Whether the page may be left: asked of whoever has something unsaved there. */
export async function mayLeave() {
  if (!isUnsaved()) return true;
  asked ||= confirmed({ title: 'Leave without saving?', body: 'What you typed on this page is not saved, and is gone then.', verb: 'Leave', keep: 'Stay', danger: true }).finally(() => { asked = null; });
  const wanted = await asked;
  if (wanted) forget();
  return wanted;
}

addEventListener('beforeunload', (event) => { if (isUnsaved()) event.preventDefault(); });
