// Keeps a page up to date: parts that the server sends replace those on the page.
"use strict";

const MINUTE = 60, HOUR = 60 * MINUTE, DAY = 24 * HOUR;

function formatDuration(seconds) {
  if (seconds < 1) return "0 s";
  if (seconds < MINUTE) return `${Math.floor(seconds)} s`;
  if (seconds < HOUR) return `${Math.floor(seconds / MINUTE)} min ${Math.floor(seconds % MINUTE)} s`;
  if (seconds < DAY) return `${Math.floor(seconds / HOUR)} h ${Math.floor((seconds % HOUR) / MINUTE)} min`;
  return `${Math.floor(seconds / DAY)} d ${Math.floor((seconds % DAY) / HOUR)} h`;
}

function formatRelative(time) {
  const seconds = (Date.now() - Date.parse(time)) / 1000;
  if (Math.abs(seconds) < 2) return "now";
  const text = formatDuration(Math.abs(seconds)).replace(/ min .*/, " min").replace(/ h .*/, " h");
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Relative times are the browser's affair: what the server sends stays the same, and comparable.
function updateTimes() {
  for (const element of document.querySelectorAll("[data-ago]"))
    setText(element, formatRelative(element.dataset.ago));
  for (const element of document.querySelectorAll("[data-brief]")) {
    setText(element, formatRelative(element.dateTime));
    element.title = `${new Date(element.dateTime).toISOString().slice(0, 19).replace("T", " ")} UTC`;
  }
  for (const element of document.querySelectorAll("[data-since]"))
    setText(element, formatDuration((Date.now() - Date.parse(element.dataset.since)) / 1000));
}

// Fields and buttons of forms are known by what they do, never by their place: a card may be gone.
const FIELDS = "form.answer input:not([type=hidden]), form.answer textarea, form.answer button";
const fieldKey = (field) => `${field.form.getAttribute("action")} ${field.name} ${field.type === "submit" ? field.value : ""}`;

function keepTyped(fragment, fresh) {
  const typed = new Map([...fragment.querySelectorAll(FIELDS)].map((field) => [fieldKey(field), field]));
  for (const field of fresh.querySelectorAll(FIELDS)) {
    const before = typed.get(fieldKey(field));
    if (!before || field.type === "submit") continue;
    if (field.type === "checkbox") field.checked = before.checked;
    else if (before.value !== before.defaultValue) field.value = before.value;
  }
}

// On a phone, what is open for want of scripts begins folded; elsewhere it has no mark to fold it.
const narrow = matchMedia("(max-width: 720px)");
function fold(details) {
  if ("fold" in details.dataset) details.open = !narrow.matches;
}
const foldAll = () => document.querySelectorAll("details[data-fold]").forEach(fold);

function replace(fragment, html) {
  const fresh = document.createElement("template");
  fresh.innerHTML = html;
  // What a reader has opened stays open, and where the keyboard is it stays.
  const open = new Set([...fragment.querySelectorAll("details[open]")].map((d) => d.dataset.open));
  const known = new Set([...fragment.querySelectorAll("details")].map((d) => d.dataset.open));
  for (const details of fresh.content.querySelectorAll("details"))
    if (known.has(details.dataset.open)) details.open = open.has(details.dataset.open);
    else fold(details);
  const focused = fragment.contains(document.activeElement)
    ? [...fragment.querySelectorAll("a, pre, summary")].indexOf(document.activeElement) : -1;
  const focusedField = fragment.contains(document.activeElement) && document.activeElement.matches(FIELDS)
    ? fieldKey(document.activeElement) : null;
  keepTyped(fragment, fresh.content);
  const left = [...fragment.querySelectorAll(".scroll")].map((box) => box.scrollLeft);
  fragment.replaceChildren(fresh.content);
  fragment.querySelectorAll(".scroll").forEach((box, index) => { box.scrollLeft = left[index] || 0; });
  fragment.querySelectorAll("a, pre, summary")[focused]?.focus({ preventScroll: true });
  if (focusedField)
    [...fragment.querySelectorAll(FIELDS)].find((field) => fieldKey(field) === focusedField)?.focus({ preventScroll: true });
}

function announce() {
  const phase = document.querySelector("[data-phase]")?.dataset.phase;
  const place = document.querySelector("[data-announce]");
  if (!phase || !place || place.dataset.last === phase) return;
  if (place.dataset.last) {
    place.textContent = phase;
    document.title = document.title.replace(/^[^:]*/, phase);
  }
  place.dataset.last = phase;
}

function follow(address) {
  let source = null;
  const mark = document.querySelector("[data-live-mark]");
  const setLive = (on) => { if (mark) mark.hidden = !on; };
  const stop = () => { source?.close(); source = null; setLive(false); };
  const start = () => {
    if (source) return;
    source = new EventSource(address);
    source.onopen = () => setLive(true);
    source.onmessage = (message) => {
      for (const [name, html] of Object.entries(JSON.parse(message.data).fragments)) {
        const fragment = document.querySelector(`[data-fragment="${name}"]`);
        if (fragment) replace(fragment, html);
      }
      updateTimes();
      announce();
    };
    source.addEventListener("end", () => { stop(); document.removeEventListener("visibilitychange", turn); });
    source.onerror = () => {
      setLive(false);
      // Closed for good by the server's answer: signed out, or gone. The page itself says which.
      if (source?.readyState === EventSource.CLOSED) { source = null; setTimeout(start, 10000); }
    };
  };
  // A browser has few connections to one host: a page that nobody sees holds none.
  const turn = () => (document.hidden ? stop() : start());
  document.addEventListener("visibilitychange", turn);
  turn();
}

foldAll();
narrow.addEventListener("change", foldAll);
updateTimes();
announce();
setInterval(updateTimes, 1000);
const live = document.querySelector("[data-live]");
if (live) follow(live.dataset.live);
