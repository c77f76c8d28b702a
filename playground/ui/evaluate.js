// Draws the Evaluate tab: a spec chosen and read, an evaluation begun, and earlier ones listed.
// Knows the REST routes that check specs, begin evaluations and list them. Text of specs stays text.
Object.assign(playground, (() => {
  const { make } = playgroundText;
  const { action, rest, evaluation, isUnderWay, INFERENCE_OFF, evaluationProblems: problems, evaluationProgress: progress } = playground;
  const POLL_MS = 2000;
  const MAX_BYTES = 4 * 1024 * 1024; // As a request has at most: the server may cut off a larger one without a word.
  const REMEMBERED = "playground-evaluations";
  const written = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

  const paragraph = (text) => make("p", "pg-hint", text);

  // Where nobody signs in no list is given: what was begun in this browser is remembered by it.
  const remembered = () => {
    try {
      return JSON.parse(localStorage.getItem(REMEMBERED)) ?? [];
    } catch {
      return [];
    }
  };
  const remember = (ids) => {
    try {
      localStorage.setItem(REMEMBERED, JSON.stringify(ids.slice(0, 50)));
    } catch {} // A browser that keeps nothing; the server still does.
  };

  async function earlier() {
    const { data } = await rest("evaluations");
    if (data.length) return data;
    const found = await Promise.all(remembered().map((id) => rest(`evaluations/${id}`).catch(() => null)));
    return found.filter(Boolean).map((reply) => reply.data);
  }

  function select(label, name, models, chosen, none) {
    const node = make("select", "pg-select");
    node.setAttribute("aria-label", name);
    if (none) node.append(new Option(none, ""));
    const isTwice = ({ name }) => models.filter((other) => other.name === name).length > 1;
    for (const model of models) node.append(new Option(isTwice(model) ? model.id : model.name, model.id, false, model.id === chosen));
    return { node: make("label", "pg-field", make("span", "", label), node), value: () => node.value };
  }

  function constraints(list) {
    if (!list.length) return [];
    const lines = list.map(({ text, reading, enforced }) => make("li", enforced ? "" : "pg-unenforced", text, make("span", "", reading)));
    const num = list.filter(({ enforced }) => enforced).length;
    return [make("details", "pg-constraints", make("summary", "", `${num} of ${list.length} constraints are checked`), make("ul", "", ...lines))];
  }

  // A byte that is no UTF-8 breaks it, as it does for whoever reads the file from a shell.
  const decoded = async (file) => new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(await file.arrayBuffer());

  function dropPlace(take) {
    const input = make("input");
    input.type = "file";
    input.accept = ".json,.jsonl";
    input.addEventListener("change", () => take(input.files[0]));
    const node = make("label", "pg-drop", input, make("strong", "", "Choose a behaviour spec"), make("span", "", "or drop it here: a tunedtensor.json, or chat JSON Lines"));
    const over = (is) => (event) => {
      event.preventDefault();
      node.classList.toggle("pg-over", is);
    };
    node.addEventListener("dragover", over(true));
    node.addEventListener("dragleave", over(false));
    node.addEventListener("drop", (event) => {
      over(false)(event);
      take(event.dataTransfer.files[0]);
    });
    return node;
  }

  // The evaluations that there were, the latest first; `update` keeps the lines that stand there.
  function earlierList(onOpen) {
    const lines = make("div", "pg-earlier-lines");
    const node = make("div", "pg-earlier", make("h3", "", "Earlier"), lines);
    node.hidden = true;
    const known = new Map();

    function lineOf(found) {
      if (!known.has(found.id)) known.set(found.id, action("", () => onOpen(found.id), "pg-earlier-one"));
      const line = known.get(found.id);
      const when = written.format(new Date(found.started_at));
      line.replaceChildren(make("strong", "", found.name), make("span", "", [found.models.join(" and "), progress(found), when].join(" · ")));
      return line;
    }

    function update(found) {
      const wanted = found.map(lineOf);
      if (wanted.length !== lines.children.length || wanted.some((line, i) => line !== lines.children[i])) lines.replaceChildren(...wanted);
      node.hidden = !wanted.length;
    }

    return { node, update };
  }

  function evaluate(element, props) {
    const { enabled, demo } = props.value;
    const place = make("div", "pg-evaluate");
    element.querySelector(".pg-mount").replaceChildren(place);
    let shown = 0; // Grows with each view: what an earlier one still waits for is of no use.
    let wake = () => {}; // What a view wants to do when the tab comes into sight.

    const inSight = () => place.isConnected && place.offsetParent !== null && !document.hidden;
    function view(...nodes) {
      place.classList.remove("pg-voting");
      place.replaceChildren(...nodes);
      wake = () => {};
      const mine = ++shown;
      return () => mine === shown;
    }

    function start() {
      const tries = demo ? [make("div", "pg-actions", action("Try the demo's spec", () => read(demo, "tunedtensor.json")))] : [];
      const list = earlierList(open);
      const lost = make("div");
      const isCurrent = view(dropPlace(take), ...tries, lost, list.node);
      let turn = 0;
      wake = async function look() {
        const mine = ++turn;
        const isLast = () => isCurrent() && mine === turn && inSight();
        if (!isLast()) return;
        try {
          const found = await earlier();
          if (!isLast()) return;
          list.update(found);
          lost.replaceChildren();
          if (found.some(isUnderWay)) setTimeout(() => isLast() && look(), POLL_MS);
        } catch (error) {
          if (isLast()) lost.replaceChildren(problems(error.message));
        }
      };
      wake();
    }

    async function take(file) {
      if (!file) return;
      if (file.size > MAX_BYTES) return refuse(file.name, `${file.name}: it has ${file.size.toLocaleString()} bytes, and ${MAX_BYTES.toLocaleString()} are the limit`);
      try {
        read(await decoded(file), file.name);
      } catch (error) {
        refuse(file.name, `${file.name}: cannot be read: ${error instanceof TypeError ? "it is not text in UTF-8" : error.message}`);
      }
    }

    const back = () => make("div", "pg-actions", action("Back", start));
    const refuse = (fileName, message) => view(back(), make("h3", "", fileName), problems(message));

    async function read(spec, fileName) {
      const isCurrent = view(back(), paragraph("Reading the spec…"));
      const asked = { spec, file_name: fileName.slice(-200) };
      try {
        const [{ data: checked }, { data: models }] = await Promise.all([rest("evaluations/check", { method: "POST", body: asked }), rest("models")]);
        if (isCurrent()) ready(checked, [...models.base_models, ...models.fine_tuned_models], asked);
      } catch (error) {
        if (isCurrent()) refuse(fileName, error.message);
      }
    }

    // A spec that can be run: what it says, and which models to ask.
    function ready(checked, models, asked) {
      const first = select("Compare", "Model to compare", models, checked.models[0]);
      const second = select("with", "Model to compare with", models, checked.models[1], "no other model");
      const limit = make("input", "pg-number");
      Object.assign(limit, { type: "number", min: 1, max: 4096, value: 1024 });
      const told = make("div");
      const run = action("Run", async () => {
        run.disabled = true;
        const chosen = [first.value(), second.value()].filter(Boolean);
        try {
          const { data } = await rest("evaluations", { method: "POST", body: { ...asked, models: chosen, max_tokens: Number(limit.value) } });
          remember([data.id, ...remembered()]);
          if (isCurrent()) open(data.id);
        } catch (error) {
          told.replaceChildren(problems(error.message));
          run.disabled = false;
        }
      }, "pg-action pg-primary");
      run.disabled = !enabled;
      const fields = make("div", "pg-fields", first.node, second.node, make("label", "pg-field", make("span", "", "Max tokens"), limit), run);
      const hints = [
        ...(checked.description ? [checked.description] : []),
        `${checked.num_cases} ${checked.num_cases === 1 ? "case" : "cases"}, asked at temperature 0`,
      ];
      const notes = [
        ...(checked.models.length ? [] : ["The spec names no base model that is here: choose which models to ask."]),
        ...(enabled ? [] : [INFERENCE_OFF]),
      ];
      const isCurrent = view(back(), make("h3", "", checked.name), ...hints.map(paragraph), ...constraints(checked.constraints), fields, ...notes.map(paragraph), told);
    }

    function open(id) {
      const isCurrent = view();
      const forget = (gone) => {
        remember(remembered().filter((other) => other !== gone));
        start();
      };
      place.append(evaluation(id, enabled, { isCurrent, inSight: () => isCurrent() && inSight(), back: start, onDelete: forget }));
    }

    start();
    new IntersectionObserver((entries) => entries.at(-1).isIntersecting && wake()).observe(place);
    document.addEventListener("visibilitychange", () => wake());
  }

  return { evaluate };
})());
