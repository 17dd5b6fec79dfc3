// The page that asks for a token. It stays in this tab, and in no address.
import { h, put, $ } from './dom.js';
import { api } from './api.js';
import { mark } from './marks.js';
import { logo } from './shell.js';

/** Show it; resolves when the API takes the token. */
export function gate(problem) {
  return new Promise((resolve) => {
    const fault = h('div', { id: 'token-fault' });
    const input = h('input', { class: 'field', id: 'token', name: 'token', type: 'password', autocomplete: 'current-password', spellcheck: 'false', required: true, 'aria-describedby': 'token-fault token-hint' });
    const enter = h('button', { class: 'btn primary' }, 'Open the dashboard');
    const tell = (text) => {
      put(fault, text && h('div', { class: 'err', role: 'alert' }, mark('failed'), h('div', {}, text)));
      input.toggleAttribute('aria-invalid', false);
      if (text) input.setAttribute('aria-invalid', 'true');
    };
    const node = h('form', { onsubmit: async (event) => {
      event.preventDefault();
      if (!input.value.trim()) return tell('A token is needed.');
      enter.setAttribute('aria-busy', 'true');
      api.token = input.value.trim();
      try {
        await api.open();
        resolve();
      } catch (error) {
        api.token = '';
        tell(error.status === 401 || error.status === 400 ? 'The API does not know this token.' : error.text);
        input.select();
      }
      enter.removeAttribute('aria-busy');
    } }, h('div', {}, h('label', { for: 'token' }, h('span', {}, 'Token')), input, fault,
      h('p', { class: 'hint', id: 'token-hint' }, 'Make one with ', h('code', {}, 'spectrum token create NAME'), ' on this machine. It is kept in this tab alone.')), h('div', {}, enter));
    put(document.body, h('main', { class: 'gate' }, h('div', { class: 'brand' }, logo(), h('span', {}, 'Spectrum', h('small', {}, location.host))), h('h1', {}, 'Sign in'), node));
    document.title = 'Sign in · Spectrum';
    tell(problem);
    $('#token').focus();
    performance.mark('ready');
  });
}
