// Draws what an evaluation has found: totals, and cases that are searched, filtered and voted on blind.
// Knows which cases are shown, and when what is asked of the REST API.
Object.assign(playground, (() => {
  const { make } = playgroundText;
  const { action, rest, totals, caseRow, ballot, shortNames } = playground;
  const PAGE = 100;
  const TOTALS_EVERY = 5; // Looks at the evaluation; the intervals take the server some work.
  const GROWN = 1.5; // So much more answers are worth a look before that.
  const FILTERS = {
    all: ["All", () => true],
    improved: ["Improved", (found) => found.change === "improved"],
    regressed: ["Regressed", (found) => found.change === "regressed"],
    failed: ["Not passed", (found) => found.answers.some((answer) => answer && !answer.passed)],
    cut: ["Cut", (found) => found.answers.some((answer) => answer?.finish_reason === "length")],
    missing: ["No answer yet", (found) => found.answers.includes(null)],
  };

  const textOf = (found) => [found.input, found.expected, ...found.answers.map((one) => one?.content)].join("\n").toLocaleLowerCase();
  const isUndecided = ({ vote, answers }) => vote == null && answers.length === 2 && answers.every((one) => one?.state === "done");

  function searchBox(onSearch) {
    const node = make("input", "pg-search");
    Object.assign(node, { type: "search", placeholder: "Search the cases", maxLength: 1000 });
    node.setAttribute("aria-label", "Search the cases");
    node.addEventListener("input", onSearch);
    return node;
  }

  function filterChoice(onChoice) {
    const node = make("select", "pg-select");
    for (const [name, [title]] of Object.entries(FILTERS)) node.append(new Option(title, name));
    node.setAttribute("aria-label", "Which cases");
    node.addEventListener("change", onChoice);
    return node;
  }

  function heads(models) {
    const names = ["#", "Asked", ...shortNames(models), ...(models.length === 2 ? ["Change"] : [])];
    return make("div", "pg-case pg-case-heads", ...names.map((name) => make("span", "", name)));
  }

  // `isCurrent` says whether what was asked is still of use once it is there.
  function findings(id, isCurrent) {
    const above = make("div", "pg-above");
    const table = make("div", "pg-case-table");
    const list = make("ul", "pg-cases");
    const empty = make("p", "pg-hint", "No case is like this.");
    const search = searchBox(() => chosen());
    const filter = filterChoice(() => chosen());
    const count = make("span", "pg-hint");
    count.setAttribute("role", "status");
    const vote = action("Vote blind", voteBlind);
    const tools = make("div", "pg-case-tools", search, filter, count, vote);
    const more = action("Show more", () => {
      limit += PAGE;
      draw();
    });
    const blind = make("div", "pg-blind-cases");
    const node = make("div", "pg-findings", above, tools, table, blind);
    node.hidden = true;
    const cases = [];
    const shown = new Map(); // Rows by number; what is there is kept.
    let evaluation = null;
    let last = null;
    let looks = 0;
    let counted = 0; // Answers that the totals in sight are of, at least.
    let limit = PAGE;

    function chosen() {
      limit = PAGE;
      draw();
    }

    function rowOf(found) {
      if (!shown.has(found.number)) shown.set(found.number, caseRow(evaluation));
      const row = shown.get(found.number);
      row.update(found);
      return row.node;
    }

    function draw() {
      const words = search.value.toLocaleLowerCase();
      const found = cases.filter((one) => FILTERS[filter.value][1](one) && (!words || textOf(one).includes(words)));
      const nodes = found.slice(0, limit).map(rowOf);
      if (nodes.length !== list.children.length || nodes.some((one, i) => one !== list.children[i])) list.replaceChildren(...nodes);
      count.textContent = `${found.length} of ${cases.length}`;
      more.hidden = found.length <= limit;
      empty.hidden = found.length > 0;
      vote.hidden = !cases.some(isUndecided);
    }

    async function askTotals() {
      const { data } = await rest(`evaluations/${id}/totals`);
      if (isCurrent()) above.replaceChildren(...totals(data));
    }

    async function askCases() {
      const { data } = await rest(`evaluations/${id}/cases?after=${last ?? 0}`);
      if (!isCurrent() || data.last === last) return;
      last = data.last;
      for (const one of data.cases) cases[one.number] = one;
      draw();
    }

    // Both are there before anything is shown, so that the one does not push the other down.
    async function refresh(now) {
      const ended = now.state !== "running";
      evaluation = now;
      if (last === null) {
        table.style.setProperty("--pg-sides", now.models.length);
        table.classList.toggle("pg-alone-side", now.models.length === 1);
        table.replaceChildren(heads(now.models), list, empty, more);
      }
      const isDue = ended || looks++ % TOTALS_EVERY === 0 || now.num_answers > counted * GROWN;
      if (isDue) counted = now.num_answers;
      await Promise.all([askCases(), ...(isDue ? [askTotals()] : [])]);
      node.hidden = false;
    }

    // Nothing else of the evaluation is in sight meanwhile.
    function voteBlind() {
      const place = node.closest(".pg-evaluate");
      const numbers = cases.filter(isUndecided).map(({ number }) => number);
      const kept = (number, choice) => (cases[number] = { ...cases[number], vote: choice });
      const leave = async () => {
        place.classList.remove("pg-voting");
        blind.replaceChildren();
        draw();
        vote.focus();
        try {
          await askTotals();
        } catch (error) {
          above.append(make("p", "pg-card-error", error.message));
        }
      };
      place.classList.add("pg-voting");
      blind.replaceChildren(ballot(id, numbers, kept, leave));
    }

    return { node, refresh };
  }

  return { findings };
})());
