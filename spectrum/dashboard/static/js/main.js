// The beginning: find out who one is, draw the frame, open the page of the address.
import { api } from './api.js';
import { gate } from './gate.js';
import { listen } from './keys.js';
import { live } from './live.js';
import { PAGES } from './pages.js';
import { here, open, route, start } from './router.js';
import { makeShell } from './shell.js';
import { readRange } from './time.js';
import { failure } from './states.js';
import { mayLeave } from './unsaved.js';
import { h, put } from './dom.js';

const load = (module) => import(`./pages/${module}.js`);

function register() {
  for (const [path, label, group, module] of PAGES) {
    const page = async (ctx) => {
      readRange();
      return (await load(module)).default(ctx);
    };
    route(path, page, { path, label, parent: label ? path : group });
  }
}

async function identified() {
  // The page says so where nobody is let in without a token: a question that would be refused is not asked.
  if (!api.token && 'signIn' in document.documentElement.dataset) return gate('');
  try {
    await api.open();
  } catch (error) {
    if (![400, 401, 403].includes(error.status)) throw error;
    const problem = api.token && error.status === 401 ? 'The token is not known any more.' : api.token || error.status === 403 ? error.text : '';
    api.token = '';
    await gate(problem);
  }
}

async function begin() {
  // The page of the address comes while it is found out who one is; one that cannot be loaded says so when it is opened.
  const path = here().path, first = PAGES.find(([pattern]) => pattern === path);
  if (first) load(first[3]).catch(() => {});
  try {
    await identified();
  } catch (error) {
    return void put(document.body, h('main', { class: 'gate' }, h('h1', {}, 'The API does not answer'), failure(error, () => location.reload())));
  }
  const leave = () => { api.token = ''; location.reload(); };
  const changeAccount = async (id) => { if (await mayLeave()) { api.choose(id); live.restart(); await open(); } };
  const shell = makeShell({ leave, changeAccount });
  api.onRefused(() => { if (api.token) leave(); });
  register();
  listen();
  live.start();
  await start(shell.outlet, shell.shown);
  performance.mark('shown');
}

begin();
