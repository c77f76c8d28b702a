// Draws what an evaluation has found: totals with their intervals, the table of cases, and blind votes on them.
// Knows cases and totals as the REST API tells them. Text of models and specs reaches the page as text nodes only.
Object.assign(playground, (() => {
  const { make } = playgroundText;
  const { action, rest } = playground;
  const PAGE = 100;
  const TOTALS_EVERY = 5; // Looks at the evaluation; the intervals take the server some work.
  const CHANGES = { improved: "Improved", regressed: "Regressed", same: "Same" };
  const FILTERS = {
    all: ["All", () => true],
    improved: ["Improved", (found) => found.change === "improved"],
    regressed: ["Regressed", (found) => found.change === "regressed"],
    failed: ["Not passed", (found) => found.answers.some((answer) => answer && !answer.passed)],
    cut: ["Cut", (found) => found.answers.some((answer) => answer?.finish_reason === "length")],
    missing: ["No answer yet", (found) => found.answers.includes(null)],
  };
  const KEYS = { a: "a", b: "b", t: "tie", n: "both_bad" };

  const percent = (share) => `${(100 * share).toFixed(1)}%`;
  const milliseconds = (value) => (value == null ? "–" : value < 1000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`);
  const sign = (answer) => (answer ? make("span", answer.passed ? "pg-pass" : "pg-fail", answer.passed ? "✓ passed" : "✗ not passed") : make("span", "pg-hint", "–"));
  const labelled = (node, label) => (node.setAttribute("aria-label", label), node);

  function svg(tag, attributes, ...children) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  }

  // A difference from -100 to 100 points with its interval, around a marked zero.
  function interval({ value, low, high }) {
    const at = (share) => 100 + 100 * share;
    const label = `${percent(value)}, between ${percent(low)} and ${percent(high)}`;
    return svg("svg", { viewBox: "0 0 200 18", class: "pg-diff-chart", role: "img", "aria-label": label },
      svg("line", { class: "pg-axis", x1: 0, x2: 200, y1: 9, y2: 9 }),
      svg("line", { class: "pg-zero", x1: 100, x2: 100, y1: 2, y2: 16 }),
      svg("line", { class: "pg-between", x1: at(low), x2: at(high), y1: 9, y2: 9 }),
      svg("circle", { cx: at(value), cy: 9, r: 4 }));
  }

  function side(found) {
    const share = found.num_answers ? found.num_passed / found.num_answers : 0;
    const bar = make("div", "pg-rate", make("div"));
    bar.firstChild.style.width = percent(share);
    const extra = [`first token ${milliseconds(found.first_token_ms)}, whole answer ${milliseconds(found.total_ms)}`, `${found.num_completion_tokens.toLocaleString()} tokens`];
    if (found.num_cut) extra.push(`${found.num_cut} cut`);
    if (found.num_failed) extra.push(`${found.num_failed} failed`);
    const rate = make("p", "pg-rate-words", make("strong", "", found.num_answers ? percent(share) : "–"), ` ${found.num_passed} of ${found.num_answers} passed`);
    return make("div", "pg-total", make("h4", "", found.model), rate, bar, make("p", "pg-hint", extra.join(" · ")));
  }

  function totals({ sides, measures, changes, num_votes: votes, win_rate: rate }) {
    const parts = [make("div", "pg-totals", ...sides.map(side)), make("p", "pg-hint", "Times are medians, measured while many cases were answered at once.")];
    if (sides.length === 2) {
      const rows = measures.map((found) => make("tr", "", make("th", "", found.label), make("td", "", percent(found.left)), make("td", "", percent(found.right)), make("td", "", ...(found.difference ? [interval(found.difference)] : [])), make("td", "pg-reading", found.reading)));
      parts.push(make("div", "pg-table", make("table", "pg-measures", make("tbody", "", ...rows))));
      parts.push(make("p", "", `${changes.improved} improved, ${changes.regressed} regressed, ${changes.same} the same.`));
    } else parts.push(...measures.map((found) => make("p", "", found.reading)));
    if (rate) parts.push(make("p", "", `Blind votes: ${sides[1].model} wins ${percent(rate.value)} of ${votes} (${percent(rate.low)} to ${percent(rate.high)}).`));
    return parts;
  }

  function answer(found, model) {
    if (!found) return make("div", "", make("h4", "", model), make("p", "pg-hint", "Not answered yet."));
    const failures = found.failures.length ? [make("ul", "pg-failures", ...found.failures.map((line) => make("li", "", line)))] : [];
    const text = found.error ? make("p", "pg-card-error", found.error) : make("pre", "pg-case-text", found.content);
    const foot = [milliseconds(found.latency_ms), `${found.usage.completion_tokens} tokens`, ...(found.finish_reason === "length" ? ["cut at the limit"] : [])];
    return make("div", "", make("h4", "", model, " ", sign(found)), text, ...failures, make("p", "pg-hint", foot.join(" · ")));
  }

  // As link.js writes it.
  function request(found, { models, max_tokens: most }) {
    const given = new URLSearchParams({ v: "1", left: models[0] });
    if (models[1]) given.append("right", models[1]);
    given.append("prompt", found.messages.at(-1).content);
    if (found.messages[0].role === "system") given.append("system", found.messages[0].content);
    given.append("temperature", 0);
    given.append("max_tokens", most);
    return `#compare?${given.toString().replaceAll("+", "%20")}`;
  }

  function detail(found, evaluation) {
    const turns = found.messages.slice(0, -1).map(({ role, content }) => make("p", "pg-hint", `${role}: ${content}`));
    const expected = found.expected == null ? [] : [make("h4", "", "Expected"), make("pre", "pg-case-text", found.expected)];
    const rules = found.assertions.length ? [make("p", "pg-hint", found.assertions.join(" · "))] : [];
    const sides = make("div", "pg-look-sides", ...evaluation.models.map((model, i) => answer(found.answers[i], model)));
    const open = action("Open in Compare", () => playground.openRequest(request(found, evaluation)));
    return make("div", "pg-case-detail", ...turns, make("pre", "pg-case-text", found.input), ...expected, ...rules, sides, make("div", "pg-actions", open));
  }

  function findings(id, isCurrent) {
    const above = make("div");
    const tools = make("div", "pg-case-tools");
    const list = make("ul", "pg-cases");
    const more = action("Show more", () => (limit += PAGE, draw()));
    const blind = make("div", "pg-blind-cases");
    const node = make("div", "pg-findings", above, tools, list, more, blind);
    const cases = [];
    let evaluation = null;
    let last = 0;
    let looks = 0;
    let limit = PAGE;
    let words = "";
    let filter = "all";
    const unfolded = new Set();

    const search = make("input", "pg-search");
    Object.assign(search, { type: "search", placeholder: "Search the cases" });
    labelled(search, "Search the cases");
    search.addEventListener("input", () => (words = search.value.toLocaleLowerCase(), draw()));
    const choice = make("select", "pg-select");
    for (const [name, [title]] of Object.entries(FILTERS)) choice.append(new Option(title, name));
    labelled(choice, "Which cases");
    choice.addEventListener("change", () => (filter = choice.value, draw()));
    const count = make("span", "pg-hint");
    count.setAttribute("role", "status");
    const vote = action("Vote blind", () => ballot());
    tools.append(search, choice, count, vote);

    const text = (found) => [found.input, found.expected, ...found.answers.map((one) => one?.content)].join("\n").toLocaleLowerCase();
    const undecided = () => cases.filter((found) => found.vote == null && found.answers.length === 2 && found.answers.every((one) => one?.state === "done"));

    function line(found) {
      const head = action("", () => {
        unfolded.has(found.number) ? unfolded.delete(found.number) : unfolded.add(found.number);
        item.replaceWith(line(found));
      }, "pg-case");
      head.setAttribute("aria-expanded", unfolded.has(found.number));
      const answers = found.answers.map((one) => make("span", "pg-case-answer", sign(one), make("span", "", one ? (one.error ?? one.content).slice(0, 300) : "")));
      const change = make("span", `pg-change pg-${found.change}`, CHANGES[found.change] ?? "");
      head.append(make("span", "pg-hint", String(found.number + 1)), make("span", "pg-case-input", found.input.slice(0, 300)), ...answers, change);
      const item = make("li", "", head, ...(unfolded.has(found.number) ? [detail(found, evaluation)] : []));
      item.dataset.number = found.number;
      return item;
    }

    function draw() {
      const chosen = cases.filter((found) => FILTERS[filter][1](found) && (!words || text(found).includes(words)));
      list.style.setProperty("--pg-sides", evaluation?.models.length ?? 1);
      list.replaceChildren(...chosen.slice(0, limit).map(line));
      count.textContent = `${chosen.length} of ${cases.length}`;
      more.hidden = chosen.length <= limit;
      vote.hidden = !undecided().length;
    }

    async function drawTotals() {
      const { data } = await rest(`evaluations/${id}/totals`);
      if (isCurrent()) above.replaceChildren(...totals(data));
    }

    async function refresh(found) {
      const ended = evaluation && evaluation.state === "running" && found.state !== "running";
      evaluation = found;
      const { data } = await rest(`evaluations/${id}/cases?after=${last}`);
      if (!isCurrent()) return;
      last = data.last;
      for (const one of data.cases) cases[one.number] = one;
      if (data.cases.length) draw();
      if (looks++ % TOTALS_EVERY === 0 || ended || found.state !== "running") await drawTotals();
    }

    // Blind votes: one pair after another, in an order by chance; nothing else of the evaluation is in sight meanwhile.
    function ballot() {
      const left = undecided().map((found) => found.number).sort(() => Math.random() - 0.5);
      const place = node.closest(".pg-evaluate");
      place.classList.add("pg-voting");
      let pair = null;
      let voted = false;

      const leave = () => {
        place.classList.remove("pg-voting");
        removeEventListener("keydown", press);
        blind.replaceChildren();
        draw();
        drawTotals();
      };

      async function choose(what) {
        if (!pair || voted) return;
        voted = true;
        try {
          const { data } = await rest(`evaluations/${id}/cases/${pair.number}/vote`, { method: "POST", body: { choice: what } });
          cases[pair.number].vote = data.vote;
          show(data);
        } catch (error) {
          blind.append(make("p", "pg-card-error", error.message));
          voted = false;
        }
      }

      function press(event) {
        if (!blind.isConnected) return leave();
        if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches?.("input, textarea, select")) return;
        if (event.key === "Escape") leave();
        else if (event.key === "Enter" && voted) event.preventDefault(), next();
        else if (KEYS[event.key.toLowerCase()]) event.preventDefault(), choose(KEYS[event.key.toLowerCase()]);
      }

      function show(names) {
        const answers = [["A", pair.a], ["B", pair.b]].map(([letter, words]) => make("div", "pg-look-side", make("h4", "", names ? `${letter}: ${names[letter.toLowerCase()]}` : `Answer ${letter}`), make("pre", "pg-case-text", words)));
        const buttons = names
          ? [action(left.length ? "Next (Enter)" : "Done", next, "pg-action pg-primary")]
          : [["A is better (A)", "a"], ["B is better (B)", "b"], ["Tie (T)", "tie"], ["Neither is good (N)", "both_bad"]].map(([title, what]) => action(title, () => choose(what)));
        blind.replaceChildren(make("p", "pg-hint", `${left.length + 1} to vote on`), make("pre", "pg-case-text", pair.messages.at(-1).content), make("div", "pg-look-sides", ...answers), make("div", "pg-actions", ...buttons, action("Leave (Esc)", leave)));
      }

      async function next() {
        if (!left.length) return leave();
        voted = false;
        try {
          pair = (await rest(`evaluations/${id}/cases/${left.pop()}/blind`)).data;
          show(null);
        } catch (error) {
          blind.replaceChildren(make("p", "pg-card-error", error.message), make("div", "pg-actions", action("Leave", leave)));
        }
      }
      addEventListener("keydown", press);
      next();
    }

    return { node, refresh };
  }

  return { findings };
})());
