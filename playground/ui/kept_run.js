// Draws one run of the history: a line that unfolds to what was asked, what came, and what comes now.
// Knows a run as the REST API tells it. Text of models reaches the page as text nodes only.
Object.assign(playground, (() => {
  const { make } = playgroundText;
  const { action, rows } = playground;
  const KINDS = { compare: "Compare", single: "Single" };
  const ROLES = { system: "System prompt", user: "Prompt", assistant: "Answer before" };
  const SETTINGS = {
    temperature: "Temperature",
    max_tokens: "Max tokens",
    top_p: "Top-p",
    top_k: "Top-k",
    frequency_penalty: "Frequency penalty",
    presence_penalty: "Presence penalty",
  };
  const CUT = { stopped: "Stopped", failed: "Failed" };
  const VIEWS = { attached: "beside the base", merged: "merged" };
  const INFERENCE_OFF = "Running is switched off on this server.";
  const UNKNOWN = "–";
  const written = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

  // A button that asks once, where it stands, and then does it. Escape and Keep leave everything as it is.
  function asking(words, question, onYes, yes = "Delete") {
    const leave = () => {
      node.classList.remove("pg-asks");
      first.focus();
    };
    const first = action(words, () => {
      node.classList.add("pg-asks");
      keep.focus();
    });
    // What a second click would hit is what changes nothing.
    const keep = action("Keep", leave);
    const remove = action(yes, () => (leave(), onYes()), "pg-action pg-danger");
    const node = make("span", "pg-asking", first, make("span", "pg-asked", question, remove, keep));
    node.addEventListener("keydown", (event) => event.key === "Escape" && leave());
    return { node, button: first };
  }

  const named = ({ model, strength }) => (strength === 1 ? model : `${model} at ${strength}`);

  function voted({ vote, sides }) {
    const winner = { left: sides[0], right: sides[1] }[vote];
    if (winner) return `Voted for ${winner.model}`;
    return { tie: "Voted a tie", both_bad: "Voted for neither" }[vote];
  }

  function line(run) {
    const time = make("time", "", written.format(new Date(run.asked_at)));
    time.dateTime = run.asked_at;
    const about = make("span", "pg-kept-about", time, ` · ${KINDS[run.kind]} · `, run.sides.map(named).join(" and "));
    const vote = voted(run);
    if (vote) about.append(` · ${vote}`);
    const prompt = make("span", "pg-kept-prompt", run.sides[0].messages.at(-1).content.slice(0, 300));
    prompt.dir = "auto";
    return [prompt, about];
  }

  // What was asked

  function settings({ sides }, defaults) {
    const { sampling, thinking } = sides[0];
    const seeds = [...new Set(sides.map((side) => side.sampling.seed).filter((seed) => seed != null))];
    const changed = Object.entries(SETTINGS).filter(([name]) => sampling[name] !== defaults[name]);
    return rows([
      ...changed.map(([name, words]) => [words, String(sampling[name])]),
      ...(thinking ? [["Thinking", "on"]] : []),
      ...(sampling.stop.length ? [["Stop strings", sampling.stop.map((stop) => JSON.stringify(stop)).join(", ")]] : []),
      ["Seed", seeds.join(" and ") || UNKNOWN],
    ]);
  }

  function asked({ sides }) {
    const { messages } = sides[0];
    return rows(messages.map(({ role, content }) => {
      const text = make("div", "pg-kept-asked", content);
      text.dir = "auto";
      return [ROLES[role] ?? role, text];
    }));
  }

  // As the page's own link would be copied, from what stands in the run.
  function fragment({ kind, sides }, defaults) {
    const { sampling, messages, thinking } = sides[0];
    const names = kind === "compare" ? ["left", "right"] : ["model"];
    const models = sides.flatMap(({ model, strength }, i) => [[names[i], model], [`${names[i]}_strength`, { strength }]]);
    const numbers = Object.fromEntries(Object.entries(defaults).map(([name, value]) => [name, { default: value }]));
    const escaped = (stop) => stop.replaceAll("\n", "\\n").replaceAll("\t", "\\t");
    return playground.link.fragment(kind, { numbers }, {
      ...Object.fromEntries(models),
      ...sampling,
      prompt: messages.findLast(({ role }) => role === "user")?.content,
      system: messages.find(({ role }) => role === "system")?.content,
      thinking,
      stop: sampling.stop.map(escaped).join("\n"),
    });
  }

  // What came

  const tokens = (count) => (count == null ? UNKNOWN : `${count} token${count === 1 ? "" : "s"}`);
  const duration = (ms) => (ms == null ? UNKNOWN : ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);

  // Hashes by their first eight signs; whole, and each with its name, where the mouse rests.
  function source({ base_hash, revision, adapter_hash, view }, { strength }) {
    const parts = [["base", base_hash], ["revision", revision], ["adapter", adapter_hash]].filter(([, hash]) => hash);
    const how = adapter_hash ? [VIEWS[view] ?? view, ...(strength === 1 ? [] : [`strength ${strength}`])] : [];
    const node = make("span", "", [...parts.map(([name, hash]) => `${name} ${hash.slice(0, 8)}`), ...how].join(" · ") || UNKNOWN);
    node.title = parts.map(([name, hash]) => `${name} ${hash}`).join("\n");
    return node;
  }

  function answer({ state, content, thinking, error }) {
    const text = make("div", "pg-text");
    text.dir = "auto";
    playground.drawText(text, content, false);
    const node = make("div", "pg-kept-answer");
    node.tabIndex = 0;
    if (thinking) node.append(make("details", "pg-thinking", make("summary", "", "Thinking"), make("div", "", thinking)));
    node.append(content ? text : make("p", "pg-hint", "No text."));
    if (CUT[state]) node.append(make("span", "pg-cut", CUT[state]));
    if (error) node.append(make("p", "pg-card-error", error));
    return node;
  }

  function side(one) {
    const { answer: given } = one;
    const { prompt_tokens, completion_tokens } = given.usage;
    const { first_token_ms: first, latency_ms: whole } = given;
    return make("article", "pg-kept-side",
      make("h4", "", named(one)),
      answer(given),
      rows([
        ["Finish", given.finish_reason ?? given.state],
        ["Tokens", given.finish_reason ? `${tokens(prompt_tokens)} in, ${completion_tokens} out` : `${completion_tokens} out`],
        ["Latency", whole == null ? UNKNOWN : `${duration(first)} to the first token, ${duration(whole)} in all`],
        ["Given by", source(given, one)],
      ]),
      make("div", "pg-kept-again"));
  }

  // What comes now

  function drawAgain(node, { same, reading, answer: given }) {
    node.replaceChildren(make("p", `pg-verdict pg-verdict-${same}`, make("b", "", same ? "=" : "≠"), reading));
    if (!same && given.state !== "failed") node.append(make("h4", "", "Now"), answer(given));
  }

  function runAgain(run, enabled, sides) {
    const status = make("span", "pg-hint", enabled ? "" : INFERENCE_OFF);
    status.setAttribute("role", "status");
    const problem = make("div", "pg-problem");
    problem.setAttribute("role", "alert");
    problem.hidden = true;
    let waiting = null;
    const button = action("Run again", async () => {
      if (waiting) return waiting.abort();
      waiting = new AbortController();
      button.textContent = "Stop";
      status.textContent = "Running…";
      playground.drawProblem(problem, null);
      try {
        const { data } = await playground.rest(`runs/${run.id}/again`, { method: "POST", signal: waiting.signal });
        data.forEach((one, i) => drawAgain(sides[i].lastChild, one));
        status.textContent = "";
      } catch (error) {
        const stopped = error.name === "AbortError";
        status.textContent = stopped ? "Stopped." : "";
        if (!stopped) playground.drawProblem(problem, { title: "It was not run again", message: error.message });
      }
      waiting = null;
      button.textContent = "Run again";
    }, "pg-action pg-kept-run");
    button.disabled = !enabled;
    return { button, status, problem };
  }

  function open({ kind, ...run }, defaults) {
    return action(`Open in ${KINDS[kind]}`, () => {
      scrollTo({ top: 0 });
      playground.openRequest(fragment({ kind, ...run }, defaults));
    });
  }

  function body(run, { enabled, defaults }, onDelete) {
    const sides = run.sides.map(side);
    const again = runAgain(run, enabled, sides);
    const remove = asking("Delete", "Delete this run?", onDelete);
    return make("div", "pg-kept-body",
      asked(run),
      settings(run, defaults),
      make("div", "pg-actions", again.button, open(run, defaults), remove.node, again.status),
      again.problem,
      make("div", "pg-look-sides", ...sides));
  }

  // A run in the list; it is drawn whole when it is first unfolded. `onDelete` is asked to take it away.
  function keptRun(run, value, onDelete) {
    const head = action("", () => {
      const unfolded = head.getAttribute("aria-expanded") === "true";
      if (!unfolded && !node.children[1]) node.append(body(run, value, onDelete));
      head.setAttribute("aria-expanded", !unfolded);
      node.children[1].hidden = unfolded;
    }, "pg-kept-head");
    head.replaceChildren(make("span", "pg-kept-words", ...line(run)));
    head.setAttribute("aria-expanded", "false");
    const node = make("li", "pg-kept", head);
    return node;
  }

  return { keptRun, asking };
})());
