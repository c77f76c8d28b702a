// Draws an answer's frame: a conversation, or one side of a comparison; and the difference of two answers.
// Knows the values that the handlers send. Text reaches the page as text nodes only.
const playground = (() => {
  const { make, blocks, block, json, looksLikeJson } = playgroundText;
  const WORDS = { retry: "Retry", edit: "Edit", copy: "Copy", raw: "Raw" };

  function button(name, label, onClick) {
    const node = make("button", "pg-tool", WORDS[name]);
    node.type = "button";
    node.dataset.tool = name;
    node.title = label;
    node.addEventListener("click", () => onClick(node));
    return node;
  }

  // Plain http and other sites' frames may leave a page without a clipboard; the older way works there.
  async function copyText(text, tool) {
    try {
      return await navigator.clipboard.writeText(text);
    } catch {}
    const area = make("textarea", "pg-off-stage");
    area.value = text;
    tool.after(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    tool.focus();
  }

  function copyButton(label, textOf) {
    return button("copy", label, async (tool) => {
      await copyText(textOf(), tool);
      tool.textContent = "Copied";
      setTimeout(() => (tool.textContent = WORDS.copy), 1200);
    });
  }

  // Draws again only the blocks that differ from what stands there.
  function drawText(node, text, raw) {
    const isJson = !raw && looksLikeJson(text);
    const mode = raw ? "raw" : isJson ? "json" : "markdown";
    if (node.dataset.mode !== mode) node.replaceChildren();
    node.dataset.mode = mode;
    if (raw) return void (node.textContent = text);
    if (isJson) return void node.replaceChildren(json(text));
    const sources = blocks(text);
    sources.forEach((source, i) => {
      const old = node.children[i];
      if (old && old.pgSource === source) return;
      const drawn = block(source);
      drawn.pgSource = source;
      old ? old.replaceWith(drawn) : node.append(drawn);
    });
    while (node.children.length > sources.length) node.lastChild.remove();
  }

  function drawProgress(node, progress) {
    node.hidden = !progress;
    if (!progress) return;
    const percent = progress.fraction == null ? null : Math.round(progress.fraction * 100);
    const words = [progress.label, percent == null ? "" : `${percent}%`, progress.detail].filter(Boolean).join(" · ");
    const waited = progress.seconds >= 1 ? `${progress.seconds} s` : "";
    node.querySelector(".pg-progress-words").textContent = words;
    node.querySelector(".pg-progress-time").textContent = waited;
    const bar = node.querySelector(".pg-bar");
    bar.classList.toggle("pg-unknown", percent == null);
    bar.setAttribute("aria-label", progress.label);
    if (percent == null) bar.removeAttribute("aria-valuenow");
    else bar.setAttribute("aria-valuenow", percent);
    bar.firstChild.style.width = percent == null ? "" : `${percent}%`;
  }

  function drawMetrics(list, metrics) {
    metrics.forEach((metric, i) => {
      const pair = list.children[i] ?? list.appendChild(make("div", "", make("dt"), make("dd")));
      pair.title = metric.meaning;
      pair.dataset.name = metric.name;
      pair.dataset.value = metric.value;
      pair.children[0].textContent = metric.name;
      pair.children[1].textContent = metric.value;
    });
  }

  const cutWords = ({ state, text }) =>
    ({ stopped: "Stopped", failed: text ? "Broken off by an error" : "No answer" })[state] ?? "";

  function makeAnswer(index, frame) {
    const node = make("article", "pg-answer");
    const bar = make("div", "pg-bar", make("div"));
    bar.setAttribute("role", "progressbar");
    const head = make("div", "pg-progress-head", make("span", "pg-progress-words"), make("span", "pg-progress-time"));
    const thinking = make("details", "pg-thinking", make("summary", "", "Thinking"), make("div"));
    const text = make("div", "pg-text");
    text.dir = "auto";
    const tools = make("div", "pg-tools");
    const state = { raw: false, value: null };
    const textTools = [
      button("raw", "Show the exact text", (tool) => {
        state.raw = !state.raw;
        tool.setAttribute("aria-pressed", state.raw);
        drawText(text, state.value.text, state.raw);
      }),
      copyButton("Copy the answer", () => state.value.text),
    ];
    tools.append(...textTools);
    if (frame.chat) tools.append(button("retry", "Answer again", () => frame.trigger("retry", { index })));
    const metrics = make("dl", "pg-metrics");
    const name = make("div", "pg-model");
    const cut = make("span", "pg-cut");
    const notes = make("div", "pg-notes");
    node.append(name, make("div", "pg-progress", head, bar), thinking, text, cut, notes);
    const source = make("p", "pg-source");
    const foot = make("div", "pg-foot", metrics);
    if (frame.chat) {
      foot.append(tools);
      node.append(foot);
    } else {
      frame.element.prepend(make("header", "pg-head", name, tools));
      foot.append(source);
      frame.element.append(foot);
    }
    thinking.hidden = true;

    function draw(value) {
      state.value = value;
      node.dataset.state = value.state;
      name.textContent = value.model;
      drawProgress(node.querySelector(".pg-progress"), value.progress);
      thinking.hidden = !value.thinking;
      thinking.classList.toggle("pg-live", value.state === "streaming" && !value.text);
      if (value.thinking) thinking.lastChild.textContent = value.thinking;
      drawText(text, value.text, state.raw);
      cut.textContent = cutWords(value);
      cut.hidden = !cut.textContent;
      notes.replaceChildren(...value.notes.map((note) => make("p", "", note)));
      drawMetrics(metrics, value.metrics);
      source.textContent = source.title = value.source;
      const over = !["idle", "waiting", "streaming"].includes(value.state);
      foot.classList.toggle("pg-over", over);
      textTools.forEach((tool) => (tool.disabled = !value.text));
    }
    return { node, draw };
  }

  function makeQuestion(index, frame) {
    const node = make("div", "pg-question");
    let shown = null;
    function show(text) {
      const edit = button("edit", "Edit the question", () => open(text));
      const bubble = make("div", "pg-bubble", text);
      bubble.dir = "auto";
      node.replaceChildren(edit, bubble);
    }
    function open(text) {
      const area = make("textarea", "pg-edit");
      area.value = text;
      area.rows = Math.min(8, text.split("\n").length + 1);
      area.setAttribute("aria-label", "Edited question");
      const save = make("button", "pg-save", "Ask again");
      const leave = make("button", "pg-leave", "Cancel");
      save.onclick = () => {
        if (area.value.trim()) frame.trigger("edit", { index, text: area.value });
        show(text);
      };
      leave.onclick = () => show(text);
      area.addEventListener("keydown", (event) => {
        if (event.key === "Escape") leave.click();
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) save.click();
      });
      node.replaceChildren(make("div", "pg-editing", area, make("div", "", leave, save)));
      area.focus();
    }
    function draw(text) {
      if (text !== shown) show(text);
      shown = text;
    }
    return { node, draw };
  }

  function drawProblem(node, error) {
    node.hidden = !error;
    const shown = JSON.stringify(error);
    if (node.dataset.shown === shown) return;
    node.dataset.shown = shown;
    const { title, message, advice } = error ?? {};
    const lines = error ? [make("strong", "", title), make("p", "", message)] : [];
    if (advice) lines.push(make("p", "pg-advice", advice));
    node.replaceChildren(...lines);
  }

  function answer(element, props, trigger, watch) {
    const chat = Boolean(props.value.chat);
    const root = element.querySelector(".pg-mount");
    const scroll = make("div", "pg-scroll");
    scroll.setAttribute("role", chat ? "log" : "group");
    scroll.setAttribute("aria-label", props.value.name);
    scroll.tabIndex = 0;
    const empty = make("p", "pg-empty");
    const problem = make("div", "pg-problem");
    problem.setAttribute("role", "alert");
    const frameNode = make("section", chat ? "pg-frame pg-chat" : "pg-frame", scroll, problem);
    root.replaceChildren(frameNode);
    scroll.append(empty);
    const frame = { chat, trigger, element: frameNode };
    let turns = [];
    let follows = true;
    scroll.addEventListener("scroll", () => {
      follows = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 48;
    });

    function draw() {
      const value = props.value;
      while (turns.length > value.turns.length) turns.pop().parts.forEach((part) => part.node.remove());
      value.turns.forEach((turn, i) => {
        if (!turns[i]) {
          const parts = chat ? [makeQuestion(i, frame), makeAnswer(i, frame)] : [makeAnswer(i, frame)];
          parts.forEach((part) => scroll.append(part.node));
          turns[i] = { parts, drawn: "" };
          follows = true;
        }
        const key = JSON.stringify(turn);
        if (turns[i].drawn === key) return;
        turns[i].drawn = key;
        if (turn.answer.state === "waiting") follows = true;
        if (chat) turns[i].parts[0].draw(turn.question);
        turns[i].parts[turns[i].parts.length - 1].draw(turn.answer);
      });
      const last = value.turns[value.turns.length - 1];
      const running = ["waiting", "streaming"].includes(last?.answer.state);
      frameNode.classList.toggle("pg-running", running);
      frameNode.setAttribute("aria-busy", running);
      if (chat) scroll.setAttribute("aria-live", running ? "off" : "polite");
      empty.textContent = value.empty;
      empty.hidden = chat ? value.turns.length > 0 : last.answer.state !== "idle";
      drawProblem(problem, value.error);
      if (follows) scroll.scrollTop = scroll.scrollHeight;
    }
    draw();
    watch("value", draw);
  }

  function problem(element, props, trigger, watch) {
    const node = make("div", "pg-problem");
    node.setAttribute("role", "alert");
    element.querySelector(".pg-mount").replaceChildren(node);
    const draw = () => drawProblem(node, props.value.error);
    draw();
    watch("value", draw);
  }

  function drawFields(fields, names) {
    const row = (tag, kind, ...cells) => make("tr", kind, ...cells.map((cell) => make(tag, "", cell)));
    const body = fields.map((field) => {
      const side = (tag, value) => (value == null ? make("span", "pg-absent", "absent") : make(tag, "", value));
      const same = field.kind === "same";
      const cells = [field.field, side(same ? "span" : "del", field.left), side(same ? "span" : "ins", field.right)];
      return row("td", `pg-${field.kind}`, ...cells);
    });
    const head = make("thead", "", row("th", "", "Field", ...names));
    return make("div", "pg-table", make("table", "pg-fields", head, make("tbody", "", ...body)));
  }

  function drawSegments(segments) {
    const tags = { same: "span", removed: "del", added: "ins" };
    const parts = segments.map((part) => make(tags[part.kind], "", part.text.trimEnd()));
    const node = make("div", "pg-segments", ...parts);
    if (segments.some((part) => part.kind === "same")) return node;
    return make("details", "", make("summary", "", "Show both as one text"), node);
  }

  function difference(element, props, trigger, watch) {
    const node = make("section", "pg-difference");
    node.setAttribute("aria-label", "Difference");
    element.querySelector(".pg-mount").replaceChildren(node);
    const draw = () => {
      const { summary, flag, segments, fields, names } = props.value;
      node.hidden = !summary;
      if (!summary) return node.replaceChildren();
      node.replaceChildren(make("h3", "", "Difference"), make("p", "pg-summary", summary));
      if (flag) node.append(make("p", "pg-flag", flag));
      if (fields.length) node.append(drawFields(fields, names));
      if (segments.length) node.append(drawSegments(segments));
    };
    draw();
    watch("value", draw);
  }

  // How much of a fine-tune is applied; a base has no such thing, and one on another server is applied whole.
  function strength(element, props, trigger, watch) {
    const input = make("input");
    const shown = make("output");
    const node = make("label", "pg-strength", "Strength", input, shown);
    Object.assign(input, { type: "range", min: 0, step: 0.05 });
    input.addEventListener("input", () => (props.value = { ...props.value, strength: Number(input.value) }));
    element.querySelector(".pg-mount").replaceChildren(node);
    const draw = () => {
      node.hidden = !props.value.shown;
      input.disabled = Boolean(props.value.closed);
      node.title = props.value.closed;
      input.max = props.value.max;
      if (Number(input.value) !== props.value.strength) input.value = props.value.strength;
      shown.textContent = Number(input.value).toFixed(2);
    };
    input.addEventListener("input", draw);
    draw();
    watch("value", draw);
  }

  // Gradio's box runs on Enter; people who come from elsewhere press Ctrl+Enter or Cmd+Enter.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    const box = event.target.closest?.('[id$="-prompt"]');
    if (!box) return;
    const run = document.getElementById(box.id.replace(/-prompt$/, "-run"));
    event.preventDefault();
    run?.click();
  });

  return { answer, problem, difference, strength, copyText, copyButton, drawText, drawProblem };
})();
