// Draws the code of a request in a dialog over the page: one language at a time, with a button that copies it.
// Knows the values that the handler sends. Code reaches the page as text nodes only.
playground.code = (() => {
  const { make } = playgroundText;
  let chosen = ""; // What somebody likes to read, whichever tab they ask in.
  let numGroups = 0;

  return function code(element, props, trigger, watch) {
    const group = `pg-language-${numGroups++}`;
    const languages = make("div", "pg-languages");
    languages.setAttribute("role", "radiogroup");
    languages.setAttribute("aria-label", "Language");
    const notes = make("p", "pg-code-notes");
    const text = make("code");
    const block = make("pre", "pg-code-text", text);
    block.tabIndex = 0;
    block.setAttribute("aria-label", "Code");
    const copy = playground.copyButton("Copy the code", () => text.textContent);
    const close = make("button", "pg-tool", "Close");
    close.type = "button";
    const head = make("header", "pg-code-head", make("h2", "", "Code"), copy, close);
    const dialog = make("dialog", "pg-code-view", head, languages, notes, block);
    dialog.setAttribute("aria-label", "Code of this request");
    element.querySelector(".pg-mount").replaceChildren(dialog);

    function show(snippet) {
      chosen = snippet.name;
      text.textContent = snippet.code;
      text.dataset.language = snippet.language;
      block.scrollTo(0, 0);
    }

    function choice(snippet) {
      const radio = make("input");
      radio.type = "radio";
      radio.name = group;
      radio.addEventListener("change", () => show(snippet));
      return make("label", "", radio, make("span", "", snippet.name));
    }

    function draw() {
      const { open, snippets } = props.value;
      if (!open) return;
      notes.textContent = props.value.notes.join(" ");
      notes.hidden = !notes.textContent;
      languages.replaceChildren(...snippets.map(choice));
      const found = snippets.findIndex((snippet) => snippet.name === chosen);
      const index = Math.max(0, found);
      show(snippets[index]);
      const radio = languages.children[index].firstChild;
      radio.checked = true;
      if (!dialog.open) dialog.showModal();
      radio.focus();
    }

    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    // The same code must open again: a value that did not change would not be told.
    dialog.addEventListener("close", () => (props.value = { ...props.value, open: false }));
    watch("value", draw);
  };
})();
