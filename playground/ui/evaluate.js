// Draws the Evaluate tab: a spec chosen and read, an evaluation begun, watched, halted and resumed; earlier ones listed.
// Knows the REST routes of evaluations. Text of models and specs reaches the page as text nodes only.
Object.assign(playground, (() => {
  const { make } = playgroundText;
  const { action, asking, rest, restAddress } = playground;
  const POLL_MS = 1000;
  const STATES = {
    running: "Running", elsewhere: "Run by another process", interrupted: "Interrupted", paused: "Paused",
    stopped: "Stopped", failed: "Failed", done: "Done",
  };
  const REMEMBERED = "playground-evaluations";
  const written = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

  const one = (id) => `evaluations/${id}`;
  const paragraph = (text, className = "pg-hint") => make("p", className, text);

  function problems(message) {
    const node = make("div", "pg-problem", ...message.split("\n").map((line) => make("p", "", line)));
    node.setAttribute("role", "alert");
    return node;
  }

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
    } catch {}
  };

  async function earlier() {
    const { data } = await rest("evaluations");
    if (data.length) return data;
    const found = await Promise.all(remembered().map((id) => rest(one(id)).catch(() => null)));
    return found.filter(Boolean).map((reply) => reply.data);
  }

  function duration(seconds) {
    const whole = Math.max(1, Math.round(seconds));
    return whole < 90 ? `${whole} s` : `${Math.round(whole / 60)} min`;
  }

  function progress({ state, num_answers: done, num_wanted: all, seconds_left: left }) {
    const told = `${done} of ${all} answers`;
    if (state === "running") return left == null ? told : `${told} · ${duration(left)} left`;
    return state === "done" ? STATES.done : `${STATES[state]} · ${told}`;
  }

  function select(label, models, chosen, none) {
    const node = make("select", "pg-select");
    if (none) node.append(new Option(none, ""));
    for (const model of models) node.append(new Option(model.name, model.id, false, model.id === chosen));
    return { node: make("label", "pg-field", make("span", "", label), node), value: () => node.value };
  }

  function constraints(list) {
    if (!list.length) return [];
    const lines = list.map(({ text, reading, enforced }) => make("li", enforced ? "" : "pg-unenforced", text, make("span", "", ` ${reading}`)));
    const num = list.filter((one) => one.enforced).length;
    return [make("details", "pg-constraints", make("summary", "", `${num} of ${list.length} constraints are checked`), make("ul", "", ...lines))];
  }

  function evaluate(element, props) {
    const { enabled, demo } = props.value;
    const place = make("div", "pg-evaluate");
    element.querySelector(".pg-mount").replaceChildren(place);
    let shown = 0; // Grows with each view: what an earlier one still waits for is of no use.

    const inSight = () => place.isConnected && place.offsetParent !== null && !document.hidden;

    // The start: a spec, and what was evaluated before.
    async function start() {
      const view = ++shown;
      const input = make("input");
      input.type = "file";
      input.accept = ".json,.jsonl";
      const drop = make("label", "pg-drop", input, make("strong", "", "Choose a behaviour spec"), make("span", "", "or drop it here: a tunedtensor.json, or chat JSON Lines"));
      const take = async (file) => file && read(await file.text(), file.name);
      input.addEventListener("change", () => take(input.files[0]));
      drop.addEventListener("dragover", (event) => event.preventDefault());
      drop.addEventListener("drop", (event) => (event.preventDefault(), take(event.dataTransfer.files[0])));
      const tries = demo ? [action("Try the demo's spec", () => read(demo, "tunedtensor.json"))] : [];
      const list = make("div", "pg-earlier");
      place.replaceChildren(drop, make("div", "pg-actions", ...tries), list);
      if (!inSight()) return;
      try {
        const found = await earlier();
        if (view !== shown) return;
        const lines = found.map((evaluation) => {
          const about = `${evaluation.models.join(" and ")} · ${progress(evaluation)} · ${written.format(new Date(evaluation.started_at))}`;
          const line = action("", () => open(evaluation.id), "pg-earlier-one");
          line.append(make("strong", "", evaluation.name), make("span", "", about));
          return line;
        });
        list.replaceChildren(...(lines.length ? [make("h3", "", "Earlier"), ...lines] : []));
      } catch (error) {
        if (view === shown) list.replaceChildren(problems(error.message));
      }
    }

    // A spec that was chosen: what it says, and which models to ask.
    async function read(spec, fileName) {
      const view = ++shown;
      const back = make("div", "pg-actions", action("Back", start));
      place.replaceChildren(back, paragraph("Reading the spec…"));
      try {
        const asked = { spec, file_name: fileName };
        const [{ data: checked }, { data: models }] = await Promise.all([rest("evaluations/check", { method: "POST", body: asked }), rest("models")]);
        if (view === shown) ready(checked, [...models.base_models, ...models.fine_tuned_models], asked, back);
      } catch (error) {
        if (view === shown) place.replaceChildren(back, make("h3", "", fileName), problems(error.message));
      }
    }

    function ready(checked, models, asked, back) {
      const first = select("Compare", models, checked.models[0]);
      const second = select("with", models, checked.models[1], "no other model");
      const limit = make("input", "pg-number");
      Object.assign(limit, { type: "number", min: 1, max: 4096, value: 1024 });
      const told = make("div");
      const run = action("Run", async () => {
        run.disabled = true;
        try {
          const chosen = [first.value(), second.value()].filter(Boolean);
          const { data } = await rest("evaluations", { method: "POST", body: { ...asked, models: chosen, max_tokens: Number(limit.value) } });
          remember([data.id, ...remembered()]);
          open(data.id);
        } catch (error) {
          told.replaceChildren(problems(error.message));
          run.disabled = false;
        }
      }, "pg-action pg-primary");
      run.disabled = !enabled;
      const fields = make("div", "pg-fields", first.node, second.node, make("label", "pg-field", make("span", "", "Max tokens"), limit), run);
      const words = `${checked.num_cases} ${checked.num_cases === 1 ? "case" : "cases"}, asked greedily`;
      const off = enabled ? [] : [paragraph("Running is switched off on this server.")];
      place.replaceChildren(back, make("h3", "", checked.name), ...(checked.description ? [paragraph(checked.description)] : []), paragraph(words), ...constraints(checked.constraints), fields, ...off, told);
    }

    // An evaluation: how far it is, and what it has found.
    async function open(id) {
      const view = ++shown;
      const head = make("div", "pg-evaluation-head");
      const bar = make("div", "pg-bar", make("div"));
      bar.setAttribute("role", "progressbar");
      bar.setAttribute("aria-label", "Answers");
      const words = make("p", "pg-hint");
      words.setAttribute("role", "status");
      const told = make("div");
      const findings = playground.findings(id, () => view === shown);
      place.replaceChildren(head, bar, words, told, findings.node);
      let drawnState = null;
      let askedFor = 0;

      async function act(path, method = "POST") {
        try {
          const reply = await rest(path, { method });
          told.replaceChildren();
          return reply;
        } catch (error) {
          told.replaceChildren(problems(error.message));
          return null;
        }
      }

      function draw(evaluation) {
        const { state, num_answers: done, num_wanted: all } = evaluation;
        bar.firstChild.style.width = `${(100 * done) / all}%`;
        bar.hidden = state === "done";
        words.textContent = `${evaluation.models.join(" and ")} · ${progress(evaluation)}`;
        if (state === drawnState) return;
        drawnState = state;
        if (evaluation.problem) told.replaceChildren(problems(evaluation.problem));
        const again = async (verb) => (await act(`${one(id)}/${verb}`)) && tick();
        const running = state === "running";
        const buttons = [action("Back", start)];
        if (running) buttons.push(action("Pause", () => again("pause")), action("Stop", () => again("stop")));
        else if (state !== "done" && state !== "elsewhere" && enabled) buttons.push(action("Resume", () => again("resume")));
        const files = ["html", "md", "json", "csv"].map((form) => {
          const link = make("a", "", form.toUpperCase());
          link.href = restAddress(`${one(id)}/report?format=${form}`);
          link.download = "";
          return link;
        });
        const remove = asking("Delete", "Delete it with its answers and votes?", async () => {
          if (await act(one(id), "DELETE")) remember(remembered().filter((other) => other !== id)), start();
        });
        head.replaceChildren(make("h3", "", evaluation.name), make("div", "pg-actions", ...buttons, make("span", "pg-files", "Report: ", ...files), remove.node));
      }

      async function tick() {
        const turn = ++askedFor;
        try {
          if (inSight() || drawnState === null) {
            const { data } = await rest(one(id));
            if (view !== shown || turn !== askedFor) return;
            draw(data);
            await findings.refresh(data);
          }
        } catch (error) {
          if (view === shown) told.replaceChildren(problems(error.message));
        }
        if (view === shown && turn === askedFor && (drawnState === "running" || drawnState === null)) setTimeout(tick, POLL_MS);
      }
      tick();
    }

    // The list is taken when the tab comes into sight, and not before: most people never open it.
    new IntersectionObserver(([entry]) => entry.isIntersecting && !place.querySelector(".pg-evaluation-head, .pg-fields, .pg-problem") && start()).observe(place);
    start();
  }

  return { evaluate };
})());
