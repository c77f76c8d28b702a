// From a model's text to DOM nodes: Markdown and JSON.
// Builds nodes one by one and never parses HTML, so that text stays text; makes no element that loads anything.
const playgroundText = (() => {
  const MAX_DEPTH = 8;
  const INLINE = new RegExp(
    [
      /\\([\\`*_{}[\]()#+\-.!~|<>])/, // 1 escaped
      /(`+)([^`](?:[^]{0,2000}?[^`])?)\2(?!`)/, // 2, 3 code
      /\*\*(?=\S)([^]{0,800}?\S)\*\*/, // 4 bold
      /(?<!\w)__(?=\S)([^]{0,800}?\S)__(?!\w)/, // 5 bold
      /~~(?=\S)([^]{0,800}?\S)~~/, // 6 struck
      /(?<!\w)\*(?=[^\s*])([^]{0,800}?[^\s*])\*(?![\w*])/, // 7 italic
      /(?<!\w)_(?=[^\s_])([^]{0,800}?[^\s_])_(?!\w)/, // 8 italic
      /(?<!!)\[([^\]\n]{1,300})\]\((https?:\/\/[^\s)]{1,1000})\)/, // 9, 10 link
      /(https?:\/\/[^\s<>"')\]]{1,1000})/, // 11 address
    ].map((part) => part.source).join("|"),
    "g",
  );
  const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([\w+#.-]*)/;
  const HEADING = /^ {0,3}(#{1,6})\s+(.*)$/;
  const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
  const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])(\s+)(.*)$/;
  const QUOTE = /^ {0,3}>\s?/;
  const DIVIDER = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;

  function make(tag, className, ...children) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    node.append(...children);
    return node;
  }

  function link(text, address) {
    const node = make("a", "", text);
    node.href = address;
    node.rel = "noopener noreferrer nofollow";
    node.target = "_blank";
    node.title = address;
    return node;
  }

  function inline(text, depth = 0) {
    const out = document.createDocumentFragment();
    if (depth > MAX_DEPTH) return out.append(text), out;
    let at = 0;
    for (const m of text.matchAll(INLINE)) {
      out.append(text.slice(at, m.index));
      at = m.index + m[0].length;
      if (m[1]) out.append(m[1]);
      else if (m[3]) out.append(make("code", "", m[3]));
      else if (m[4] ?? m[5]) out.append(make("strong", "", inline(m[4] ?? m[5], depth + 1)));
      else if (m[6]) out.append(make("s", "", inline(m[6], depth + 1)));
      else if (m[7] ?? m[8]) out.append(make("em", "", inline(m[7] ?? m[8], depth + 1)));
      else if (m[10]) out.append(link(m[9], m[10]));
      else out.append(link(m[11], m[11]));
    }
    out.append(text.slice(at));
    return out;
  }

  // Top-level blocks as text. A block that has not changed need not be drawn again while an answer grows.
  function blocks(text) {
    const found = [];
    let lines = [];
    let fence = null;
    let list = false;
    const close = () => {
      while (lines.length && !lines[lines.length - 1].trim()) lines.pop();
      if (lines.length) found.push(lines.join("\n"));
      lines = [];
      list = false;
    };
    for (const line of text.split("\n")) {
      const mark = line.match(FENCE);
      if (fence) {
        lines.push(line);
        if (mark && mark[1].startsWith(fence) && !mark[2]) (fence = null), list || close();
        continue;
      }
      const item = ITEM.test(line) && !RULE.test(line);
      const inList = list && (item || /^\s{2,}\S/.test(line) || !line.trim());
      if (inList) {
        lines.push(line);
        if (mark) fence = mark[1];
      } else if (!line.trim()) {
        close();
      } else if (mark) {
        close();
        lines.push(line);
        fence = mark[1];
      } else if (HEADING.test(line) || RULE.test(line)) {
        close();
        lines.push(line);
        close();
      } else if (item) {
        close();
        list = true;
        lines.push(line);
      } else {
        const after = lines[lines.length - 1];
        const broken = list ? !after.trim() : lines.length && QUOTE.test(after) !== QUOTE.test(line);
        if (broken) close();
        lines.push(line);
      }
    }
    close();
    return found;
  }

  function block(source, depth = 0) {
    const lines = source.split("\n");
    const first = lines[0];
    if (depth > MAX_DEPTH) return make("p", "", source);
    if (FENCE.test(first)) return code(lines);
    const heading = first.match(HEADING);
    if (heading) return make("h" + Math.min(6, heading[1].length + 2), "", inline(heading[2].replace(/\s#+\s*$/, "")));
    if (RULE.test(first)) return make("hr");
    if (QUOTE.test(first)) return quote(lines, depth);
    if (ITEM.test(first)) return list(lines, depth);
    if (lines.length > 1 && first.includes("|") && DIVIDER.test(lines[1]) && lines[1].includes("|"))
      return table(lines);
    return make("p", "", inline(source));
  }

  function code(lines) {
    const [, mark, language] = lines[0].match(FENCE);
    const closed = lines.length > 1 && lines[lines.length - 1].trim().startsWith(mark);
    const body = lines.slice(1, closed ? -1 : undefined).join("\n");
    const node = make("pre", "pg-code", make("code", "", body));
    if (language) node.dataset.language = language;
    return node;
  }

  function quote(lines, depth) {
    const inner = lines.map((line) => line.replace(QUOTE, "")).join("\n");
    return make("blockquote", "", ...blocks(inner).map((part) => block(part, depth + 1)));
  }

  function list(lines, depth) {
    const [, indent, marker] = lines[0].match(ITEM);
    const ordered = /\d/.test(marker);
    const node = make(ordered ? "ol" : "ul");
    if (ordered) node.start = parseInt(marker, 10);
    let item = null;
    let width = 0;
    const items = [];
    for (const line of lines) {
      const m = line.match(ITEM);
      if (m && m[1].length <= indent.length + 1) {
        width = m[1].length + m[2].length + Math.min(m[3].length, 4);
        item = [m[4]];
        items.push(item);
      } else {
        item.push(line.replace(new RegExp(`^\\s{0,${width}}`), ""));
      }
    }
    for (const parts of items) {
      const inner = blocks(parts.join("\n"));
      const nodes = inner.map((part, i) => {
        const drawn = block(part, depth + 1);
        return i === 0 && drawn.tagName === "P" ? make("span", "", ...drawn.childNodes) : drawn;
      });
      node.append(make("li", "", ...nodes));
    }
    return node;
  }

  function table(lines) {
    const cells = (line) => line.trim().replace(/^\||\|$/g, "").split(/(?<!\\)\|/);
    const row = (line, tag) => make("tr", "", ...cells(line).map((cell) => make(tag, "", inline(cell.trim()))));
    const body = lines.slice(2).map((line) => row(line, "td"));
    return make("div", "pg-table", make("table", "", make("thead", "", row(lines[0], "th")), make("tbody", "", ...body)));
  }

  const looksLikeJson = (text) => /^\s*(\{\s*("|\}|$)|\[\s*(\{|\[|"|\]|$))/.test(text) && /\S/.test(text);

  // Laid out as it arrives, so that nothing jumps when the last bracket closes it.
  function json(text) {
    const out = make("pre", "pg-json");
    const tokens = text.match(/"(?:[^"\\]|\\[^])*"?|[{}[\],:]|[^\s"{}[\],:]+|\s+/g) ?? [];
    let depth = 0;
    const newLine = () => "\n" + "  ".repeat(Math.min(depth, 20));
    for (let i = 0; i < tokens.length; i++) {
      const token = tokens[i];
      let next = i + 1;
      while (next < tokens.length && !tokens[next].trim()) next++;
      if (!token.trim()) continue;
      if (token === "{" || token === "[") {
        if (tokens[next] === (token === "{" ? "}" : "]")) {
          out.append(token + tokens[next]);
          i = next;
        } else {
          depth++;
          out.append(token + newLine());
        }
      } else if (token === "}" || token === "]") {
        depth = Math.max(0, depth - 1);
        out.append(newLine() + token);
      } else if (token === ",") out.append("," + newLine());
      else if (token === ":") out.append(": ");
      else {
        const kind = token[0] !== '"' ? "pg-literal" : tokens[next] === ":" ? "pg-key" : "pg-string";
        out.append(make("span", kind, token));
      }
      if (depth > 0) continue;
      const rest = tokens.slice(i + 1).join("");
      if (rest.trim()) out.append("\n" + rest);
      break;
    }
    return out;
  }

  return { make, blocks, block, json, looksLikeJson };
})();
