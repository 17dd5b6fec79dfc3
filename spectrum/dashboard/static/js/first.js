// Before anything is drawn: the theme that was chosen here, if one was, and the modules of the page of the address. Not a
// module: those run when the page is drawn.
try {
  const theme = localStorage.getItem('theme');
  if (theme) document.documentElement.dataset.theme = theme;
} catch { /* no storage: the system's theme */ }

// A server does not get what is behind the #. Without this, a page's modules would be asked for one after the other.
{
  const path = location.hash.slice(1).split('?')[0] || '/';
  const isOf = (pattern) => new RegExp(`^${pattern.replaceAll(/:\w+/g, '[^/]+')}$`).test(path);
  const [, files = []] = JSON.parse(document.getElementById('pages').textContent).find(([patterns]) => patterns.some(isOf)) ?? [];
  for (const href of files) document.head.append(Object.assign(document.createElement('link'), { rel: 'modulepreload', href }));
}
