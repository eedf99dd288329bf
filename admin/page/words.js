// Numbers and times as the command line tells them, and the few ways in which the page is written.

/** What stands where nothing is known. Never a zero. */
export const UNKNOWN = "?";

/** A whole number with its thousands apart. By hand, since it is done hundreds of times for a snapshot. */
function grouped(value) {
  const digits = String(Math.round(value));
  return digits.length < 4 ? digits : digits.replace(/\B(?=(?:\d{3})+$)/g, ",");
}

export const isKnown = (value) => value !== null && value !== undefined;

/** `6,850` */
export function count(value) {
  return isKnown(value) ? grouped(value) : UNKNOWN;
}

/** `1 event`, `3 events` */
export function many(value, what) {
  return `${count(value)} ${what}${value === 1 ? "" : "s"}`;
}

/** `0.4/s`, `12/s`, `6,850/s` */
export function rate(value) {
  if (!isKnown(value)) return UNKNOWN;
  return value > 0 && value < 9.95 ? `${value.toFixed(1)}/s` : `${grouped(Math.max(0, value))}/s`;
}

/** `0.4 s`, `12 s`, `8 min`, `3 h`, `2 d` */
export function seconds(value) {
  if (!isKnown(value)) return UNKNOWN;
  if (value === 0) return "0 s";
  if (value < 9.95) return `${value.toFixed(1)} s`;
  if (value < 119.5) return `${value.toFixed(0)} s`;
  if (value < 119.5 * 60) return `${(value / 60).toFixed(0)} min`;
  if (value < 47.5 * 3600) return `${(value / 3600).toFixed(0)} h`;
  return `${(value / 86400).toFixed(0)} d`;
}

/** `0.4 ms`, `12 ms`, `1.2 s` */
export function milliseconds(value) {
  if (!isKnown(value)) return UNKNOWN;
  if (value < 9.95) return `${value.toFixed(1)} ms`;
  return value < 9950 ? `${grouped(value)} ms` : seconds(value / 1000);
}

const two = (number) => String(number).padStart(2, "0");

/** The local time of day of milliseconds since the epoch: `12:03:04`. */
export function clock(at) {
  const time = new Date(at);
  return `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
}

/** `12:03` */
export const minute = (at) => clock(at).slice(0, 5);

/** An RFC 3339 time as it is, without fractions of a second: `2026-01-02 03:04:05Z`. */
export function stamp(text) {
  return isKnown(text) ? text.replace("T", " ").replace(/\.\d+/, "") : UNKNOWN;
}

/** `local times are UTC+09:00` */
export function zone() {
  const ahead = -new Date().getTimezoneOffset();
  const [hours, minutes] = [Math.floor(Math.abs(ahead) / 60), Math.abs(ahead) % 60];
  return `UTC${ahead < 0 ? "−" : "+"}${two(hours)}:${two(minutes)}`;
}

/** `a`, `a and b`, `a, b and c` */
export function listed(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}

/** What a group is called here: the last part of its name, unless two share it. */
export function shortNames(names) {
  const last = (name) => name.slice(name.lastIndexOf(".") + 1);
  const lasts = names.map(last);
  return new Map(names.map((name) => [name, lasts.filter((other) => other === last(name)).length > 1 ? name : last(name)]));
}

/** Control characters as the command line writes them: likes' keys have one, `star\x1fann`. */
export function escaped(text) {
  return text.replace(/\p{Cc}/gu, (char) => {
    const code = char.codePointAt(0).toString(16);
    return char < "\x80" ? `\\x${code.padStart(2, "0")}` : `\\u{${code}}`;
  });
}

/** One word of a shell's command line. */
export function shellWord(text) {
  return /^[\w./:@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

export const byId = (id) => document.getElementById(id);

/** Writes a text only where it changed: what stays costs no layout, and a text that stays a text costs little. */
export function tell(node, text) {
  const only = node.firstChild;
  if (only?.nodeType !== Node.TEXT_NODE || only.nextSibling) {
    if (node.textContent !== text) node.textContent = text;
  } else if (only.data !== text) only.data = text;
}

/** The same for an attribute; null takes it away. */
export function mark(node, name, value) {
  if (value === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

/** What tests and styles read of a value: itself, or `unknown`. */
export const datum = (value) => (isKnown(value) ? value : "unknown");

/** An element with attributes and children, which are elements or texts. */
export function make(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) node.setAttribute(attribute, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** A status' shape, which stands in the page's head as a symbol. */
export function icon(status) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS(space, "use"));
  point(svg, status);
  return svg;
}

export function point(svg, status) {
  mark(svg.firstChild, "href", `#icon-${status}`);
}

/** A status as a badge: its shape, its name, and by style its colour. */
export function badge(status) {
  const node = make("span", { class: "badge" }, icon(status), make("span"));
  judge(node, status);
  return node;
}

export function judge(node, status) {
  if (node.dataset.badge === status) return;
  node.dataset.badge = status;
  point(node.firstChild, status);
  tell(node.lastChild, status.replace("_", " "));
}
