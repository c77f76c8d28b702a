// Asks this server's own REST API from the page, with the page's own sign-in.
// Knows addresses and the one error body; refuses to know what is asked for.
Object.assign(playground, (() => {
  // Relative to the page, so that it holds behind a proxy's path too.
  const address = (path) => new URL(`api/v1/playground/${path}`, document.baseURI).href;

  // A seed has 64 bits, more than a number holds here: what would be rounded stays text where the browser tells it.
  const exactly = (key, value, context) =>
    Number.isInteger(value) && !Number.isSafeInteger(value) && context?.source ? context.source : value;

  function parsed(text) {
    try {
      return JSON.parse(text, exactly);
    } catch {
      return null; // A proxy's page, say: its status is told.
    }
  }

  // What a route answers under `data`; throws an Error whose message is the server's own. `signal` ends the wait.
  async function rest(path, { method = "GET", body, signal } = {}) {
    const options = { method, signal, headers: body === undefined ? {} : { "Content-Type": "application/json" } };
    if (body !== undefined) options.body = JSON.stringify(body);
    let reply, text;
    try {
      reply = await fetch(address(path), options);
      text = await reply.text();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error("The server does not answer: is it still running?");
    }
    const told = parsed(text);
    if (!reply.ok) throw new Error(told?.error?.message ?? `The server answered ${reply.status}.`);
    return told;
  }

  return { rest, restAddress: address };
})());
