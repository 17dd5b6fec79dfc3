// What is measured in a page of the dashboard; it runs before the page's own scripts.
(() => {
  const SCROLLS = 600, LEAP_EVERY = 60, STEP_PX = 240, LEAP_PX = 40000;
  const tasks = [];
  new PerformanceObserver((list) => {
    for (const one of list.getEntries()) tasks.push(one.startTime + one.duration);
  }).observe({ type: 'longtask', buffered: true });
  const at = (name) => performance.getEntriesByName(name).at(-1)?.startTime;
  const timed = (run) => { const began = performance.now(); run(); return performance.now() - began; };
  const frame = () => new Promise(requestAnimationFrame);

  window.measured = {
    /** The timings of a page that was opened by its address, in ms, and what it took from the server. */
    figures() {
      const ready = at('ready'), files = performance.getEntriesByType('resource');
      const scripts = files.filter((one) => new URL(one.name).pathname.endsWith('.js'));
      const asked = files.filter((one) => one.name.includes('/client/') && !one.name.endsWith('/live') && one.startTime < ready);
      return {
        paint: at('first-contentful-paint'), ready, interactive: Math.max(at('shown') ?? ready, ...tasks),
        asked: asked.length, scripts: scripts.reduce((sum, one) => sum + one.encodedBodySize, 0) / 1000,
      };
    },

    /** Go to another page, as a link does. */
    follow(view) {
      performance.clearMarks('ready');
      window.began = performance.now();
      location.hash = view;
    },
    /** After how many ms that one was ready. */
    followed: () => at('ready') - window.began,

    /** How a long list scrolls, is filtered letter by letter, and sorted. */
    async scrolled() {
      const box = document.querySelector('.tbl .tw'), { left, top, height } = box.getBoundingClientRect(), took = [];
      let before = await frame(), blank = 0;
      for (let step = 0; step < SCROLLS; step++) {
        box.scrollTop += step % LEAP_EVERY ? STEP_PX : LEAP_PX;
        const now = await frame();
        took.push(now - before);
        before = now;
        blank += !document.elementFromPoint(left + 200, top + height / 2)?.closest('tr[data-key]');
      }
      took.sort((a, b) => a - b);
      const input = document.querySelector('[data-filter]');
      const type = (text) => timed(() => { input.value = text; input.dispatchEvent(new Event('input')); });
      const filters = ['a', 'ap', 'app', 'app4', 'app47'].map(type);
      type('');
      const head = (name) => [...document.querySelectorAll('th button')].find((one) => one.textContent.startsWith(name));
      const sorts = ['Origin', 'App', 'Sessions'].map((name) => timed(() => head(name).click()));
      return {
        frame_p50: took[SCROLLS / 2], frame_p99: took[SCROLLS * 0.99], frame_max: took[SCROLLS - 1], blank,
        filter_ms: Math.max(...filters), sort_ms: Math.max(...sorts),
      };
    },
  };
})();
