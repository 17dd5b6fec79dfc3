// Colours of groups: a value keeps its colour while the page is open.

const GROUPS = ['cat-1', 'cat-2', 'cat-3', 'cat-4', 'cat-5', 'cat-6'];
export const OTHER = 'cat-other';
/** What means something has its own colour wherever it stands. */
const MEANINGS = {
  passed: { color: 'passed', edge: 'passed-text' },
  failed: { color: 'failed', edge: 'failed-text' },
  refused: { color: 'mitigated', edge: 'mitigated-text', hatched: true },
  mitigated: { color: 'mitigated', edge: 'mitigated-text', hatched: true },
};

/** Returns a function from (dimension, values shown at once) to their looks: [{color, edge?, hatched?}]. */
export function colorist() {
  const kept = new Map();
  return (dimension, values) => {
    if (dimension === 'outcome') return values.map((one) => MEANINGS[one] || { color: OTHER });
    const taken = new Set(values.map((one) => kept.get(`${dimension}\n${one}`)).filter(Boolean));
    // Two values that were never shown together may have the same colour: the later one then takes a free one.
    const used = new Set();
    return values.map((one) => {
      if (one === null) return { color: OTHER };
      const key = `${dimension}\n${one}`;
      let color = kept.get(key);
      if (!color || used.has(color)) {
        color = GROUPS.find((each) => !used.has(each) && !taken.has(each)) || GROUPS.find((each) => !used.has(each)) || OTHER;
        kept.set(key, color);
      }
      used.add(color);
      return { color };
    });
  };
}
