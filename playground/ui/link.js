// A request in the fragment of the page's address: the page filled from one, and a link to what stands there copied.
// Knows the names in a fragment and the page's values. What it reads is text and numbers; what it cannot take as it
// stands is told.
playground.link = (() => {
  const VERSION = "1";
  const SIDES = { compare: ["left", "right"], single: ["model"] };
  const AS_IT_IS = { __type__: "update" };
  const STRENGTH = { min: 0, step: 0.05, default: 1 };
  // Where Python breaks lines.
  const LINE_BREAK = /\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]/;
  let asked = location.hash; // What was opened last.
  let tell = () => {};

  function read(hash) {
    const [, tab, query] = /^#(compare|single)\?(.*)$/s.exec(hash) ?? [];
    return tab && { tab, given: new URLSearchParams(query) };
  }

  function numberOf(text, { min, max, step, default: standard }) {
    const value = text?.trim() ? Number(text) : NaN;
    if (!Number.isFinite(value)) return standard;
    const within = Math.min(max, Math.max(min, value));
    return Number.isInteger(step) ? Math.round(within) : within;
  }

  function settingsOf(given, numbers) {
    const seed = given.get("seed") ?? "";
    const sliders = Object.entries(numbers).map(([name, allowed]) => [name, numberOf(given.get(name), allowed)]);
    const stops = given.getAll("stop").map((stop) => stop.replaceAll("\n", "\\n").replaceAll("\t", "\\t"));
    return {
      ...Object.fromEntries(sliders),
      system: given.get("system") ?? "",
      thinking: ["1", "true"].includes(given.get("thinking")),
      seed: /^-?\d{1,19}$/.test(seed) ? seed : "",
      stop: stops.filter(Boolean).join("\n"),
    };
  }

  // The models of a tab with their strengths; those that are not there are left as they were.
  function modelsOf({ tab, given }, known, current) {
    const values = {};
    const missing = [];
    for (const side of SIDES[tab]) {
      const id = given.get(side) || current[`${tab}.${side}`];
      const model = known.models.find((model) => model.id === id);
      if (!model) {
        missing.push(id);
        continue;
      }
      values[`${tab}.${side}`] = id;
      const strength = current[`${tab}.${side}_strength`];
      if (!strength) continue;
      const wanted = numberOf(given.get(`${side}_strength`), { ...STRENGTH, max: strength.max });
      const { tune, closed } = model;
      values[`${tab}.${side}_strength`] = { ...strength, shown: tune, closed, strength: tune && !closed ? wanted : 1 };
    }
    return { values, missing: missing.filter(Boolean) };
  }

  const shortened = (text) => (text.length > 80 ? `${text.slice(0, 77)}...` : text);
  const problem = (title, message) => ({ error: { title, message, advice: "" } });
  function absent(models) {
    const names = [...new Set(models)].map(shortened).join(", ");
    return `No such model: ${names}. The one that was chosen stays.`;
  }

  // What is not taken as the link has it, in words; an empty value asks for the default.
  function changes({ tab, given }, known, taken) {
    const isTaken = {
      v: () => true,
      prompt: () => true,
      system: () => true,
      stop: () => true,
      seed: (text) => text === taken.seed,
      thinking: (text) => ["1", "true", "0", "false"].includes(text),
      ...Object.fromEntries(Object.keys(known.numbers).map((name) => [name, (text) => Number(text) === taken[name]])),
    };
    const here = { ...taken, seed: taken.seed || "none", thinking: "off" };
    for (const side of SIDES[tab]) {
      isTaken[side] = () => true; // Of those that are not there more is said.
      const strength = taken[`${tab}.${side}_strength`];
      if (!strength) continue;
      isTaken[`${side}_strength`] = (text) => Number(text) === strength.strength;
      here[`${side}_strength`] = strength.strength;
    }
    const wrong = [...given].filter(([name, text]) => text && !(Object.hasOwn(isTaken, name) && isTaken[name](text)));
    const told = wrong.map(([name, text]) => `${shortened(name)} “${shortened(text)}” ${Object.hasOwn(isTaken, name) ? `is ${here[name]} here` : "means nothing here"}`);
    return told.length ? `${told.join("; ")}.` : "";
  }

  function noticeOf(missing, changed) {
    const title = missing.length ? "The link names a model that is not here" : "The page cannot take all of the link as it stands";
    const message = [missing.length ? absent(missing) : "", changed].filter(Boolean).join(" ");
    return message ? problem(title, message) : { error: null };
  }

  function valuesOf(request, known, current) {
    const { tab, given } = request;
    const shown = { tabs: { ...AS_IT_IS, selected: tab } };
    if ((given.get("v") ?? VERSION) !== VERSION) {
      const message = `It is of version ${shortened(given.get("v"))}, and this page reads version ${VERSION}.`;
      return { ...shown, [`${tab}.notice`]: problem("This link cannot be read", message) };
    }
    const { values, missing } = modelsOf(request, known, current);
    const taken = { ...values, ...settingsOf(given, known.numbers) };
    return {
      ...shown,
      ...taken,
      [`${tab}.prompt`]: given.get("prompt") ?? "",
      [`${tab}.notice`]: noticeOf(missing, changes(request, known, taken)),
    };
  }

  const named = (names, values) => Object.fromEntries(names.map((name, i) => [name, values[i]]));

  // A value for each name in `outputs`. A link is a whole request: what it leaves out stands at its default.
  function fill(inputs, outputs, known, values) {
    const request = read(asked);
    const filled = request ? valuesOf(request, known, named(inputs, values)) : {};
    return outputs.map((name) => filled[name] ?? AS_IT_IS);
  }

  function fragment(tab, known, page) {
    const given = new URLSearchParams({ v: VERSION });
    const add = (name, value, standard) => {
      if (value != null && value !== "" && value !== standard) given.append(name, value);
    };
    for (const side of SIDES[tab]) {
      add(side, page[side]);
      add(`${side}_strength`, page[`${side}_strength`]?.strength, STRENGTH.default);
    }
    add("prompt", page.prompt);
    add("system", page.system);
    for (const [name, allowed] of Object.entries(known.numbers)) add(name, page[name], allowed.default);
    add("thinking", page.thinking ? "1" : "");
    add("seed", page.seed);
    const unescaped = (line) => line.replaceAll("\\n", "\n").replaceAll("\\t", "\t");
    for (const line of (page.stop ?? "").split(LINE_BREAK)) add("stop", unescaped(line));
    // As link.py writes it: in prose an address must not end in a full stop, nor hold what form encoding leaves.
    const plainer = { "+": "%20", "*": "%2A", "%2F": "/", "%7E": "~" };
    const query = given.toString().replace(/\+|\*|%2F|%7E/g, (part) => plainer[part]).replace(/\.$/, "%2E");
    return `#${tab}?${query}`;
  }

  async function copy(tab, names, known, values) {
    const url = location.origin + location.pathname + fragment(tab, known, named(names, values));
    await playground.copyText(url, document.getElementById(`${tab}-copy-link`));
    return "Copied";
  }

  // As if the link had been opened; what is no such link does nothing.
  playground.openRequest = (hash) => {
    asked = hash;
    tell("fill", {});
  };
  addEventListener("hashchange", () => playground.openRequest(location.hash));

  return { fill, copy, fragment, attach: (trigger) => (tell = trigger) };
})();
