// Where things are in the dashboard: the address of an object's page, or nothing where there is no such page.
import { PAGES } from './pages.js';
import { href } from './router.js';

const HOMES = { apps: '/apps', pools: '/balancing', load_balancers: '/balancing', monitors: '/balancing', monitor_groups: '/balancing', access_rules: '/access', lists: '/lists', certificates: '/certificates', tokens: '/tokens' };
const OWN = { ...Object.fromEntries(Object.entries(HOMES).map(([section, home]) => [section, `${home}/:id`])), pools: '/balancing/pools/:id', monitors: '/balancing/monitors/:id', monitor_groups: '/balancing/groups/:id' };
const known = new Set(PAGES.map(([path]) => path));

/** Trouble of these sections of the file is counted at this page of the rail. */
export const SECTIONS = { '/apps': ['apps'], '/balancing': ['pools', 'load_balancers', 'monitors', 'monitor_groups'], '/access': ['access_rules'], '/lists': ['lists'], '/certificates': ['certificates'], '/nodes': ['node'] };
export const pageIs = (path) => known.has(path);

/** Return the address of an object, by its section of the file and its id. */
export function linkTo(section, id) {
  if (id && known.has(OWN[section])) return href(OWN[section].replace(':id', encodeURIComponent(id)));
  return known.has(HOMES[section]) ? href(HOMES[section]) : '';
}

/** Return the address of Analytics of one value alone: `dimension` as its filters name it, `more` of what its address has. */
export const trafficOf = (dimension, value, more = {}, sign = '==') => href('/analytics', { ...more, f: `${dimension}${sign}${encodeURIComponent(value)}` });
