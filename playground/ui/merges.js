// Draws merges: a fine-tune to be saved into a folder, how far saves and pushes are, and what came of them.
// Knows the library's routes for merges. A token stands in its field until it is sent, and nowhere else.
Object.assign(playground, (() => {
  const { make } = playgroundText;
  const { action, rest, fileSize: size, labelled, textInput } = playground;
  const VERBS = { save: ["Saving", "Saved"], push: ["Uploading", "On the Hub"] };

  const figure = ({ way, max_difference: most, parts_after: parts, num_tokens: tokens }) =>
    `${way}: logits differ by at most ${most.toPrecision(2)}, ${parts == null ? `the same ${tokens} greedy tokens` : `greedy answers part after ${parts} tokens`}`;

  function told({ kind, source, target, state, progress, num_bytes: bytes, address, error }) {
    const [doing, done] = VERBS[kind];
    const what = kind === "save" ? `${source}, merged` : source;
    if (state === "running") return `${doing} ${what}: ${progress.stage}${progress.fraction == null ? "…" : ` ${Math.floor(100 * progress.fraction)}%`}`;
    if (state === "failed") return `${source} was not ${kind === "save" ? "saved in" : "pushed to"} ${target}: ${error}`;
    if (state === "cancelled") return `Given up: ${what} to ${target}`;
    return kind === "save" ? `${done} in ${target}, ${size(bytes)}` : `${done}: ${address}`;
  }

  // `onChange` is called when there is something new to look at.
  function merges(onChange) {
    const form = make("div", "pg-add-panel");
    const list = make("ul", "pg-found pg-works");
    const node = make("div", "pg-merges", form, list);
    form.hidden = true;
    const dismissed = new Set(); // Ids of what was put away here; the server tells of it for a while.
    let drawn = "";

    function show(title, fields, words, work) {
      const problem = make("p", "pg-hint pg-card-error");
      problem.setAttribute("role", "alert");
      const close = () => ((form.hidden = true), form.replaceChildren());
      const run = action(words, async () => {
        run.disabled = true;
        problem.textContent = "";
        try {
          await work();
          close();
          onChange();
        } catch (error) {
          problem.textContent = error.message;
          run.disabled = false;
        }
      }, "pg-action pg-primary");
      form.replaceChildren(make("h3", "", title), make("div", "pg-fields", ...fields), make("div", "pg-actions", run, action("Close", close)), problem);
      form.hidden = false;
      form.querySelector("input").focus();
      form.scrollIntoView({ block: "nearest" });
    }

    // `again` is the work that failed: what was typed for it stands there again.
    function save(model, again) {
      const folder = textInput("a new folder of this machine, such as /home/me/merged");
      folder.value = again?.target ?? "";
      show(`Save ${model}, merged into its base`, [labelled("Folder", folder)], "Save",
        () => rest("library/merges", { method: "POST", body: { model, folder: folder.value.trim() } }));
    }

    function push(folder, again) {
      const repo = textInput("owner/name, which is made");
      repo.value = again?.target ?? "";
      const token = textInput("a token of yours that may write");
      token.type = "password";
      const hidden = make("input");
      Object.assign(hidden, { type: "checkbox", checked: true });
      show(`Push ${folder} to the Hub`, [labelled("Repo", repo), labelled("Token, kept nowhere", token), make("label", "pg-switch", hidden, "Private")], "Push",
        () => rest("library/merges/push", { method: "POST", body: { folder, repo: repo.value.trim(), token: token.value.trim(), private: hidden.checked } }));
    }

    function line(work, works) {
      const words = make("span", work.state === "failed" ? "pg-card-error" : "", told(work));
      const buttons = [];
      if (work.state === "running") buttons.push(action("Cancel", async () => (await rest("library/merges/cancel", { method: "POST", body: { id: work.id } }), onChange())));
      if (work.state === "done" && work.kind === "save") buttons.push(action("Push to the Hub", () => push(work.target)));
      if (work.state === "failed") buttons.push(action("Try again", () => (work.kind === "save" ? save : push)(work.source, work)));
      if (work.state !== "running") buttons.push(action("Dismiss", () => (dismissed.add(work.id), draw(works))));
      return make("li", "", words, ...buttons, ...work.fidelity.map((one) => make("p", "pg-hint", figure(one))));
    }

    function draw(works) {
      const shown = works.filter(({ id }) => !dismissed.has(id));
      const now = JSON.stringify(shown);
      if (now === drawn) return;
      drawn = now;
      list.replaceChildren(...shown.map((work) => line(work, works)));
    }

    return { node, draw, save };
  }

  return { merges };
})());
