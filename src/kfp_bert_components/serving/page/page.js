// The page asks the server's own predict route, as any client does. Whatever comes from the model, the registry or the
// person is put in as text only; the server's Content-Security-Policy forbids all else.

import { $, MOST_BARS, bar, bytes, cell, element, heading, percent, points, row } from "./elements.js";
import { showModel } from "./model.js";

const DELAY = 200; // milliseconds without typing, after which the model is asked
const AGAIN = 2000; // milliseconds until a server that is loading or busy is asked again
const LOOK = 30000; // milliseconds between two looks at which version answers
const MOST_LINES = 256, MOST_WORDS = 100, MOST_MOVERS = 6;
const LEAST_CHANGE = 0.0005; // of a score: what is less reads as 0.0
const MOST_CURL = 100000; // bytes: Linux takes at most 128 KiB in one argument

const best = (prediction) => prediction.probabilities.indexOf(Math.max(...prediction.probabilities));
const score = (prediction) => prediction.probabilities[best(prediction)];

let about = null; // what the server says of the model
let shown = null; // what was asked last, and the answers: {instances, predictions, labels, line, all}
let running = new AbortController(); // ends the requests for a text that is not there any more
let timer = 0, nextLook = 0;

// --- The server

async function fetched(url, options) {
  let response, found;
  try {
    response = await fetch(url, options);
    found = await response.json().catch(() => null);
  } catch {
    found = { error: "The server cannot be reached: is it still running?" };
  }
  options.signal?.throwIfAborted(); // an answer that is late, or a failure that nobody waits for
  if (response?.ok && found) return { ...found, version: response.headers.get("X-Model-Version") ?? found.version };
  const message = found?.error ?? `The server's answer cannot be read: its status is ${response.status}.`;
  throw Object.assign(new Error(message), { isTemporary: response?.status === 503 });
}

// The answers, and the labels of the version that gave them: it may be another one than `about` tells of.
async function predict(instances, signal) {
  const headers = { "Content-Type": "application/json" };
  const found = await fetched(about.predict, { method: "POST", headers, body: bodyOf(instances), signal });
  const { predictions, labels = [], version } = found;
  if ((version && version !== String(about.version)) || labels.join("\n") !== about.labels.join("\n")) look();
  return { predictions, labels };
}

const bodyOf = (instances) =>
  JSON.stringify({ instances: about.inputs.length > 1 ? instances : instances.map((one) => one.text) });

async function look() {
  const before = about?.fingerprint;
  clearTimeout(nextLook);
  try {
    about = await fetched("about", {});
    showModel(about);
    if (about.fingerprint !== before) update();
  } catch (error) {
    if (!about) $("model").textContent = error.message;
  }
  nextLook = setTimeout(look, about ? LOOK : AGAIN);
}

// --- Questions

function questions() {
  const columns = about.inputs.map((name) => ($("lines").checked ? $(name).value.split("\n") : [$(name).value]));
  if (columns.some((column) => column.length !== columns[0].length))
    throw new Error(
      `There are ${columns[0].length} lines above and ${columns[1].length} below: give each line its partner, ` +
        "or take the tick from “Each line is a text of its own”.");
  return columns[0]
    .map((_, line) => Object.fromEntries(about.inputs.map((name, i) => [name, columns[i][line]])))
    .filter((instance) => Object.values(instance).some((text) => text.trim()));
}

async function update() {
  clearTimeout(timer);
  running.abort();
  if (!about) return;
  const { signal } = (running = new AbortController());
  try {
    const asked = questions(), most = Math.min(MOST_LINES, about.limits.instances);
    const instances = asked.slice(0, most);
    const answers = instances.length ? await predict(instances, signal) : { predictions: [], labels: [] };
    const line = Math.min(shown?.line ?? 0, Math.max(0, instances.length - 1));
    shown = { instances, ...answers, line, all: shown?.all ?? false };
    say("", asked.length > most ? `There are ${asked.length} lines: only the first ${most} are shown.` : "");
    showAnswers();
    await explain(signal);
  } catch (error) {
    if (signal.aborted) return;
    shown = null;
    say(error.message, error.isTemporary ? "It is asked again in a moment." : "");
    showAnswers();
    if (error.isTemporary) timer = setTimeout(update, AGAIN);
  }
}

function say(problem, note) {
  $("problem").textContent = problem;
  $("note").textContent = note;
}

// --- Answers

function nameOf(prediction, index) {
  if (index === best(prediction)) return prediction.label;
  return shown.labels[index] ?? `class ${index}`;
}

function showAnswers() {
  const lines = shown?.predictions.length ?? 0;
  $("answer").hidden = !lines;
  $("status").textContent = shown && !lines ? "Type or paste a text." : "";
  if (!lines) return;
  const chosen = shown.predictions[shown.line];
  $("status").textContent =
    lines > 1 ? `${lines} lines are answered.` : `${chosen.label}, ${percent(score(chosen))}`;
  $("table").hidden = lines === 1;
  $("table").tBodies[0].replaceChildren(...(lines > 1 ? shown.predictions.map(lineRow) : []));
  showBars(chosen, lines);
  showCurl();
}

function lineRow(prediction, line) {
  const text = Object.values(shown.instances[line]).join(" | ");
  const button = element("button", element("bdi", text), { type: "button", className: "line" });
  button.setAttribute("aria-pressed", line === shown.line);
  button.addEventListener("click", () => choose(line));
  const value = score(prediction);
  const label = cell(element("bdi", prediction.label));
  return row(element("th", button, { scope: "row" }), label, cell([bar(value), percent(value)], "n"));
}

function choose(line) {
  shown.line = line;
  showAnswers();
  $("table").tBodies[0].rows[line].querySelector("button").focus();
  explain(running.signal).catch((error) => running.signal.aborted || say(error.message, ""));
}

function showBars(prediction, lines) {
  const { probabilities } = prediction;
  const order = probabilities.map((_, i) => i).sort((a, b) => probabilities[b] - probabilities[a]);
  const visible = shown.all ? order : order.slice(0, MOST_BARS);
  $("bars-title").textContent = lines > 1 ? `Probabilities of line ${shown.line + 1}` : "Probabilities";
  $("bars").tBodies[0].replaceChildren(...visible.map((i) =>
    row(heading(nameOf(prediction, i)), cell(bar(probabilities[i]), "bar"), cell(percent(probabilities[i]), "n"))));
  $("all").hidden = order.length <= MOST_BARS;
  $("all").textContent = shown.all ? `Show the first ${MOST_BARS} only` : `Show all ${order.length}`;
}

// --- Why: the answer without each word

const segments = (text) =>
  Intl.Segmenter
    ? [...new Intl.Segmenter(undefined, { granularity: "word" }).segment(text)].map((part) => part.segment)
    : text.split(/(\s+)/);

async function explain(signal) {
  $("explanation").hidden = true;
  if (!$("why").checked || !shown?.predictions.length) return;
  const { line } = shown, instance = shown.instances[line];
  const parts = Object.fromEntries(about.inputs.map((name) => [name, segments(instance[name])]));
  const words = about.inputs.flatMap((name) =>
    [...new Set(parts[name])].filter((part) => part.trim()).map((word) => ({ name, word })));
  // As many as one request may hold.
  const room = Math.floor(about.limits.body_bytes / (bytes(bodyOf([instance])) + 1));
  const looked = words.slice(0, Math.max(0, Math.min(MOST_WORDS, about.limits.instances - 1, room - 1)));
  const without = ({ name, word }) => ({ ...instance, [name]: parts[name].filter((part) => part !== word).join("") });
  const [whole, ...others] = (await predict([instance, ...looked.map(without)], signal)).predictions;
  if (line !== shown?.line) return;
  const label = best(whole);
  const movers = looked
    .map((one, i) => ({ ...one, then: others[i], change: others[i].probabilities[label] - whole.probabilities[label] }))
    .filter((one) => Math.abs(one.change) >= LEAST_CHANGE)
    .sort((a, b) => Math.abs(b.change) - Math.abs(a.change))
    .slice(0, MOST_MOVERS);
  const bound = looked.length < words.length
    ? ` Of the ${words.length} different words the first ${looked.length} were left out.` : "";
  showWhy(parts, movers, whole, bound);
}

function showWhy(parts, movers, whole, bound) {
  $("explanation").hidden = false;
  $("highlights").replaceChildren(...about.inputs.map((name) => element("p", parts[name].map((part) => {
    const mover = movers.find((one) => one.name === name && one.word === part);
    return mover ? highlight(mover) : part;
  }), { dir: "auto" })));
  const table = $("words");
  table.tHead.hidden = !movers.length;
  table.caption.textContent = `The score of “${whole.label}” is ${percent(score(whole))}. ` + (movers.length
    ? "How it changes when a word is left out, wherever it stands, in percentage points."
    : "No single word that is left out changes it by 0.1 percentage points.") + bound;
  table.tBodies[0].replaceChildren(...movers.map(({ word, then, change }) =>
    row(heading(word), cell(points(change), "n"), cell(element("bdi", then.label)), cell(percent(score(then)), "n"))));
}

function highlight({ word, change }) {
  const strength = Math.abs(change) > 0.3 ? "strong" : Math.abs(change) > 0.05 ? "some" : "weak";
  const className = `${change < 0 ? "for" : "against"} ${strength}`;
  return element("mark", [element("bdi", word), element("small", points(change))], { className });
}

// --- The same request in a shell

function curlOf(instances) {
  // A quote, a backslash and what can't be seen become escapes of JSON: so single quotes are enough, also in fish.
  const escape = (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  const body = bodyOf(instances)
    .replaceAll("\\\\", "\\u005c")
    .replace(/['\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, escape);
  const url = new URL(about.predict, document.baseURI).href.replaceAll("'", "%27");
  return `curl -s '${url}' -H 'Content-Type: application/json' -d '${body}'`;
}

function showCurl() {
  const line = curlOf(shown.instances), fits = bytes(line) <= MOST_CURL;
  $("curl").textContent = fits ? line : "The text is too long for one line of a shell: put the request into a file.";
  $("copy").hidden = !fits;
  $("copied").textContent = "";
}

async function copy() {
  try {
    await navigator.clipboard.writeText($("curl").textContent);
  } catch { // the clipboard is there with https or on this machine only
    getSelection().selectAllChildren($("curl"));
    document.execCommand("copy");
  }
  $("copied").textContent = "Copied.";
}

// --- Begin

const later = () => {
  clearTimeout(timer);
  timer = setTimeout(update, DELAY);
};
for (const id of ["text", "text_pair"]) $(id).addEventListener("input", later);
for (const id of ["lines", "why"]) $(id).addEventListener("change", update);
$("ask").addEventListener("submit", (event) => event.preventDefault());
$("all").addEventListener("click", () => {
  shown.all = !shown.all;
  showAnswers();
});
$("copy").addEventListener("click", copy);
look();
