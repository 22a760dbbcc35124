// The confusion matrix: which class is taken for which, drawn on a canvas, with the numbers where there is room.

const READABLE = 17; // pixels a cell needs for its number
const NAMED = 24; // classes that get their names beside the matrix

/** Draws the matrix (rows: true classes) in the theme's colours; blue is right, orange wrong. */
export function drawConfusion(canvas, matrix, names, look) {
  const ratio = devicePixelRatio;
  const width = canvas.clientWidth || 280;
  const count = matrix.length;
  const pen = canvas.getContext("2d");
  const font = (size) => `${size}px ${getComputedStyle(canvas).fontFamily}`;
  pen.font = font(11);
  const named = count <= NAMED;
  const longest = named ? Math.max(...names.map((name) => pen.measureText(name).width)) : 0;
  const left = named ? Math.min(Math.ceil(longest) + 8, width * 0.3) : 0;
  const top = named ? Math.min(left, Math.ceil(longest) + 8) : 0;
  const upright = named && longest > (width - left) / count - 3;
  const above = upright ? top : named ? 16 : 0;
  const cell = (width - left) / count;
  const height = above + cell * count;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.height = `${height}px`;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  matrix.forEach((row, truth) => {
    const sum = row.reduce((total, each) => total + each, 0) || 1;
    row.forEach((images, said) => {
      const [x, y] = [left + said * cell, above + truth * cell];
      const strength = Math.sqrt(images / sum); // the root, so that rare mistakes show
      pen.globalAlpha = 1;
      pen.fillStyle = look.plate;
      pen.fillRect(x, y, cell - (cell > 6 ? 1 : 0), cell - (cell > 6 ? 1 : 0));
      pen.globalAlpha = strength;
      pen.fillStyle = truth === said ? look.right : look.wrong;
      pen.fillRect(x, y, cell - (cell > 6 ? 1 : 0), cell - (cell > 6 ? 1 : 0));
      pen.globalAlpha = 1;
      if (!images || cell < READABLE) return;
      pen.fillStyle = strength > 0.6 ? look.page : look.ink;
      pen.font = font(Math.min(11, cell / 2.2));
      write(pen, String(images), x + cell / 2 - 0.5, y + cell / 2, "center");
    });
  });
  if (!named) return { left, above, cell };
  pen.fillStyle = look.quiet;
  pen.font = font(Math.min(11, cell));
  names.forEach((name, place) => {
    const centre = (place + 0.5) * cell;
    write(pen, shorten(pen, name, left - 6), left - 5, above + centre, "right");
    if (!upright) {
      write(pen, name, left + centre, above - 8, "center");
      return;
    }
    pen.save();
    pen.translate(left + centre, above - 4);
    pen.rotate(-Math.PI / 2);
    write(pen, shorten(pen, name, above - 6), 0, 0, "left");
    pen.restore();
  });
  return { left, above, cell };
}

/** What the matrix says, in one line. */
export function describeConfusion(matrix, names) {
  const total = matrix.flat().reduce((sum, each) => sum + each, 0);
  const right = matrix.reduce((sum, row, place) => sum + row[place], 0);
  let worst = { images: 0 };
  matrix.forEach((row, truth) =>
    row.forEach((images, said) => {
      if (truth !== said && images > worst.images) worst = { images, truth, said };
    }),
  );
  const first = `${right} of ${total} test images right`;
  if (!worst.images) return first;
  return `${first}; most often ${names[worst.truth]} is taken for ${names[worst.said]} (${worst.images})`;
}

function write(pen, text, x, y, align) {
  pen.textAlign = align;
  pen.textBaseline = "middle";
  pen.fillText(text, x, y);
}

function shorten(pen, text, width) {
  if (pen.measureText(text).width <= width) return text;
  let end = text.length - 1;
  while (end > 0 && pen.measureText(`${text.slice(0, end)}…`).width > width) end -= 1;
  return `${text.slice(0, end)}…`;
}
