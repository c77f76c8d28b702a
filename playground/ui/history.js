// Draws the History tab: runs searched, unfolded and deleted; votes counted; all of it written out.
// Knows the REST routes of the history. Text of models reaches the page as text nodes only.
Object.assign(playground, (() => {
  const { make } = playgroundText;
  const { action, rest, restAddress, asking, keptRun, drawProblem } = playground;
  const PAUSE_MS = 250;
  const PAGE = 50;
  const MOST = 200; // As many as the server lists at once.
  const EXPORTS = [
    ["runs.jsonl", "Runs, JSON Lines"],
    ["runs.csv", "Runs, CSV"],
    ["votes.jsonl", "Votes, JSON Lines"],
    ["votes.csv", "Votes, CSV"],
    ["preferences.jsonl", "Preference pairs, JSON Lines"],
  ];
  const EMPTY = "Runs of Compare and Single stand here: what was asked, what each model answered and which weights gave it. They can be searched, run again and exported.";
  const NOT_FOUND = "No run has all of these words.";
  const KEPT = "Runs are kept on this server until you delete them.";
  const NOT_KEPT = "New runs are not kept. These stay until you delete them.";
  const IMPOSSIBLE = "No runs are kept: nobody signs in on this server, or it was told to keep none.";

  function searchBox(onSearch) {
    const input = make("input", "pg-history-search");
    Object.assign(input, { type: "search", placeholder: "Search prompts, answers and models", maxLength: 1000 });
    input.setAttribute("aria-label", "Search runs");
    let pause;
    input.addEventListener("input", () => {
      clearTimeout(pause);
      pause = setTimeout(onSearch, PAUSE_MS);
    });
    return input;
  }

  function keepSwitch(tell) {
    const input = make("input");
    input.type = "checkbox";
    input.setAttribute("role", "switch");
    input.disabled = true;
    const note = make("p", "pg-hint pg-history-note");
    note.setAttribute("role", "status");
    function draw({ kept, possible }) {
      input.checked = kept;
      input.disabled = !possible;
      note.textContent = possible ? (kept ? KEPT : NOT_KEPT) : IMPOSSIBLE;
    }
    input.addEventListener("change", async () => {
      const kept = input.checked;
      const reply = await tell(() => rest("history", { method: "PUT", body: { kept } }));
      draw(reply ? reply.data : { kept: !kept, possible: true });
    });
    return { node: make("label", "pg-switch", input, "Keep my runs"), note, draw };
  }

  function exports() {
    const links = EXPORTS.map(([name, words]) => {
      const link = make("a", "", words);
      link.href = restAddress(`export/${name}`);
      link.download = name;
      return make("li", "", link);
    });
    const panel = make("div", "pg-export-panel", make("ul", "", ...links), make("p", "pg-hint", "TRL's DPOTrainer reads the preference pairs."));
    const fold = make("details", "pg-export", make("summary", "pg-action", "Export"), panel);
    fold.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      fold.open = false;
      fold.firstChild.focus();
    });
    document.addEventListener("click", (event) => fold.contains(event.target) || (fold.open = false));
    return fold;
  }

  // Blind votes

  const percent = (share) => `${Math.round(share * 100)}%`;

  function interval({ win_rate: rate, low, high, models }) {
    if (rate == null) return ["–"];
    const range = make("span", "pg-range");
    range.style.left = percent(low);
    range.style.width = `${(high - low) * 100}%`;
    const point = make("span", "pg-point");
    point.style.left = percent(rate);
    const scale = make("span", "pg-interval", range, point);
    scale.setAttribute("aria-hidden", "true");
    const told = low > 0.5 ? `${models[1]} is better` : high < 0.5 ? `${models[0]} is better` : "not yet told apart";
    return [scale, make("span", "", `${percent(rate)}, between ${percent(low)} and ${percent(high)}: ${told}`)];
  }

  function tally(one) {
    const cells = [
      ["", one.models[1]],
      ["", one.models[0]],
      ["Wins", `${one.right} to ${one.left}`],
      ["Ties", String(one.tie)],
      ["Both bad", String(one.both_bad)],
      ["Win rate", ...interval(one)],
    ];
    return make("tr", "", ...cells.map(([label, ...parts]) => {
      const cell = make("td", "", ...parts);
      cell.dataset.label = label;
      return cell;
    }));
  }

  function drawTallies(node, found) {
    node.hidden = !found.length;
    if (!found.length) return node.replaceChildren();
    const head = make("tr", "", ...["Model", "Against", "Wins", "Ties", "Both bad", "Win rate, with 95% confidence"].map((words) => make("th", "", words)));
    node.replaceChildren(make("h3", "", "Blind votes"), make("table", "", make("thead", "", head), make("tbody", "", ...found.map(tally))));
  }

  // The tab

  function history(element, props) {
    const { value } = props;
    const problem = make("div", "pg-problem");
    problem.setAttribute("role", "alert");
    problem.hidden = true;
    const tallies = make("section", "pg-tallies");
    tallies.setAttribute("aria-label", "Blind votes");
    tallies.hidden = true;
    const list = make("ul", "pg-kept-list");
    const empty = make("p", "pg-empty");
    empty.setAttribute("role", "status");
    const more = action("Show more", showMore);
    more.hidden = true;
    let nodes = new Map(); // Of what stands in the list, so that what is unfolded stays so.
    let next = null;
    let asked = null;

    // What a question gives, or null where it failed, which is then told.
    async function tell(question) {
      drawProblem(problem, null);
      try {
        return await question();
      } catch (error) {
        if (error.name !== "AbortError") drawProblem(problem, { title: "The history cannot be read or changed", message: error.message });
        return null;
      }
    }

    const find = (wanted, signal) => rest(`runs?${new URLSearchParams({ search: search.value, ...wanted })}`, { signal });

    function nodeOf(run) {
      const key = `${run.id} ${run.vote}`;
      return [key, nodes.get(key) ?? keptRun(run, value, () => remove(run.id))];
    }

    function draw({ data, next: following }) {
      nodes = new Map(data.map(nodeOf));
      const shown = [...nodes.values()];
      if (shown.length !== list.children.length || shown.some((node, i) => node !== list.children[i])) list.replaceChildren(...shown);
      drawEnd(following);
      empty.textContent = search.value.trim() ? NOT_FOUND : EMPTY;
      empty.hidden = nodes.size > 0;
      if (!search.value.trim()) removeAll.button.disabled = !nodes.size;
    }

    function drawEnd(following) {
      next = following;
      more.hidden = next == null;
    }

    // The last question is the one whose answer is shown: it ends those before it, and what more was asked of them.
    async function load(limit) {
      asked?.abort();
      asked = new AbortController();
      const reply = await tell(() => find({ limit }, asked.signal));
      if (reply) draw(reply);
    }

    async function showMore() {
      more.disabled = true;
      const reply = await tell(() => find({ before: next }, asked.signal));
      more.disabled = false;
      if (!reply) return;
      const added = reply.data.map(nodeOf);
      added.forEach(([key, node]) => nodes.set(key, node));
      list.append(...added.map(([, node]) => node));
      drawEnd(reply.next);
      if (more.hidden) added[0]?.[1].firstChild.focus({ preventScroll: true });
    }

    const again = () => load(Math.min(MOST, Math.max(PAGE, nodes.size)));

    async function loadTallies() {
      const reply = await tell(() => rest("votes"));
      if (reply) drawTallies(tallies, reply.data);
    }

    async function loadAll() {
      const [state] = await Promise.all([tell(() => rest("history")), again(), loadTallies()]);
      if (state) keeping.draw(state.data);
    }

    async function remove(id) {
      const at = [...nodes.keys()].findIndex((key) => key.startsWith(id));
      if (!(await tell(() => rest(`runs/${id}`, { method: "DELETE" })))) return;
      await Promise.all([again(), loadTallies()]);
      (list.children[Math.min(at, list.children.length - 1)]?.firstChild ?? search).focus({ preventScroll: true });
    }

    const search = searchBox(() => load(PAGE));
    const keeping = keepSwitch(tell);
    const removeAll = asking("Delete all", "Delete all your runs?", async () => {
      if (await tell(() => rest("runs", { method: "DELETE" }))) await Promise.all([load(PAGE), loadTallies()]);
    });
    removeAll.button.disabled = true;
    const bar = make("div", "pg-history-bar", search, keeping.node, exports(), removeAll.node);
    const root = element.querySelector(".pg-mount");
    const tab = make("section", "pg-history", bar, keeping.note, problem, tallies, list, empty, more);
    empty.hidden = true;
    root.replaceChildren(tab);

    // A tab that is not chosen has no width: it is opened whenever it gets some.
    let width = 0;
    new ResizeObserver(() => {
      const opened = !width && tab.offsetWidth;
      width = tab.offsetWidth;
      if (opened) loadAll();
    }).observe(tab);
  }

  return { history };
})());
