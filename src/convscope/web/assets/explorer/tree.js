// The layers' dotted names as a tree: what lies in what.

/** Branches {name, label, layer|null, branches} in the layers' order; a name of many parts with one child stays one. */
export function makeTree(layers) {
  const root = { name: "", label: "", layer: null, branches: [], byPart: new Map() };
  for (const layer of layers) {
    let branch = root;
    for (const part of layer.name.split(".")) {
      if (!branch.byPart.has(part)) {
        const name = branch.name ? `${branch.name}.${part}` : part;
        const made = { name, label: part, layer: null, branches: [], byPart: new Map() };
        branch.byPart.set(part, made);
        branch.branches.push(made);
      }
      branch = branch.byPart.get(part);
    }
    branch.layer = layer;
  }
  return root.branches.map(shorten);
}

/** A branch that is no layer itself and holds but one is that one, under both names. */
function shorten(branch) {
  const branches = branch.branches.map(shorten);
  if (!branch.layer && branches.length === 1) {
    return { ...branches[0], label: `${branch.label}.${branches[0].label}` };
  }
  return { name: branch.name, label: branch.label, layer: branch.layer, branches };
}
