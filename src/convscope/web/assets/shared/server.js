// Asking the server.

class ServerError extends Error {
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

/** The picture at the address, or null where the server has yet to draw it (202). Throws ServerError. */
export async function askPicture(address) {
  const answer = await request(address);
  return answer.status === 202 ? null : answer.blob();
}

/** What the server makes of the bytes that are sent to it, as an object. Throws ServerError. */
export async function send(address, body) {
  const answer = await request(address, { method: "POST", body });
  return answer.json();
}

async function request(address, options = {}) {
  let answer;
  try {
    answer = await fetch(address, { headers: { Accept: "application/json, image/*" }, ...options });
  } catch {
    throw new ServerError(0, "The server does not answer.");
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new ServerError(answer.status, said.error ?? `The server answered ${answer.status} to ${address}.`);
}
