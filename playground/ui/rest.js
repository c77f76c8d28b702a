// Asks this server's own REST API from the page, with the page's own sign-in.
// Knows addresses and the one error body; refuses to know what is asked for.
Object.assign(playground, (() => {
  // Relative to the page, so that it holds behind a proxy's path too.
  const address = (path) => new URL(`api/v1/playground/${path}`, document.baseURI).href;

  // What a route answers under `data`; throws an Error whose message is the server's own. `signal` ends the wait.
  async function rest(path, { method = "GET", body, signal } = {}) {
    const options = { method, signal, headers: body === undefined ? {} : { "Content-Type": "application/json" } };
    if (body !== undefined) options.body = JSON.stringify(body);
    let reply;
    try {
      reply = await fetch(address(path), options);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error("The server does not answer: is it still running?");
    }
    const told = await reply.json().catch(() => null);
    if (!reply.ok) throw new Error(told?.error?.message ?? `The server answered ${reply.status}.`);
    return told;
  }

  return { rest, restAddress: address };
})());
