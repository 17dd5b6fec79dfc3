// Where events stand above a chart: bars with words in as many rows as they need, changes as marks on the axis.

const LETTER_PX = 5.9; // of the 11 px type, on average
const PAD_PX = 10;
const FOLD_PX = 12;
export const ROW_PX = 18;
export const MOST_ROWS = 4;

/** Lay out the notes that meet [since, until].
 * Args: notes [{t, t2?, kind, text, href?}]; `x` from an instant to pixels; x0 and x1, the edges of the plot.
 * Returns {bars: [{note, x, width, textX, row, text}], marks: [{notes, x, text}], rows}. */
export function lanes(notes, x, since, until, x0, x1) {
  const seen = notes.filter((one) => one.kind !== 'gap' && one.t <= until && (one.t2 ?? one.t) >= since);
  const spans = seen.filter((one) => one.kind !== 'change').sort((a, b) => a.t - b.t);
  const bars = placed(foldedSpans(spans, x, x0, x1), x0, x1);
  const changes = seen.filter((one) => one.kind === 'change').sort((a, b) => a.t - b.t);
  return { bars, marks: foldedMarks(changes, x), rows: bars.reduce((most, one) => Math.max(most, one.row + 1), 0) };
}

// Short events of one kind and one text that nearly touch are one bar with a count.
function foldedSpans(spans, x, x0, x1) {
  const folded = [];
  for (const note of spans) {
    const left = Math.max(x0, x(note.t)), right = Math.min(x1, Math.max(x(note.t2 ?? note.t), left + 3));
    const same = folded.findLast((one) => one.note.kind === note.kind && (one.note.fold ?? one.note.text) === (note.fold ?? note.text));
    if (same && left - same.right < FOLD_PX && right - left < FOLD_PX) {
      same.right = Math.max(same.right, right); same.count += 1;
    } else folded.push({ note, left, right, count: 1 });
  }
  return folded;
}

function placed(spans, x0, x1) {
  const free = [];
  return spans.flatMap(({ note, left, right, count }) => {
    const width = right - left, text = shortened(count > 1 ? `${note.text} (${count} times)` : note.text, Math.max(width, x1 - right, left - x0));
    const words = text.length * LETTER_PX + PAD_PX;
    const inside = words <= width, after = right + words <= x1, before = left - words >= x0;
    const textX = inside ? left + 8 : after ? right + 5 : left - words + 4;
    const from = !inside && !after && before ? left - words : left;
    const to = inside || !after ? right : textX + words;
    let row = free.findIndex((end) => end <= from - 4);
    if (row < 0) row = free.length;
    if (row >= MOST_ROWS) return []; // in the list below the chart, and in the export
    free[row] = to;
    return [{ note, x: left, width, textX, row, text, count }];
  });
}

// As much of a text as there is room for beside its bar, or in it.
function shortened(text, room) {
  const most = Math.floor((room - PAD_PX) / LETTER_PX);
  return text.length <= most ? text : `${text.slice(0, Math.max(0, most - 1))}…`;
}

function foldedMarks(changes, x) {
  const marks = [];
  for (const note of changes) {
    const at = x(note.t), last = marks.at(-1);
    if (last && at - last.x < FOLD_PX) last.notes.push(note);
    else marks.push({ notes: [note], x: at });
  }
  return marks.map((one) => ({ ...one,
    text: one.notes.length > 1 ? `${one.notes.length} changes: ${one.notes.map((each) => each.text).join('; ')}` : one.notes[0].text }));
}
