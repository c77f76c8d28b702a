// Blind votes on an evaluation's cases: one pair after another, by chance, without a word of whose the answers are.
// Knows pairs and votes as the REST API tells them; refuses to know what else was found.
Object.assign(playground, (() => {
  const { make } = playgroundText;
  const { action, rest } = playground;
  const CHOICES = [["A is better", "a", "a"], ["B is better", "b", "b"], ["Tie", "t", "tie"], ["Neither is good", "n", "both_bad"]];
  const VERDICTS = { tie: "You called it a tie.", both_bad: "You found neither good." };

  function shuffled(list) {
    const out = [...list];
    for (let i = out.length - 1; i > 0; i--) {
      const j = Math.floor(Math.random() * (i + 1));
      [out[i], out[j]] = [out[j], out[i]];
    }
    return out;
  }

  // `numbers` are the cases to vote on. `onVote` is told each vote, `onLeave` that the person has had enough.
  function ballot(id, numbers, onVote, onLeave) {
    const left = shuffled(numbers);
    const node = make("section", "pg-ballot");
    node.tabIndex = -1;
    node.setAttribute("aria-label", "Blind vote");
    let pair = null; // Whose turn it is to be voted on; null while one is waited for.
    let go = null; // What Enter does, once there is something to go on to.
    let voted = 0;

    function leave() {
      removeEventListener("keydown", press);
      onLeave();
    }

    // Takes the keys of the whole page, but only while the pair is what stands there.
    function press(event) {
      if (!node.isConnected) return removeEventListener("keydown", press);
      if (node.offsetParent === null || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.target.matches?.("input, textarea, select")) return;
      const choice = CHOICES.find(([, key]) => key === event.key.toLowerCase());
      if (event.key === "Escape") leave();
      else if (event.key === "Enter" && go && !event.target.closest?.("button")) event.preventDefault(), go();
      else if (choice && pair) event.preventDefault(), choose(choice[2]);
    }

    function show(words, parts, buttons) {
      const status = make("p", "pg-hint", words);
      node.replaceChildren(status, ...parts, make("div", "pg-actions", ...buttons, action("Leave (Esc)", leave)));
      node.focus({ preventScroll: true });
    }

    const problem = (message) => {
      const said = make("p", "pg-card-error", message);
      said.setAttribute("role", "alert");
      return said;
    };

    function box(className, text) {
      const words = make("pre", `pg-case-text ${className}`, text || "No text.");
      words.dir = "auto";
      words.tabIndex = 0; // It scrolls.
      return words;
    }

    const side = (title, text) => make("div", "pg-look-side", make("h4", "", title), box("pg-ballot-answer", text));
    // What is there to vote on yet: the pair in sight is, until it is voted on.
    const count = () => `${left.length + (pair ? 1 : 0)} to vote on`;
    function draw(found, titles, buttons, told = []) {
      const asked = found.messages.filter(({ role }) => role !== "system").map(({ content }) => content).join("\n\n");
      show(count(), [box("pg-ballot-question", asked), make("div", "pg-look-sides", side(titles[0], found.a), side(titles[1], found.b)), ...told], buttons);
    }

    function ask(found, told = []) {
      pair = found;
      go = null;
      const buttons = CHOICES.map(([words, key, what]) => action(`${words} (${key.toUpperCase()})`, () => choose(what)));
      draw(found, ["Answer A", "Answer B"], buttons, told);
    }

    async function choose(what) {
      const found = pair;
      if (!found) return;
      pair = null; // One vote a pair, however fast the keys are.
      try {
        const { data } = await rest(`evaluations/${id}/cases/${found.number}/vote`, { method: "POST", body: { choice: what } });
        voted += 1;
        onVote(found.number, data.vote);
        reveal(found, data, what);
      } catch (error) {
        ask(found, [problem(error.message)]);
      }
    }

    function reveal(found, names, what) {
      go = left.length ? next : end;
      const button = action(left.length ? "Next (Enter)" : "Win rate (Enter)", () => go?.(), "pg-action pg-primary");
      const verdict = make("p", "pg-ballot-verdict", VERDICTS[what] ?? `You chose ${names[what]}.`);
      verdict.setAttribute("role", "status");
      draw(found, [`A: ${names.a}`, `B: ${names.b}`], [button, verdict]);
    }

    async function next() {
      go = null;
      const number = left.pop();
      try {
        ask((await rest(`evaluations/${id}/cases/${number}/blind`)).data);
      } catch (error) {
        left.push(number);
        show(`${left.length} to vote on`, [problem(error.message)], [action("Try again", next)]);
      }
    }

    async function end() {
      go = null;
      try {
        const { data } = await rest(`evaluations/${id}/totals`);
        show(`All pairs are voted on: ${voted} now.`, playground.winRate(data), []);
      } catch (error) {
        show("All pairs are voted on.", [problem(error.message)], [action("Try again", end)]);
      }
      go = leave;
    }

    addEventListener("keydown", press);
    next();
    return node;
  }

  return { ballot };
})());
