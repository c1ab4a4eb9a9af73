// Figures in words. Every one has three significant digits and a unit, so that nobody reads noise.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const three = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const two = new Intl.NumberFormat("en", { maximumSignificantDigits: 2 });
const compact = new Intl.NumberFormat("en", { maximumSignificantDigits: 3, notation: "compact" });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

const scaled = (value, units, step) => {
  let unit = 0;
  let shown = value;
  while (Math.abs(shown) >= step * 0.9995 && unit < units.length - 1) {
    shown /= step;
    unit += 1;
  }
  return `${three.format(shown)} ${units[unit]}`;
};

const words = {
  count: (value) => (value >= 100_000 ? compact.format(value) : whole.format(value)),
  number: (value) => (value >= 1000 ? words.count(value) : three.format(value)),
  bytes: (value) => scaled(value, ["B", "kB", "MB", "GB", "TB", "PB"], 1000),
  rate: (bytesPerSecond) => `${words.bytes(bytesPerSecond)}/s`,
  mbit: (mbit) => scaled(mbit * 1e6, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"], 1000),
  ms: (value) => (value >= 1000 ? `${three.format(value / 1000)} s` : `${three.format(value)} ms`),
  times: (value) => `${value >= 100 ? whole.format(value) : value.toFixed(value >= 10 ? 1 : 2)}×`,
  percent: (share) => (share > 0 && share < 0.001 ? "under 0.1%" : `${two.format(share * 100)}%`),
  time: (unixMs) => clock.format(new Date(unixMs)),
  plural: (value, one, many) => `${words.count(value)} ${value === 1 ? one : many}`,
  // The two largest units: 3 h 12 min.
  duration: (seconds) => {
    const units = [["d", 86_400], ["h", 3600], ["min", 60], ["s", 1]];
    const from = Math.max(0, units.findIndex(([, length]) => seconds >= length));
    let rest = Math.max(0, Math.floor(seconds));
    const parts = (seconds < 1 ? [units[3]] : units.slice(from, from + 2)).map(([unit, length]) => {
      const count = Math.floor(rest / length);
      rest -= count * length;
      return [count, unit];
    });
    return parts.filter(([count], at) => at === 0 || count > 0).map(([count, unit]) => `${count} ${unit}`).join(" ");
  },
  // What an error code means to somebody who has not read the manual.
  code: (code) => ({
    overloaded: "too busy",
    rate_limit_exceeded: "over its limit",
    unavailable: "no nodes",
    kv_refused: "KV refused",
    timeout: "too slow",
    internal_error: "a bug",
    invalid_request: "bad request",
    invalid_image: "bad picture",
    context_length_exceeded: "too long",
    model_not_found: "unknown model",
    request_timeout: "body came too slowly",
    payload_too_large: "body too large",
  })[code] ?? String(code).replaceAll("_", " "),
};
