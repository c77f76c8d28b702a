// Draws the bar of blind votes above the two answers, and hides whose they are until somebody has voted.
// Knows the state that the handlers send; the keys A, B, T and N vote while it is time to.
Object.assign(playground, (() => {
  const { make } = playgroundText;
  const CHOICES = [["left", "A", "A is better"], ["right", "B", "B is better"], ["tie", "T", "Tie"], ["both_bad", "N", "Neither is good"]];

  function button(words, key, onClick) {
    const node = make("button", "pg-vote", words);
    node.type = "button";
    if (key) {
      node.append(make("kbd", "", key));
      node.setAttribute("aria-keyshortcuts", key);
    }
    node.addEventListener("click", onClick);
    return node;
  }

  const writing = (node) => node.matches("input, textarea, select, [contenteditable]");

  function blind(element, props, trigger, watch) {
    const box = make("input");
    box.type = "checkbox";
    const wish = make("label", "pg-blind-wish", box, make("span", "", "Blind"));
    wish.title = "Hides which model is which, in an order drawn by chance, until you have voted.";
    const status = make("span", "pg-blind-words");
    status.setAttribute("role", "status");
    const votes = make("div", "pg-votes");
    const bar = make("div", "pg-blind", wish, status, votes);
    element.querySelector(".pg-mount").replaceChildren(bar);
    box.addEventListener("change", () => trigger("select", { wanted: box.checked }));
    bar.tabIndex = -1;
    let sent = false;
    let drawnState = "off";
    let asked = "";

    // Whoever sent the prompt by Enter still stands in its box, where keys are letters; whoever writes on is left alone.
    function takeKeys(state) {
      const prompt = document.querySelector("#compare-prompt textarea");
      if (state === "running" && drawnState !== "running") asked = prompt?.value;
      if (state === "vote" && drawnState !== "vote" && document.activeElement === prompt && prompt.value === asked) bar.focus({ preventScroll: true });
      drawnState = state;
    }

    function vote(choice) {
      if (sent) return;
      sent = true;
      for (const node of votes.children) node.disabled = true;
      trigger("submit", { choice });
    }
    for (const [choice, key, words] of CHOICES) votes.append(button(words, key, () => vote(choice)));
    votes.append(button("Just show", "", () => vote("none")));

    document.addEventListener("keydown", (event) => {
      const { state } = props.value;
      const idle = state !== "vote" || !bar.isConnected || !bar.offsetParent || writing(event.target);
      if (idle || event.ctrlKey || event.metaKey || event.altKey) return;
      const found = CHOICES.find(([, key]) => key === event.key.toUpperCase());
      if (found) event.preventDefault(), vote(found[0]);
    });

    function draw() {
      const { wanted, state, words, enabled } = props.value;
      box.checked = wanted;
      box.disabled = enabled === false;
      bar.dataset.state = state;
      document.documentElement.dataset.pgBlind = state === "running" || state === "vote" ? "on" : "off";
      votes.hidden = state !== "vote";
      status.textContent = state === "vote" ? "Which answer is better?" : words;
      sent = state === "vote" && sent;
      takeKeys(state);
      for (const node of votes.children) node.disabled = sent;
    }
    draw();
    watch("value", draw);
  }

  return { blind };
})());
