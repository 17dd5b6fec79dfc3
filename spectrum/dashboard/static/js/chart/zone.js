// The time zone that the reader has chosen, as charts need it.

import { isLocal } from '../format.js';

/** Seconds to add to an instant to have it in the reader's zone. */
export const zoneOffset = (t = Date.now() / 1000) => (isLocal() ? -60 * new Date(t * 1000).getTimezoneOffset() : 0);
