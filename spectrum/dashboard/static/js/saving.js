// Hands a file to the browser.
import { h } from './dom.js';

export function saveAs(name, blob) {
  const address = URL.createObjectURL(blob), link = h('a', { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
