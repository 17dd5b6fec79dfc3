// Addresses as the API writes them: `192.0.2.1:22`, `[2001:db8::1]:22`.

export const host = (text) => text.replace(/^\[(.*)\]:\d+$/, '$1').replace(/^([^:]+):\d+$/, '$1');

const V4 = /^(\d{1,3}\.){3}\d{1,3}(\/\d{1,2})?$/, V6 = /^[0-9a-f]*:[0-9a-f:.]*(\/\d{1,3})?$/i;

// Whether a text may be an address, or a prefix; the daemon looks closer.
export const isAddress = (text) => V4.test(text) || (V6.test(text) && text.includes(':'));
export const isPrefix = (text) => isAddress(text) && text.includes('/');
