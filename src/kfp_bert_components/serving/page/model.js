// About the model: what its bundle.json says, and its registry.

import { $, MOST_BARS, cell, element, heading, row, time } from "./elements.js";

export function showModel(about) {
  const { registry, labels } = about, number = registry?.version ?? about.registry_version;
  $("model").textContent = `version ${about.version}${labels.length ? `, ${labels.length} classes` : ""}`;
  $("pair").hidden = about.inputs.length < 2;
  const facts = {
    "Version": about.version,
    "Registry version": number && `${number}${registry ? championOf(registry) : ""}`,
    "Registered": registry && time(registry.at),
    "Fingerprint": about.fingerprint,
    "Classes": labels.length && listed(labels),
    "Base model": about.base_model,
    "Longest text": about.max_length && `${about.max_length} tokens; what is longer is cut`,
    "Precision": about.precision,
    "Data fingerprint": about.data_fingerprint,
    "Training": about.parameters && named(about.parameters),
    "Made with": about.versions && named(about.versions),
  };
  const known = Object.entries(facts).filter(([, value]) => value);
  $("facts").replaceChildren(
    ...known.flatMap(([name, value]) => [element("dt", name), element("dd", String(value), { dir: "auto" })]));
  $("registry-problem").textContent = about.registry_problem ?? "";
  for (const id of ["decision", "history", "card"]) $(id).hidden = !registry;
  if (registry) showRegistry(registry);
}

const named = (values) => Object.entries(values).map(([name, value]) => `${name} ${JSON.stringify(value)}`).join(", ");
const championOf = ({ version, champion }) =>
  champion === version ? ", the champion" : `; the champion is version ${champion}`;

function listed(labels) {
  const more = labels.length - MOST_BARS;
  return labels.slice(0, MOST_BARS).join(", ") + (more > 0 ? ` and ${more} more` : "");
}

function showRegistry({ reason, metrics, history, card }) {
  $("decision").querySelector("p").textContent = `PROMOTE: ${reason || "no reason is recorded"}`;
  const measured = Object.entries(metrics).filter(([, one]) => typeof one?.value === "number");
  $("decision").querySelector("tbody").replaceChildren(...measured.map(([name, { value, low, high }]) => {
    const interval = [low, high].filter((end) => typeof end === "number").map((end) => end.toFixed(4)).join(" to ");
    return row(heading(name), cell(value.toFixed(4), "n"), cell(interval, "n"));
  }));
  $("history").querySelector("ol").replaceChildren(
    ...history.map(({ at, text }) => element("li", [element("time", time(at)), ` ${text}`])));
  $("card").querySelector("pre").textContent = card.replace(/^---\n.*?\n---\n/s, ""); // without its header
}
