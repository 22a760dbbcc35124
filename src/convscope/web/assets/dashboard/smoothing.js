// The debiased exponential moving average of a curve whose points may lie unevenly.

/** Steps that the average looks back over, by place on the slider. */
export const SPANS = [0, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000];

/** The average of `values` at `steps`, each weighted by exp(-(steps since it) / span); null where one is missing.
 *
 * Divided by the sum of the weights so far, so that it is not drawn towards where it began. That a weight follows
 * from the step makes the average of a thinned curve look like that of the whole one.
 */
export function smooth(steps, values, span) {
  let sum = 0;
  let weight = 0;
  let before = steps[0];
  return values.map((value, place) => {
    if (value == null) return null;
    const kept = Math.exp((before - steps[place]) / span);
    before = steps[place];
    sum = kept * sum + value;
    weight = kept * weight + 1;
    return sum / weight;
  });
}
