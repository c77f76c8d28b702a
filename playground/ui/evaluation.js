// Draws one evaluation: how far it is, what can be done with it, and below it what it has found.
// Knows the REST routes that show, halt, resume, report and delete one; refuses to know how it was begun.
Object.assign(playground, (() => {
  const { make } = playgroundText;
  const { action, asking, rest, restAddress, findings } = playground;
  const POLL_MS = 1000;
  const RESTING_POLL_MS = 3000; // It may be resumed elsewhere, or by the server when that starts again.
  const STATES = {
    running: "Running", elsewhere: "Run by another process", interrupted: "Interrupted", paused: "Paused",
    stopped: "Stopped", failed: "Failed", done: "Done",
  };
  const INFERENCE_OFF = "Running is switched off on this server.";
  const FORMATS = [["html", "HTML"], ["md", "Markdown"], ["json", "JSON"], ["csv", "CSV"]];

  // A problem's lines, each on its own; the server tells all of them at once.
  function problems(message) {
    const node = make("div", "pg-problem", ...message.split("\n").map((line) => make("p", "", line)));
    node.setAttribute("role", "alert");
    return node;
  }

  const isUnderWay = ({ state }) => state === "running" || state === "elsewhere";

  function duration(seconds) {
    const whole = Math.max(1, Math.round(seconds));
    return whole < 90 ? `${whole} s` : `${Math.round(whole / 60)} min`;
  }

  function progress({ state, num_answers: done, num_wanted: all, seconds_left: left }) {
    const told = `${done} of ${all} answers`;
    if (state === "running") return left == null ? told : `${told} · ${duration(left)} left`;
    return state === "done" ? STATES.done : `${STATES[state]} · ${told}`;
  }

  function reports(id) {
    const links = FORMATS.map(([form, words]) => {
      const link = make("a", "", words);
      link.href = restAddress(`evaluations/${id}/report?format=${form}`);
      link.download = "";
      return link;
    });
    return make("span", "pg-files", "Report:", ...links);
  }

  function progressBar() {
    const node = make("div", "pg-bar", make("div"));
    node.setAttribute("role", "progressbar");
    node.setAttribute("aria-label", "Answers");
    const draw = ({ num_answers: done, num_wanted: all }) => {
      node.firstChild.style.width = `${(100 * done) / all}%`;
      for (const [name, value] of [["min", 0], ["now", done], ["max", all]]) node.setAttribute(`aria-value${name}`, value);
    };
    return { node, draw };
  }

  // `isCurrent` says whether it is still what is shown, `inSight` whether anybody can see it, `back` leaves it, and
  // `onDelete` is told when it is gone.
  function evaluation(id, enabled, { isCurrent, inSight, back, onDelete }) {
    const head = make("div", "pg-evaluation-head", make("div", "pg-actions", action("Back", back)));
    const bar = progressBar();
    bar.node.hidden = true;
    const words = make("p", "pg-hint");
    words.setAttribute("role", "status");
    const told = make("div"); // What is wrong with it, or with what was wanted of it.
    const lost = make("div"); // Why it cannot be looked at just now.
    const found = findings(id, isCurrent);
    const node = make("div", "pg-evaluation", head, bar.node, words, told, lost, found.node);
    let drawn = null;
    let turn = 0;

    async function act(path, method) {
      try {
        await rest(`evaluations/${id}${path}`, { method });
      } catch (error) {
        told.replaceChildren(problems(error.message));
        return false;
      }
      told.replaceChildren();
      return true;
    }

    const does = (title, verb) => action(title, async () => {
      if (await act(`/${verb}`, "POST")) look();
    });

    function buttons({ state }) {
      if (state === "running") return [does("Pause", "pause"), does("Stop", "stop")];
      if (state === "done" || state === "elsewhere") return [];
      const resume = does("Resume", "resume");
      resume.disabled = !enabled;
      return [resume, ...(enabled ? [] : [make("span", "pg-hint", INFERENCE_OFF)])];
    }

    function drawHead(now) {
      const remove = asking("Delete", "With its answers and votes?", async () => {
        if (await act("", "DELETE")) onDelete(id);
      });
      head.replaceChildren(make("h3", "", now.name), make("div", "pg-actions", action("Back", back), ...buttons(now), reports(id), remove.node));
    }

    function draw(now) {
      const before = drawn;
      drawn = now;
      bar.draw(now);
      // One that is seen to end keeps its bar, so that nothing moves.
      if (!before) bar.node.hidden = now.state === "done";
      words.textContent = `${now.models.join(" and ")} · ${progress(now)}`;
      if (before?.state === now.state) return;
      drawHead(now);
      told.replaceChildren(...(now.problem ? [problems(now.problem)] : []));
    }

    // Nothing is asked while nobody can see it; then it is looked at again.
    async function look() {
      const mine = ++turn;
      const isLast = () => isCurrent() && mine === turn;
      const again = () => setTimeout(() => isLast() && look(), drawn && !isUnderWay(drawn) ? RESTING_POLL_MS : POLL_MS);
      if (!inSight()) return again();
      try {
        const { data } = await rest(`evaluations/${id}`);
        if (!isLast()) return;
        draw(data);
        await found.refresh(data);
        lost.replaceChildren();
      } catch (error) {
        if (isLast()) lost.replaceChildren(problems(error.message));
      }
      if (drawn && drawn.state !== "done") again();
    }

    look();
    return node;
  }

  return { evaluation, evaluationProblems: problems, evaluationProgress: progress, isUnderWay, INFERENCE_OFF };
})());
