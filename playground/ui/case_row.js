// Draws one case of an evaluation: a line that unfolds to what was asked and expected, and to each answer in full.
// Knows a case as the REST API tells it. Text of models and specs reaches the page as text nodes only.
Object.assign(playground, (() => {
  const { make } = playgroundText;
  const { action, rows, milliseconds, shortNames } = playground;
  const CHANGES = { improved: "Improved", regressed: "Regressed", same: "Same" };
  const ROLES = { system: "System prompt", user: "Asked", assistant: "Answer before" };
  const MOST = 300; // Characters of a line; two lines of it are seen.

  function directed(tag, className, text) {
    const node = make(tag, className, text);
    node.dir = "auto";
    return node;
  }

  const sign = ({ passed }) => make("span", passed ? "pg-pass" : "pg-fail", passed ? "✓ passed" : "✗ not passed");
  const short = (text) => directed("span", "pg-case-words", text.slice(0, MOST));

  function line(found, names) {
    const answers = found.answers.map((one, i) => {
      const name = make("span", "pg-case-model", `${names[i]} `); // Where there is no head for it.
      return make("span", "pg-case-answer", make("span", "pg-case-sign", name, one ? sign(one) : make("span", "pg-hint", "not answered yet")), ...(one ? [short(one.error ?? one.content)] : []));
    });
    const change = found.answers.length === 2 ? [make("span", `pg-change pg-${found.change}`, CHANGES[found.change] ?? "")] : [];
    return [make("span", "pg-case-number", String(found.number + 1)), short(found.input), ...answers, ...change];
  }

  function answer(found, model) {
    if (!found) return make("div", "pg-look-side", make("h4", "", model), make("p", "pg-hint", "Not answered yet."));
    const thinking = found.thinking ? [make("details", "pg-thinking", make("summary", "", "Thinking"), directed("div", "", found.thinking))] : [];
    const text = found.content || !found.error ? [directed("pre", "pg-case-text", found.content || "No text.")] : [];
    const error = found.error ? [make("p", "pg-card-error", found.error)] : [];
    const failures = found.failures.length ? [make("ul", "pg-failures", ...found.failures.map((reason) => make("li", "", reason)))] : [];
    const { prompt_tokens: given, completion_tokens: written } = found.usage;
    const foot = [`${milliseconds(found.latency_ms)} in the batch`, given == null ? `${written} tokens out` : `${given} tokens in, ${written} out`];
    if (found.finish_reason === "length") foot.push("cut at the limit");
    return make("div", "pg-look-side", make("h4", "", model, " ", sign(found)), ...thinking, ...text, ...error, ...failures, make("p", "pg-hint", foot.join(" · ")));
  }

  // Every setting that the answers were asked with is written, whatever the page's own defaults are.
  function fragment({ messages }, { models: [left, right], max_tokens }) {
    const prompt = messages.findLast(({ role }) => role === "user")?.content;
    const system = messages.find(({ role }) => role === "system")?.content;
    const numbers = { temperature: {}, max_tokens: {} };
    return playground.link.fragment("compare", { numbers }, { left, right, prompt, system, temperature: 0, max_tokens });
  }

  function detail(found, evaluation) {
    const said = found.messages.map(({ role, content }) => [ROLES[role] ?? role, directed("div", "pg-kept-asked", content)]);
    const expected = found.expected == null ? [] : [["Expected", directed("div", "pg-kept-asked", found.expected)]];
    const rules = found.assertions.length ? [["Must hold", make("ul", "pg-rules", ...found.assertions.map((rule) => make("li", "", rule)))]] : [];
    const open = action("Open in Compare", () => {
      scrollTo({ top: 0 });
      playground.openRequest(fragment(found, evaluation));
    });
    const turns = found.messages.filter(({ role }) => role !== "system").length;
    const hint = turns > 1 ? [make("span", "pg-hint", "Compare asks the last message alone, without what was said before it.")] : [];
    return make("div", "pg-case-detail",
      rows([...said, ...expected, ...rules]),
      make("div", "pg-look-sides", ...evaluation.models.map((model, i) => answer(found.answers[i], model))),
      make("div", "pg-actions", open, ...hint));
  }

  // `update` draws it anew where it stands, so that what is unfolded and what has the focus stays so.
  function caseRow(evaluation) {
    let found = null;
    const body = make("div");
    body.hidden = true;
    const head = action("", () => {
      body.hidden = !body.hidden;
      draw();
    }, "pg-case");
    const node = make("li", "", head, body);

    function draw() {
      head.setAttribute("aria-expanded", !body.hidden);
      head.replaceChildren(...line(found, shortNames(evaluation.models)));
      body.replaceChildren(...(body.hidden ? [] : [detail(found, evaluation)]));
    }

    function update(one) {
      if (one === found) return;
      found = one;
      draw();
    }

    return { node, update };
  }

  return { caseRow };
})());
