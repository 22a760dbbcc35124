// Where things are: the page's own addresses, which begin with a hash, and the server's.

const coded = (...parts) => parts.map((part) => encodeURIComponent(part)).join("/");

/** A tail such as "?rule=gradient"; what is null, false or empty is left out. */
export function tail(query) {
  const said = Object.entries(query).filter(([, value]) => value != null && value !== false && value !== "");
  return said.length ? `?${new URLSearchParams(said).toString().replaceAll("%2C", ",")}` : "";
}

export const places = {
  network: () => "#/",
  layer: (layer, query = {}) => `#/layer/${coded(layer)}${tail(query)}`,
  channel: (layer, channel) => `#/layer/${coded(layer)}/channel/${channel}`,
  images: (query = {}) => `#/images${tail(query)}`,
  image: (id, layer = null, query = {}) => `#/image/${coded(id)}${layer ? `/layer/${coded(layer)}` : ""}${tail(query)}`,
  class: (number) => `#/class/${number}`,
};

export const api = {
  layer: (layer) => `/api/layers/${coded(layer)}`,
  channel: (layer, channel, what = "") => `/api/layers/${coded(layer)}/channels/${channel}${what}`,
  images: (query) => `/api/images${tail(query)}`,
  image: (id, what = "") => `/api/images/${coded(id)}${what}`,
  maps: (id, layer, what = "") => `/api/images/${coded(id)}/maps/${coded(layer)}${what}`,
  unit: (id, layer, { channel, y, x }, what = "") =>
    y == null
      ? `/api/images/${coded(id)}/channels/${coded(layer)}/${channel}${what}`
      : `/api/images/${coded(id)}/units/${coded(layer)}/${channel}/${y},${x}${what}`,
  class: (number, what = "") => `/api/classes/${number}${what}`,
};

/** What an address names: {parts, query}; parts that cannot be read are left as they are. */
export function parse(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const parts = path.split("/").filter(Boolean).map(decoded);
  return { parts, query: Object.fromEntries(new URLSearchParams(query)) };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
