// How fast counters grow, from what they were a few seconds ago.

const RATE_MS = 5000;
const LINK_MS = 10_000;
const seenCounts = new Map();

// Growth a second over the last `span` milliseconds; null before there is anything to compare with.
const growth = (key, count, now, span) => {
  const seen = seenCounts.get(key) ?? [];
  // A counter that went back is another process's.
  if (seen.length && seen.at(-1).count > count) seen.length = 0;
  // What was seen before a pause, as while the page was hidden, says nothing of this moment.
  if (seen.length && now - seen.at(-1).at > span) seen.length = 0;
  seen.push({ at: now, count });
  while (seen.length > 2 && now - seen[1].at >= span) seen.shift();
  seenCounts.set(key, seen);
  const [first] = seen;
  return now > first.at ? ((count - first.count) * 1000) / (now - first.at) : null;
};

// A slot's counts as rates. The last slot has only begun; with less than two seconds of it, it would say noise.
const slotRates = (slots, counts) =>
  counts.map((count, at) => {
    const seconds = at < counts.length - 1 ? slots.seconds : slots.last_seconds;
    return seconds >= 2 ? count / seconds : null;
  });
