// Dates in tables: ISO 8601 and a few common ways of writing.

const DATE = "(\\d{4})(?:-(\\d\\d)-(\\d\\d)|(\\d\\d)(\\d\\d)|-?W(\\d\\d)(?:-?(\\d))?)";
const CLOCK = "(\\d\\d)(?::?(\\d\\d)(?::?(\\d\\d)(?:[.,]\\d+)?)?)?";
const ZONE = "(?:(Z)|([+-])(\\d\\d)(?::?(\\d\\d)(?::?(\\d\\d))?)?)?";
const ISO = new RegExp(`^${DATE}(?:[^]${CLOCK}${ZONE})?$`, "u");
const MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const OTHERS = [
  /^(?<year>\d{4})\/(?<month>\d{1,2})\/(?<day>\d{1,2})(?:\s+(?<hour>\d{1,2}):(?<minute>\d{1,2})(?::(?<second>\d{1,2}))?)?$/,
  /^(?<month>\d{1,2})\/(?<day>\d{1,2})\/(?<year>\d{4})(?:\s+(?<hour>\d{1,2}):(?<minute>\d{1,2}))?$/,
  /^(?<day>\d{1,2})\.(?<month>\d{1,2})\.(?<year>\d{4})$/,
  /^(?<day>\d{1,2})-(?<name>[a-z]{3})-(?<year>\d{4})$/i,
];

/**
 * The moment a text names, in whole seconds since 1970 (UTC where a zone is given), or null.
 *
 * A bare number is no date, but eight digits are (20110131).
 */
export function parseDate(cell) {
  const text = cell.trim();
  const iso = ISO.exec(text);
  if (iso) return fromIso(iso);
  for (const form of OTHERS) {
    const found = form.exec(text)?.groups;
    if (!found) continue;
    const month = found.name === undefined ? Number(found.month) : MONTHS.indexOf(found.name.toLowerCase()) + 1;
    return seconds(found.year, month, found.day, found.hour, found.minute, found.second);
  }
  return null;
}

function fromIso([, year, month, day, basicMonth, basicDay, week, weekday, hour, minute, second, , sign, ...offset]) {
  let at;
  if (week === undefined) at = seconds(year, month ?? basicMonth, day ?? basicDay, hour, minute, second);
  else at = weekStart(year, week, weekday ?? 1, seconds(year, 1, 1, hour, minute, second));
  if (at === null || sign === undefined) return at;
  const [hours, minutes, rest] = offset.slice(0, 3).map((part) => Number(part ?? 0));
  if (hours > 23 || minutes > 59 || rest > 59) return null;
  return at - (sign === "-" ? -1 : 1) * (hours * 3600 + minutes * 60 + rest);
}

/** The moment of a weekday (1 is Monday) of an ISO week, at the time of day of `newYear`. */
function weekStart(year, week, weekday, newYear) {
  if (newYear === null || weekday < 1 || weekday > 7) return null;
  const day = 86400;
  const fourth = seconds(year, 1, 4);
  const monday = fourth - (((Math.floor(fourth / day) + 3) % 7) + 7) % 7 * day; // 1970-01-01 was a Thursday
  const start = monday + (week - 1) * 7 * day;
  const thursday = new Date((start + 3 * day) * 1000);
  if (week < 1 || thursday.getUTCFullYear() !== Number(year)) return null;
  return start + (weekday - 1) * day + (newYear - seconds(year, 1, 1));
}

function seconds(year, month, day, hour = 0, minute = 0, second = 0) {
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  const kept = date.getUTCFullYear() === Number(year) && date.getUTCMonth() === month - 1;
  if (!kept || date.getUTCDate() !== Number(day) || year < 1 || hour > 23 || minute > 59 || second > 59) return null;
  return date.getTime() / 1000 + hour * 3600 + minute * 60 + Number(second);
}
