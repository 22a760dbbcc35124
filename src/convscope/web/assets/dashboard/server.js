// Asking the server.

export class ServerError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status; // 0: nobody answered
  }
}

/** The server's answer as an object. Throws ServerError with the line that it says. */
export async function ask(address) {
  const answer = await request(address);
  return answer.json();
}

/** The server's answer as bytes. Throws ServerError. */
export async function askBytes(address) {
  const answer = await request(address);
  return answer.blob();
}

async function request(address) {
  let answer;
  try {
    answer = await fetch(address, { headers: { Accept: "application/json, image/*" } });
  } catch {
    throw new ServerError(0, "The server does not answer.");
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new ServerError(answer.status, said.error ?? `The server answered ${answer.status} to ${address}.`);
}

/** The address of something of a run; values of `query` that are null are left out. */
export function addressOf(run, path, query = {}) {
  const said = Object.entries(query).filter(([, value]) => value != null);
  const tail = said.length ? `?${new URLSearchParams(said)}` : "";
  return `/api/runs/${encodeURIComponent(run)}/${path}${tail}`;
}
