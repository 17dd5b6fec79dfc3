// Where things are in the dashboard: the address of an object's page, or nothing where there is no such page.
import { PAGES } from './pages.js';
import { href } from './router.js';

const HOMES = { apps: '/apps', pools: '/balancing', load_balancers: '/balancing', monitors: '/balancing', monitor_groups: '/balancing', access_rules: '/access', lists: '/lists', certificates: '/certificates', tokens: '/tokens' };
const known = new Map(PAGES.map(([path]) => [path, true]));

export const pageOf = (section) => (known.has(HOMES[section]) ? HOMES[section] : '');
/** Trouble of these sections of the file is counted at this page of the rail. */
export const SECTIONS = { '/apps': ['apps'], '/balancing': ['pools', 'load_balancers', 'monitors', 'monitor_groups'], '/access': ['access_rules', 'lists'], '/certificates': ['certificates'], '/nodes': ['node'] };

/** Return the address of an object, by its section of the file and its id. */
export function linkTo(section, id) {
  const home = pageOf(section);
  if (!home) return '';
  const below = section === 'load_balancers' || section === 'apps' ? `${home}/:id` : section === 'pools' ? `${home}/pools/:id` : '';
  return id && known.has(below) ? href(below.replace(':id', encodeURIComponent(id))) : href(home);
}
export const pageIs = (path) => known.has(path);
