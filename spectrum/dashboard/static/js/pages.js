// All pages: [path, label, group, module]. One without a label is below another page, whose path stands for the group.
// A module of js/pages/ is loaded when its page is first opened.
export const PAGES = [
  ['/', 'Overview', 'Watch', 'overview'],
  ['/analytics', 'Analytics', 'Watch', 'analytics'],
  ['/sessions', 'Sessions', 'Watch', 'sessions'],
  ['/clients', 'Clients', 'Watch', 'client'],
  ['/clients/:address', null, '/clients', 'client'],
  ['/report', 'Report', 'Watch', 'report'],
  ['/nodes', 'Nodes and kernel', 'System', 'nodes'],
  ['/audit', 'Audit log', 'System', 'audit'],
  ['/settings', 'Settings', 'System', 'settings'],
];
export const GROUPS = ['Watch', 'Configure', 'System'];
// On a phone; the rest is behind "More".
export const TABS = ['/', '/analytics', '/sessions', '/apps', '/balancing'];
