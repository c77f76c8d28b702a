// Draws what an evaluation comes to: each side's pass rate, the measures with their intervals, and the win rate of votes.
// Knows totals as the REST API tells them; the words of a reading are the server's.
Object.assign(playground, (() => {
  const { make } = playgroundText;
  const UNKNOWN = "–";
  const UNEVEN = "So far, each model's share is of the cases that it has answered, all that compares them of those that both have.";

  const percent = (share) => `${(100 * share).toFixed(1)}%`;
  const points = (share) => `${share > 0 ? "+" : share < 0 ? "−" : ""}${Math.abs(100 * share).toFixed(1)}`;
  const milliseconds = (value) => (value == null ? UNKNOWN : value < 1000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`);

  // Ids without their owners, where that still tells them apart.
  function shortNames(models) {
    const names = models.map((id) => id.slice(id.lastIndexOf("/") + 1));
    return new Set(names).size === models.length ? names : models;
  }

  function svg(tag, attributes, ...children) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  }

  // A value with its interval on a line 200 wide, whose middle is marked: there no side is better.
  function chart({ value, low, high }, at, label) {
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
    const extra = [
      `first token ${milliseconds(found.first_token_ms)}, whole answer ${milliseconds(found.total_ms)}`,
      `${found.num_prompt_tokens.toLocaleString()} tokens in, ${found.num_completion_tokens.toLocaleString()} out`,
    ];
    if (found.num_cut) extra.push(`${found.num_cut} cut at the limit`);
    if (found.num_failed) extra.push(`${found.num_failed} failed`);
    const rate = make("p", "pg-rate-words", make("strong", "", found.num_answers ? percent(share) : UNKNOWN), ` ${found.num_passed} of ${found.num_answers} passed`);
    return make("div", "pg-total", make("h4", "", found.model), rate, bar, make("p", "pg-hint", extra.join(" · ")));
  }

  function measure({ label, left, right, difference, reading }) {
    const drawn = difference ? [chart(difference, (share) => 100 + 100 * share, `${points(difference.value)} points, between ${points(difference.low)} and ${points(difference.high)}`)] : [];
    return make("tr", "",
      make("th", "", label),
      make("td", "", percent(left)),
      make("td", "", percent(right)),
      make("td", "", difference ? points(difference.value) : UNKNOWN),
      make("td", "", ...drawn),
      make("td", "pg-reading", reading));
  }

  function measures({ sides, measures: found }) {
    const heads = ["", ...shortNames(sides.map(({ model }) => model)), "Points", "Difference, with its 95% interval", ""];
    const head = make("tr", "", ...heads.map((words) => make("th", "", words)));
    return make("div", "pg-measures-scroll", make("table", "pg-measures", make("thead", "", head), make("tbody", "", ...found.map(measure))));
  }

  // The right model's share of the blind votes; empty where nobody has voted.
  function winRate({ sides, num_votes: num, win_rate: rate }) {
    if (!num) return [];
    const votes = `${num} blind ${num === 1 ? "vote" : "votes"}`;
    if (!rate) return [make("p", "pg-win-rate", `${votes}: none took a side.`)];
    const words = `${shortNames(sides.map(({ model }) => model))[1]} wins ${percent(rate.value)} of ${votes}, between ${percent(rate.low)} and ${percent(rate.high)}; a tie is half a win, and those for neither are left out.`;
    return [make("p", "pg-win-rate", chart(rate, (share) => 200 * share, `${percent(rate.value)} of the votes`), make("span", "", words))];
  }

  function totals(found) {
    const { sides, changes } = found;
    const isUneven = new Set(sides.map(({ num_answers: num }) => num)).size > 1;
    const parts = [
      make("div", "pg-totals", ...sides.map(side)),
      ...(isUneven ? [make("p", "pg-hint", UNEVEN)] : []),
      make("p", "pg-hint", "Times are medians, measured in the batch: many cases were answered at once, so each took longer than it would alone."),
    ];
    if (sides.length === 1) return [...parts, ...found.measures.map(({ reading }) => make("p", "", reading))];
    const counts = ["improved", "regressed", "same"].map((name) => make("span", `pg-${changes[name] ? name : "same"}`, `${changes[name]} ${name === "same" ? "the same" : name}`));
    const table = found.measures.length ? [measures(found)] : [];
    return [...parts, ...table, make("p", "pg-counts", ...counts), ...winRate(found)];
  }

  return { totals, winRate, shortNames, milliseconds };
})());
