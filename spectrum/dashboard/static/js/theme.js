// Before anything is drawn: the theme that was chosen here, if one was. Not a module: those run when the page is drawn.
try {
  const theme = localStorage.getItem('theme');
  if (theme) document.documentElement.dataset.theme = theme;
} catch { /* no storage: the system's theme */ }
