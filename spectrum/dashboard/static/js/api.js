// The API of this daemon: Cloudflare's envelope in, results out; faults with their numbers and pointers.
const BASE = '/client/v4', TOKEN = 'token', ACCOUNT = 'account';
const PER_PAGE = 50, UNAUTHORIZED = 9109;

let storage = new Map();
const kept = {
  get: (key) => { try { return sessionStorage.getItem(key) ?? storage.get(key) ?? ''; } catch { return storage.get(key) ?? ''; } },
  set: (key, value) => { storage.set(key, value); try { sessionStorage.setItem(key, value); } catch { /* for this page */ } },
};

/** A request that was not carried out. `errors` has {code, message, pointer}; `text` is what to tell. */
export class ApiError extends Error {
  constructor(status, errors, text) {
    super(text || errors.map((one) => one.message).join('; ') || `The API answered with status ${status}`);
    this.name = 'ApiError';
    this.status = status;
    this.errors = errors;
    this.text = this.message;
  }
}

const listeners = new Set(), waiting = new Set();
/** Tell of each line of JSON as it comes. */
async function lines(body, tell) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = ''; ;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (text + value).split('\n');
    text = parts.pop();
    for (const part of parts) tell(JSON.parse(part));
  }
}

const frame = () => new Promise((resolve) => { requestAnimationFrame(resolve); });

export const api = {
  base: BASE,
  /** The account that is looked at: {id, name}; all that the caller may see are in `accounts`. */
  account: null,
  accounts: [],
  zones: [],
  get token() { return kept.get(TOKEN); },
  set token(value) { kept.set(TOKEN, value); },

  /** Ask; return {result, info, messages, revision}. In a path, {account} is the account's id. */
  async ask(method, path, { params, body, signal, revision } = {}) {
    const [response, envelope] = await this._sent(method, path, { params, body, signal, revision }, (answer) => (answer.status === 204 ? { success: true } : answer.json()));
    if (!response.ok || !envelope?.success) throw this.failure(response.status, envelope);
    return { result: envelope.result, info: envelope.result_info, messages: envelope.messages, revision: response.headers.get('etag') };
  },
  /** Ask several things at once; `tell` gets each line of the answer. */
  async each(path, body, tell, signal) {
    const [response, refusal] = await this._sent('POST', path, { body, signal }, (answer) => (answer.ok ? lines(answer.body, tell) : answer.json()));
    if (!response.ok) throw this.failure(response.status, refusal);
  },
  async _sent(method, path, { params, body, signal, revision }, read) {
    const headers = {};
    if (this.token) headers.authorization = `Bearer ${this.token}`;
    if (body !== undefined) headers['content-type'] = 'application/json';
    if (revision) headers['if-match'] = revision;
    let response;
    const answered = Promise.withResolvers();
    waiting.add(answered.promise);
    try {
      response = await fetch(this.url(path, params), { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal, cache: 'no-store', credentials: 'omit' });
      return [response, await read(response)];
    } catch (error) {
      if (error.name === 'AbortError') throw error;
      if (!response) throw new ApiError(0, [], 'The API does not answer.');
      return [response, null];
    } finally {
      waiting.delete(answered.promise);
      answered.resolve();
    }
  },
  url(path, params) {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(params || {})) if (value != null && value !== '') query.set(name, value);
    const text = query.toString();
    return BASE + path.replace('{account}', this.account?.id ?? '') + (text ? `?${text}` : '');
  },
  /** The error of an answer that has one. */
  failure(status, envelope) {
    const errors = (envelope?.errors || []).map(({ code, message, source }) => ({ code, message, pointer: source?.pointer }));
    const error = new ApiError(status, errors, errors[0]?.code === UNAUTHORIZED ? 'Your token does not allow this.' : '');
    if (status === 401 || (status === 400 && errors[0]?.code === 9106) || (status === 403 && errors[0]?.code === 10000)) for (const tell of listeners) tell(error);
    return error;
  },
  /** Be told when the token is not good, or no more. */
  onRefused(tell) { listeners.add(tell); },

  async get(path, params, options) { return (await this.ask('GET', path, { params, ...options })).result; },
  async post(path, body, options) { return (await this.ask('POST', path, { body, ...options })).result; },
  async put(path, body, options) { return (await this.ask('PUT', path, { body, ...options })).result; },
  async patch(path, body, options) { return (await this.ask('PATCH', path, { body, ...options })).result; },
  async delete(path, options) { return (await this.ask('DELETE', path, options)).result; },

  /** Resolve when all that was asked is answered and drawn: two frames later nothing else is asked. */
  async quiet() {
    for (;;) {
      await frame();
      await frame();
      if (!waiting.size) return;
      await Promise.all(waiting);
    }
  },

  /** Yield the pages of a list, each an array. */
  async *all(path, params, options) {
    for (let page = 1, seen = 0; ; page++) {
      const { result, info } = await this.ask('GET', path, { params: { per_page: PER_PAGE, ...params, page }, ...options });
      yield result;
      seen += result.length;
      if (!result.length || !info || seen >= (info.total_count ?? 0)) return;
    }
  },
  /** Return a whole list. */
  async list(path, params, options) {
    const found = [];
    for await (const some of this.all(path, params, options)) found.push(...some);
    return found;
  },

  /** Find out who one is and what there is to be seen. Throws an ApiError where a token is needed. */
  async open() {
    const [memberships, zones] = await Promise.all([this.list('/memberships'), this.list('/zones').catch((error) => { if (error.status !== 403) throw error; return []; })]);
    // Who may see zones alone belongs to their accounts.
    const all = [...memberships, ...zones].map((one) => one.account).filter(Boolean);
    this.accounts = [...new Map(all.reverse().map((one) => [one.id, one])).values()].reverse();
    this.zones = zones;
    const last = kept.get(ACCOUNT);
    this.account = this.accounts.find((one) => one.id === last) || this.accounts[0] || null;
  },
  choose(id) {
    kept.set(ACCOUNT, id);
    this.account = this.accounts.find((one) => one.id === id) || this.account;
  },
  /** The zones of the account that is looked at. */
  get ownZones() { return this.zones.filter((zone) => !zone.account?.id || zone.account.id === this.account?.id); },
};
