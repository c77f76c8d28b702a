// Draws the closer looks at a comparison: scores, the first split, prompts, strips of answers, an adapter, a proof.
// Knows the values that the handlers send. Text of models reaches the page as text nodes only.
Object.assign(playground, (() => {
  const { make } = playgroundText;
  const SHADES = 10; // The style sheet has so many steps of each colour.
  const FULL_SHADE = 4; // In natural log-probability: one model finds the token 55 times likelier.

  function action(words, onClick, className = "pg-action") {
    const node = make("button", className, words);
    node.type = "button";
    node.addEventListener("click", onClick);
    return node;
  }

  const paragraph = (text, className = "pg-summary") => make("p", className, text);

  function rows(pairs) {
    return make("dl", "pg-rows", ...pairs.map(([name, value]) => make("div", "", make("dt", "", name), make("dd", "", value))));
  }

  const percent = (share) => (share >= 0.995 ? "100%" : share >= 0.1 ? `${(share * 100).toFixed(0)}%` : share >= 0.001 ? `${(share * 100).toFixed(1)}%` : "< 0.1%");

  // What cannot be seen gets a sign; a token of white space alone would look like none.
  const visible = (text) => text.replace(/ /g, "␣").replace(/\n/g, "↵").replace(/\t/g, "⇥") || "∅";

  // Every look: a hint or a problem, or what was found; while it is looked for, what stands there stays.
  function look(drawDone) {
    return (element, props, trigger, watch) => {
      const body = make("div", "pg-look-body");
      const waiting = make("div", "pg-bar pg-unknown", make("div"));
      waiting.setAttribute("role", "progressbar");
      waiting.setAttribute("aria-label", "Looking");
      const problem = make("div", "pg-problem");
      problem.setAttribute("role", "alert");
      const node = make("section", "pg-look", waiting, problem, body);
      node.setAttribute("role", "tabpanel");
      element.querySelector(".pg-mount").replaceChildren(node);
      const press = (count = null) => trigger("submit", { count });
      const tools = { press, stop: () => trigger("stop") };

      function draw() {
        const value = JSON.parse(props.value.json);
        node.dataset.status = value.status;
        waiting.hidden = value.status !== "working";
        playground.drawProblem(problem, value.status === "failed" ? value.error : null);
        if (value.status === "idle" && value.run == null) body.replaceChildren(paragraph(value.hint, "pg-hint"));
        else if (value.status === "failed") body.replaceChildren();
        else if (value.status !== "working") drawDone(body, value, tools);
        else if (!body.firstChild || body.querySelector(":scope > .pg-hint:only-child")) body.replaceChildren();
      }
      draw();
      watch("value", draw);
    };
  }

  function sides(drawSide) {
    return (value, ...rest) => make("div", "pg-look-sides", ...value.sides.map((side) => make("div", "pg-look-side", make("h4", "", side.title), ...drawSide(side, ...rest))));
  }

  function alternatives(top, chosen) {
    const list = make("ol", "pg-top");
    for (const [text, share] of top) {
      const bar = make("span", "pg-share");
      bar.style.width = `${Math.round(share * 100)}%`;
      const item = make("li", text === chosen ? "pg-chosen" : "", bar, make("code", "", visible(text)), make("span", "pg-percent", percent(share)));
      list.append(item);
    }
    return list;
  }

  // Scores

  const tip = make("div", "pg-tip");
  tip.hidden = true;
  tip.setAttribute("role", "status");

  function showTip(span, [piece, own, other, ownTop, otherTop], models) {
    const side = (model, logprob, top) => make("div", "", make("strong", "", `${model}: ${percent(Math.exp(logprob))}`), alternatives(top, piece));
    tip.replaceChildren(make("code", "pg-tip-token", visible(piece)), make("div", "pg-tip-sides", side(models[0], own, ownTop), side(models[1], other, otherTop)));
    document.querySelector(".gradio-container").append(tip);
    tip.hidden = false;
    const box = span.getBoundingClientRect();
    const left = Math.min(box.left, document.documentElement.clientWidth - tip.offsetWidth - 8);
    const below = box.bottom + 6 + tip.offsetHeight < window.innerHeight;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${below ? box.bottom + 6 : Math.max(8, box.top - 6 - tip.offsetHeight)}px`;
  }

  // Cells that a mouse, a finger or the arrow keys go through; `show` hears of each, and of null at the end.
  function explore(node, cells, width, label, show) {
    node.tabIndex = 0;
    node.setAttribute("role", "group");
    node.setAttribute("aria-label", `${label}; arrow keys go from one to the next`);
    let at = -1;
    const go = (index) => {
      cells[at]?.classList.remove("pg-at");
      at = index ?? at;
      if (index == null) return show(null);
      cells[at].classList.add("pg-at");
      show(cells[at]);
    };
    const places = new Map(cells.map((cell, i) => [cell, i]));
    const under = (event) => places.has(event.target) && go(places.get(event.target));
    node.addEventListener("mouseover", under);
    node.addEventListener("click", under);
    node.addEventListener("mouseleave", () => go(null));
    node.addEventListener("blur", () => go(null));
    node.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: width, ArrowUp: -width }[event.key];
      if (event.key === "Escape") go(null);
      if (!step) return;
      event.preventDefault();
      go(Math.max(0, Math.min(cells.length - 1, at + step)));
    });
  }

  function heatMap({ tokens, models }) {
    const map = make("div", "pg-heat");
    const spans = [];
    tokens.forEach((token, i) => {
      if (!token[0]) return;
      const difference = token[1] - token[2];
      const shade = Math.min(SHADES, Math.round((Math.abs(difference) / FULL_SHADE) * SHADES));
      const span = make("span", shade ? `pg-${difference > 0 ? "own" : "other"}-${shade}` : "", token[0]);
      span.dataset.i = i;
      spans.push(span);
    });
    map.append(...spans);
    explore(map, spans, 1, "Tokens of the answer", (span) => (span ? showTip(span, tokens[span.dataset.i], models) : (tip.hidden = true)));
    return map;
  }

  function legend() {
    const steps = (name) => Array.from({ length: 5 }, (_, i) => make("i", `pg-${name}-${i * 2 + 2}`));
    const scale = make("span", "pg-scale", ...steps("other").reverse(), make("i"), ...steps("own"));
    return make("p", "pg-legend", "The other model finds it likelier", scale, "the other model would hardly have said it");
  }

  const drawScoreSides = sides((side) => [paragraph(side.summary), rows(side.rows), heatMap(side)]);
  const scores = look((body, value) => {
    tip.hidden = true;
    body.replaceChildren(legend(), drawScoreSides(value));
  });

  // The first split

  const drawChoices = sides((side) => [make("p", "pg-next", "goes on with ", make("code", "", visible(side.token))), alternatives(side.top, side.token)]);
  const parting = look((body, value) => {
    const shared = value.text ? [make("blockquote", "pg-shared", value.text)] : [];
    body.replaceChildren(paragraph(value.summary), ...shared, drawChoices(value));
  });

  // Prompts

  const drawTokens = sides((side) => [
    make("div", "pg-tokens", ...side.tokens.map(([id, text, special, alone]) => {
      const chip = make("span", `pg-token${special ? " pg-special" : ""}${alone ? " pg-alone" : ""}`, make("code", "", visible(text)), make("small", "", String(id)));
      chip.title = `${id}${special ? ", special" : ""}${alone ? ", on this side alone" : ""}`;
      return chip;
    })),
  ]);
  const prompts = look((body, value) => body.replaceChildren(paragraph(value.summary), drawTokens(value)));

  // Several answers at once

  function card(node, { label, state, text, progress, foot, error }) {
    const parts = [make("h4", "", label)];
    if (progress) parts.push(paragraph(`${progress.label}…`, "pg-hint"));
    if (text) parts.push(make("div", "pg-card-text", text));
    if (error) parts.push(make("p", "pg-card-error", error.message));
    if (state === "stopped") parts.push(make("span", "pg-cut", "Stopped"));
    if (foot) parts.push(make("p", "pg-card-foot", foot));
    node.dataset.state = state;
    node.replaceChildren(...parts);
  }

  function counter(value, max) {
    const input = make("input");
    Object.assign(input, { type: "range", min: 1, max, step: 1, value });
    const shown = make("output", "", value);
    input.addEventListener("input", () => (shown.textContent = input.value));
    return { node: make("label", "pg-count", "Answers a side", input, shown), count: () => Number(input.value) };
  }

  const strip = look((body, value, { press, stop }) => {
    let cards = body.querySelector(".pg-cards");
    if (!cards || value.status !== "running" || !("running" in cards.dataset)) {
      const wish = value.max ? counter(value.count, value.max) : null;
      const run = value.status === "running" ? action("Stop", stop) : action(value.run ?? "Run again", () => press(wish?.count()));
      cards = make("div", "pg-cards");
      if (value.status === "running") cards.dataset.running = "";
      body.replaceChildren(paragraph(value.hint, "pg-hint"), make("div", "pg-actions", ...(wish && value.status !== "running" ? [wish.node] : []), run), ...(value.summary ?? []).map((line) => paragraph(line)), cards);
    }
    cards.style.setProperty("--pg-columns", value.columns ?? 1);
    (value.cards ?? []).forEach((one, i) => {
      const node = cards.children[i] ?? cards.appendChild(make("article", "pg-card"));
      const key = JSON.stringify(one);
      if (node.dataset.drawn === key) return;
      node.dataset.drawn = key;
      card(node, one);
    });
  });

  // The adapter

  function grid({ kinds, layers, grid, largest }) {
    const cells = [];
    const cell = (found) => {
      const node = make("td");
      const shade = found && largest ? Math.round((found[0] / largest) * SHADES) : 0;
      node.className = shade ? `pg-own-${shade}` : found ? "pg-none" : "";
      node.dataset.words = found ? found[1] : "";
      cells.push(node);
      return node;
    };
    const head = make("tr", "", make("th", "", "Layer"), ...layers.map((layer) => make("th", "", String(layer))));
    const lines = kinds.map((kind, i) => make("tr", "", make("th", "", kind), ...grid[i].map(cell)));
    const table = make("table", "pg-grid", make("thead", "", head), make("tbody", "", ...lines));
    const words = make("p", "pg-cell-words", "\u00a0");
    words.setAttribute("role", "status");
    explore(table, cells, layers.length, "Changed weights by layer", (found) => (words.textContent = found?.dataset.words || "\u00a0"));
    return [make("div", "pg-table", table), words];
  }

  const drawAdapters = sides((side) => [
    rows(side.rows),
    ...(side.kinds.length ? [paragraph(side.summary), ...grid(side)] : []),
    ...side.others.map(([module, ratio]) => paragraph(`${module}: the change is ${percent(ratio)} of the weight.`)),
    ...(side.fidelity.length ? [rows(side.fidelity)] : []),
  ]);
  const adapter = look((body, value, { press }) => {
    const actions = value.merged ? [] : [make("div", "pg-actions", action("Compare with its merge", () => press()))];
    body.replaceChildren(drawAdapters(value), ...actions);
  });

  // Proof

  const SIGNS = { true: "✓", false: "✗", null: "?" };
  const drawProofs = sides((side) => [
    rows(side.rows),
    ...side.verdicts.map(({ ok, finding }) => make("p", `pg-verdict pg-verdict-${ok}`, make("b", "", SIGNS[ok]), finding)),
  ]);
  const proof = look((body, value, { press }) => {
    const flag = value.flag ? [paragraph(value.flag, "pg-flag")] : [];
    const actions = make("div", "pg-actions", action(value.checked ? "Check again" : "Check now", () => press()));
    body.replaceChildren(...flag, drawProofs(value), actions);
  });

  // The fold's head: a button, and a tab for each look while it is open.
  function fold(element, props, trigger) {
    const shown = make("style");
    const tabs = make("div", "pg-tabs");
    tabs.setAttribute("role", "tablist");
    const button = action(props.value.title, () => {
      const open = button.getAttribute("aria-expanded") !== "true";
      button.setAttribute("aria-expanded", open);
      tabs.hidden = !open;
      trigger(open ? "expand" : "collapse");
    }, "pg-fold");
    button.setAttribute("aria-expanded", "false");
    button.setAttribute("aria-controls", "looks");
    tabs.hidden = true;

    function turn(tab, name) {
      for (const other of tabs.children) {
        other.setAttribute("aria-selected", other === tab);
        other.tabIndex = other === tab ? 0 : -1;
      }
      shown.textContent = `[id^="look-"]:not(#look-${name}) { display: none; }`;
      tab.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
    for (const [name, title] of props.value.looks) {
      const tab = action(title, () => {
        turn(tab, name);
        trigger("select", { name });
      }, "pg-tab");
      tab.setAttribute("role", "tab");
      tab.setAttribute("aria-controls", `look-${name}`);
      tabs.append(tab);
    }
    tabs.addEventListener("keydown", (event) => {
      const step = { ArrowRight: "nextSibling", ArrowLeft: "previousSibling" }[event.key];
      const next = step && document.activeElement[step];
      if (next) next.focus(), next.click();
    });
    turn(tabs.firstChild, props.value.looks[0][0]);
    element.querySelector(".pg-mount").replaceChildren(shown, button, tabs);
  }

  return { fold, scores, parting, prompts, strip, adapter, proof, action, rows };
})());
