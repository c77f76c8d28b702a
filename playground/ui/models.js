// Draws the Models tab: the memory that models share, each model, and how one is added.
// Knows the library's routes; asks only while somebody can see it.
Object.assign(playground, (() => {
  const { make } = playgroundText;
  const { rest, modelRow, columnHeads, addModel, merges, fileSize: size, drawProblem } = playground;
  const POLL_MS = 2000;
  const BUSY_POLL_MS = 500;

  function memoryBar() {
    const fill = make("div");
    const bar = make("div", "pg-bar pg-memory-bar", fill);
    bar.setAttribute("role", "meter");
    bar.setAttribute("aria-label", "Memory");
    const words = make("span", "pg-memory-words");
    function draw({ used_bytes: used, budget_bytes: budget }) {
      words.textContent = `${size(used)} of ${size(budget)} of memory in use`;
      fill.style.width = `${Math.min(100, (100 * used) / budget)}%`;
      for (const [name, value] of [["min", 0], ["now", used], ["max", budget]]) bar.setAttribute(`aria-value${name}`, value);
    }
    return { node: make("div", "pg-memory", words, bar), draw };
  }

  function models(element, props) {
    const { enabled } = props.value;
    const problem = make("div", "pg-problem");
    problem.setAttribute("role", "alert");
    problem.hidden = true;
    const broken = problem.cloneNode();
    const memory = memoryBar();
    const list = make("ul", "pg-models");
    list.setAttribute("role", "rowgroup");
    const table = make("div", "pg-models-table", columnHeads(), list);
    table.setAttribute("role", "table");
    table.setAttribute("aria-label", "Models");
    const adding = addModel(look);
    adding.node.hidden = true;
    const saving = merges(look);
    const place = make("div", "pg-library", make("div", "pg-library-head", memory.node, adding.node), saving.node, broken, problem, table);
    element.querySelector(".pg-mount").replaceChildren(place);
    const rows = new Map(); // By id, so that what is there stays where it is.
    let turn = 0;

    const inSight = () => place.isConnected && place.offsetParent !== null && !document.hidden;

    function draw(found) {
      memory.draw(found.memory);
      adding.node.hidden = !found.may_manage;
      adding.draw(found);
      drawProblem(broken, found.problems.length ? { title: "What was added needs mending", message: found.problems.join("\n") } : null);
      const wanted = found.models.map((model) => {
        if (!rows.has(model.id)) rows.set(model.id, modelRow());
        const row = rows.get(model.id);
        row.draw(model, { act, save: found.may_save && saving.save, mayManage: found.may_manage, enabled });
        return row.node;
      });
      if (wanted.length !== list.children.length || wanted.some((node, i) => node !== list.children[i])) list.replaceChildren(...wanted);
    }

    async function look() {
      const mine = ++turn;
      const isLast = () => mine === turn && inSight();
      if (!isLast()) return;
      let wait = POLL_MS;
      try {
        const { data } = await rest("library");
        const works = data.may_save ? (await rest("library/merges")).data : [];
        if (!isLast()) return;
        draw(data);
        saving.draw(works);
        if (problem.dataset.of === "look") drawProblem(problem, null);
        const isBusy = data.models.some(({ status }) => status === "loading") || works.some(({ state }) => state === "running");
        if (isBusy) wait = BUSY_POLL_MS;
      } catch (error) {
        if (!isLast()) return;
        drawProblem(problem, { title: "The models cannot be told", message: error.message });
        problem.dataset.of = "look";
      }
      setTimeout(() => isLast() && look(), wait);
    }

    async function act(model, verb, more) {
      drawProblem(problem, null);
      try {
        if (verb === "remove") await rest(`library/adapters?${new URLSearchParams({ model })}`, { method: "DELETE" });
        else await rest(`library/${verb}`, { method: "POST", body: { model, ...more } });
      } catch (error) {
        drawProblem(problem, { title: `${model} stays as it is`, message: error.message });
        problem.dataset.of = "act";
      }
      look();
    }

    new IntersectionObserver((entries) => entries.at(-1).isIntersecting && look()).observe(place);
    document.addEventListener("visibilitychange", look);
    look();
  }

  return { models };
})());
