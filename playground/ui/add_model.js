// Draws how a fine-tune is added: a folder or a Hub repo by name, an archive by hand, or out of a Hub user's list.
// Knows the library's routes that add, and those that watch folders no longer.
Object.assign(playground, (() => {
  const { make } = playgroundText;
  const { action, rest, restAddress } = playground;

  function field(label, input) {
    input.setAttribute("aria-label", label);
    return make("label", "pg-field", make("span", "", label), input);
  }

  function text(placeholder) {
    const input = make("input", "pg-text");
    Object.assign(input, { type: "text", placeholder, autocomplete: "off", spellcheck: false });
    return input;
  }

  function fill(select, bases, first) {
    const chosen = select.value;
    select.replaceChildren(...(first ? [new Option(first, "")] : []), ...bases.map(({ id }) => new Option(id, id)));
    if ([...select.options].some(({ value }) => value === chosen)) select.value = chosen;
  }

  async function send(file, query) {
    const address = restAddress(`library/archives?${new URLSearchParams({ name: file.name.slice(-200), ...query })}`);
    let reply;
    try {
      reply = await fetch(address, { method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" } });
    } catch {
      throw new Error("The server did not take the file: is it still running?");
    }
    const told = await reply.json().catch(() => null);
    if (!reply.ok) throw new Error(told?.error?.message ?? `The server answered ${reply.status}.`);
    return [told.data];
  }

  // `onAdded` hears what is there now.
  function addModel(onAdded) {
    const source = text("a Hub repo, such as me/support-v2, or a folder of this machine");
    const base = make("select", "pg-select");
    const id = text("as the repo or the folder");
    const file = make("input");
    Object.assign(file, { type: "file", accept: ".zip,.tar,.gz,.tgz,.bz2,.xz", hidden: true });
    const told = make("p", "pg-hint");
    told.setAttribute("role", "status");
    const author = text("a user or an organization on the Hub");
    const hubBase = make("select", "pg-select");
    const found = make("ul", "pg-found");
    const watched = make("ul", "pg-found");

    function tell(words, isProblem = false) {
      told.textContent = words;
      told.classList.toggle("pg-card-error", isProblem);
    }

    async function busy(words, work) {
      for (const button of node.querySelectorAll("button")) button.disabled = true;
      tell(words);
      try {
        tell(await work());
      } catch (error) {
        tell(error.message, true);
      }
      for (const button of node.querySelectorAll("button")) button.disabled = false;
    }

    const given = () => Object.fromEntries([["base_model", base.value], ["id", id.value.trim()]].filter(([, value]) => value));

    function added(models) {
      source.value = id.value = "";
      onAdded();
      return models.length === 1 ? `${models[0].id} is added.` : `${models.length} adapters are there, and what comes into that folder will be.`;
    }

    const add = (name) => busy("Adding…", async () => added((await rest("library/adapters", { method: "POST", body: { source: name, ...given() } })).data));
    const upload = (chosen) => chosen && busy(`Sending ${chosen.name}…`, async () => added(await send(chosen, given())));

    const list = () => busy("Asking the Hub…", async () => {
      const query = new URLSearchParams({ author: author.value.trim(), base_model: hubBase.value });
      const { data } = await rest(`library/hub?${query}`);
      found.replaceChildren(...data.map((one) => make("li", "", make("span", "", one.id), make("span", "pg-hint", `${one.num_downloads.toLocaleString()} downloads`), action("Add", () => add(one.id)))));
      return data.length ? "" : `${author.value.trim()} has no adapters of ${hubBase.value} on the Hub.`;
    });

    const submitOn = (input, work) => input.addEventListener("keydown", (event) => event.key === "Enter" && input.value.trim() && work());
    submitOn(source, () => add(source.value.trim()));
    submitOn(author, list);
    file.addEventListener("change", () => (upload(file.files[0]), (file.value = "")));
    const pick = action("Upload an archive", () => file.click());
    pick.title = "A zip or tar file of the folder that peft saves: safetensors and JSON, no pickles";

    const node = make("details", "pg-add-model",
      make("summary", "pg-action", "Add a fine-tune"),
      make("div", "pg-add-panel",
        make("div", "pg-fields", field("Where it is", source), field("Base model", base), field("Called", id)),
        make("div", "pg-actions", action("Add", () => source.value.trim() ? add(source.value.trim()) : source.focus(), "pg-action pg-primary"), pick, file),
        make("div", "pg-fields", field("Whose adapters", author), field("of the base", hubBase), action("List", list)),
        found, watched, told));

    node.addEventListener("dragover", (event) => event.preventDefault());
    node.addEventListener("drop", (event) => {
      event.preventDefault();
      upload(event.dataTransfer.files[0]);
    });

    function draw({ models, watched: folders }) {
      const bases = models.filter(({ type }) => type === "base");
      const shown = bases.map((one) => one.id).join("\n");
      if (node.dataset.bases !== shown) {
        node.dataset.bases = shown;
        fill(base, bases, "as the adapter says");
        fill(hubBase, bases);
      }
      if (watched.dataset.folders === folders.join("\n")) return;
      watched.dataset.folders = folders.join("\n");
      watched.replaceChildren(...folders.map((folder) => make("li", "", make("span", "", `Watched: ${folder}`), action("Stop watching", () => busy("…", async () => {
        await rest("library/unwatch", { method: "POST", body: { folder } });
        onAdded();
        return "";
      })))));
    }

    return { node, draw };
  }

  return { addModel, labelled: field, textInput: text };
})());
