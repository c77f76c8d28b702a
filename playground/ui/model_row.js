// Draws one model of the Models tab: what it is called, how it stands, what it takes, and what can be done with it.
// Knows a model as the library's routes tell it; refuses to know how these are asked.
Object.assign(playground, (() => {
  const { make } = playgroundText;
  const { action, asking } = playground;
  const STAGES = { waiting: "Waiting for room", downloading: "Downloading", loading: "Loading", prefill: "Loading" };
  const UNKNOWN = "–";
  const since = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });

  function size(bytes) {
    if (bytes == null) return "?";
    if (bytes >= 1e9) return `${(bytes / 1e9).toFixed(1)} GB`;
    return bytes >= 1e6 ? `${(bytes / 1e6).toFixed(1)} MB` : `${Math.ceil(bytes / 1e3)} kB`;
  }

  function ago(seconds) {
    const passed = Math.max(0, Date.now() / 1000 - seconds);
    if (passed < 60) return "just now";
    if (passed < 3600) return since.format(-Math.round(passed / 60), "minute");
    return passed < 86400 ? since.format(-Math.round(passed / 3600), "hour") : since.format(-Math.round(passed / 86400), "day");
  }

  const COLUMNS = { head: "Model", standing: "State", disk: "On disk", takes: "In memory", runs: "Runs in", use: "Use", actions: "" };

  function standing({ status, progress, closed }) {
    if (status === "ready") return closed ? "Answered elsewhere" : "Ready";
    if (status === "failed") return "Cannot be run";
    if (status === "hub") return "On the Hub";
    if (status === "disk") return closed ? "Answered elsewhere" : "On disk";
    const stage = STAGES[progress?.stage] ?? "Loading";
    return progress?.fraction == null ? `${stage}…` : `${stage} ${Math.floor(100 * progress.fraction)}%`;
  }

  function use({ users, num_waiting: waiting, last_used_at: last }) {
    const names = [...new Set(users)].filter(Boolean);
    const parts = [];
    if (users.length) parts.push(`${users.length} ${users.length === 1 ? "answer" : "answers"}${names.length ? ` for ${names.join(", ")}` : ""}`);
    if (waiting) parts.push(`${waiting} waiting`);
    return parts.length ? parts.join(", ") : last == null ? "" : `used ${ago(last)}`;
  }

  function disk({ status, size_bytes: bytes, closed }) {
    if (closed) return "none here";
    if (bytes == null) return UNKNOWN;
    return status === "hub" ? `${size(bytes)} to fetch` : size(bytes);
  }

  function memory({ status, memory_bytes: bytes, closed }) {
    if (closed) return "none here";
    return bytes == null ? UNKNOWN : `${status === "ready" ? "" : "about "}${size(bytes)}`;
  }

  const runs = ({ dtype, device, closed }) => (closed ? "elsewhere" : [dtype, device].filter(Boolean).join(" · ") || UNKNOWN);

  function kind({ owner, type, step }) {
    return [type === "base" ? "base" : step == null ? "fine-tune" : "checkpoint", owner && `of ${owner}`].filter(Boolean).join(" · ");
  }

  // The answer says what it does, so that nobody deletes what they meant to put away.
  function removing({ id, uploaded }, act) {
    const [question, yes] = uploaded ? ["Remove it? Its uploaded files are deleted.", "Delete"] : ["Out of the list? Its files stay on the disk.", "Remove"];
    return asking("Remove", question, () => act(id, "remove"), yes).node;
  }

  // What the buttons depend on: only where that changes are they made anew, so that one keeps the focus.
  const offered = ({ status, closed, cancellable, pinned, removable }, { mayManage, save }) => [status, Boolean(closed), cancellable, pinned, removable, mayManage, Boolean(save)].join();

  function buttons(model, { act, save, mayManage, enabled }) {
    if (!mayManage) return [];
    const does = (words, verb, more) => action(words, () => act(model.id, verb, more));
    const made = [];
    const isHere = !model.closed;
    if (enabled && isHere && ["hub", "disk", "failed"].includes(model.status) && !model.cancellable) made.push(does(model.status === "hub" ? "Download" : "Load", "load"));
    if (model.cancellable) made.push(does("Cancel", "cancel"));
    if (isHere && model.status === "ready") {
      made.push(does("Unload", "unload"));
      const pin = does(model.pinned ? "Unpin" : "Pin", "pin", { pinned: !model.pinned });
      pin.title = model.pinned ? "Let it go when others want the room" : "Keep it in memory whoever wants the room";
      made.push(pin);
    }
    if (save && enabled && model.savable) made.push(action("Save merged", () => save(model.id)));
    if (model.removable) made.push(removing(model, act));
    return made;
  }

  function cell(column, ...parts) {
    const node = make("div", `pg-listed-${column}`, ...parts);
    node.setAttribute("role", "cell");
    node.dataset.label = COLUMNS[column];
    return node;
  }

  // What each column says; where there is no room for columns each cell says it itself.
  function columnHeads() {
    const heads = Object.entries(COLUMNS).map(([column, words]) => {
      const head = make("div", `pg-listed-${column}`, words);
      head.setAttribute("role", "columnheader");
      if (!words) head.setAttribute("aria-label", "What can be done");
      return head;
    });
    const node = make("div", "pg-listed pg-listed-heads", ...heads);
    node.setAttribute("role", "row");
    return node;
  }

  // A line that is drawn again and again; its nodes stay.
  function modelRow() {
    const [name, id, what, state, told] = ["name", "id", "what", "state", "told"].map((style) => make("div", `pg-listed-${style}`));
    const bar = make("div", "pg-bar", make("div"));
    const head = cell("head", name, id, what);
    head.setAttribute("role", "rowheader");
    const [takenOnDisk, takes, runsIn, used, actions] = ["disk", "takes", "runs", "use", "actions"].map((column) => cell(column));
    actions.classList.add("pg-actions");
    told.setAttribute("role", "cell");
    const node = make("li", "pg-listed", head, cell("standing", state, bar), takenOnDisk, takes, runsIn, used, actions, told);
    node.setAttribute("role", "row");
    let drawnButtons = "";

    function draw(model, means) {
      node.dataset.status = model.status;
      node.classList.toggle("pg-fine-tune", model.type !== "base");
      name.textContent = model.name;
      id.textContent = model.id;
      what.textContent = kind(model);
      state.textContent = standing(model) + (model.pinned ? " · pinned" : "");
      takenOnDisk.textContent = disk(model);
      takes.textContent = memory(model);
      runsIn.textContent = runs(model);
      used.textContent = used.title = use(model);
      told.textContent = model.reason ?? "";
      told.hidden = !model.reason;
      const fraction = model.status === "loading" ? model.progress?.fraction : undefined;
      bar.style.visibility = model.status === "loading" ? "visible" : "hidden";
      bar.classList.toggle("pg-unknown", fraction == null);
      bar.firstChild.style.width = fraction == null ? "" : `${100 * fraction}%`;
      const now = offered(model, means);
      // Nobody's question goes while it is being answered; the buttons follow at the next look.
      if (now === drawnButtons || actions.querySelector(".pg-asks")) return;
      const had = actions.contains(document.activeElement);
      actions.replaceChildren(...buttons(model, means));
      drawnButtons = now;
      if (had) actions.querySelector("button")?.focus();
    }

    return { node, draw };
  }

  return { modelRow, columnHeads, fileSize: size };
})());
