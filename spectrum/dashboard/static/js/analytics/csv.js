// Tables as CSV (RFC 4180).

/** A text that a spreadsheet would take for a formula gets an apostrophe: names come from clients. */
const cell = (value) => {
  if (value === null || value === undefined) return '';
  if (typeof value === 'number') return String(value);
  const text = /^[=+\-@\t\r]/.test(String(value)) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};
/** Rows of values, the heads first. */
export const csv = (heads, rows) => [heads, ...rows].map((row) => row.map(cell).join(',')).join('\r\n') + '\r\n';
