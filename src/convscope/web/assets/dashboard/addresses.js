// The addresses of what the server has of a run.

/** The address of something of a run; values of `query` that are null are left out. */
export function addressOf(run, path, query = {}) {
  const said = Object.entries(query).filter(([, value]) => value != null);
  const tail = said.length ? `?${new URLSearchParams(said)}` : "";
  return `/api/runs/${encodeURIComponent(run)}/${path}${tail}`;
}
