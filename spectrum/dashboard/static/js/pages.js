// All pages: [path, label, group, module]. One without a label is below another page, whose path stands for the group.
// A module of js/pages/ is loaded when its page is first opened.
export const PAGES = [
  ['/', 'Overview', 'Watch', 'overview'],
  ['/analytics', 'Analytics', 'Watch', 'analytics'],
  ['/attacks', 'Attacks', 'Watch', 'attacks'],
  ['/attacks/:id', null, '/attacks', 'attacks'],
  ['/sessions', 'Sessions', 'Watch', 'sessions'],
  ['/clients', 'Clients', 'Watch', 'client'],
  ['/clients/:address', null, '/clients', 'client'],
  ['/report', 'Report', 'Watch', 'report'],
  ['/nodes', 'Nodes and kernel', 'System', 'nodes'],
  ['/audit', 'Audit log', 'System', 'audit'],
  ['/settings', 'Settings', 'System', 'settings'],
  ['/apps', 'Apps', 'Configure', 'apps'],
  ['/apps/:id', null, '/apps', 'app-edit'],
  ['/balancing', 'Load balancing', 'Configure', 'balancing'],
  ['/balancing/pools/:id', null, '/balancing', 'pool'],
  ['/balancing/monitors/:id', null, '/balancing', 'monitor'],
  ['/balancing/groups/:id', null, '/balancing', 'monitor'],
  ['/balancing/:id/edit', null, '/balancing', 'balancer'],
  ['/balancing/:id', null, '/balancing', 'balancer'],
  ['/access', 'Access rules', 'Configure', 'rules'],
  ['/access/:id', null, '/access', 'rules'],
  ['/protection', 'DDoS protection', 'Configure', 'protection'],
  ['/protection/:section/:id', null, '/protection', 'protection'],
  ['/lists', 'Lists', 'Configure', 'lists'],
  ['/lists/:id', null, '/lists', 'lists'],
  ['/certificates', 'Certificates', 'Configure', 'certificates'],
  ['/certificates/:id', null, '/certificates', 'certificate'],
  ['/tokens', 'Tokens', 'Configure', 'tokens'],
  ['/tokens/:id', null, '/tokens', 'tokens'],
];
export const GROUPS = ['Watch', 'Configure', 'System'];
// On a phone; the rest is behind "More".
export const TABS = ['/', '/analytics', '/sessions', '/apps', '/balancing'];
