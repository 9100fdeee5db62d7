// Draws the plots of the page, which are told in JSON, with uPlot. Texts of the report are only
// ever set as text.
(() => {
  'use strict';
  const HEIGHT = 260;
  // Of one plot, where two stand side by side on paper.
  const PAPER = { width: 320, height: 200 };
  const LINE_COLOURS = 8;
  const root = document.documentElement;
  const read = id => JSON.parse(document.getElementById(id).textContent);
  // At each drawing, for light and dark may change meanwhile.
  const colour = name => getComputedStyle(root).getPropertyValue(name).trim();
  const lineColour = nth => colour(`--line-${nth % LINE_COLOURS}`);

  // Numbers, as `amount.rs` has them.
  const number = (value, digits) =>
    value.toLocaleString('en-GB', { maximumFractionDigits: digits });
  const digits = value => {
    const size = Math.abs(value);
    return number(value, size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : size >= 0.1 ? 3 : 4);
  };
  const bytes = value => {
    const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
    const power = value < 1 ? 0 : Math.min(4, Math.floor(Math.log2(value) / 10));
    return `${digits(value / 2 ** (10 * power))} ${units[power]}`;
  };
  const percentile = (tail, digits) => `${(100 - 100 / tail).toFixed(digits)} %`;
  const WITH_UNIT = {
    count: digits,
    per_second: value => `${digits(value)}/s`,
    seconds: value => `${digits(value)} s`,
    milliseconds: value => `${digits(value)} ms`,
    microseconds: value => `${digits(value)} µs`,
    cores: value => number(value, 3),
    bytes,
    percentile: tail => percentile(tail, Math.ceil(Math.log10(tail))),
  };

  const binarySteps = Array.from({ length: 45 }, (_, power) => 2 ** power);

  function axis(of, isY) {
    const faint = () => colour('--faint');
    const grid = { stroke: () => colour('--rule'), width: 1 };
    const shared = {
      stroke: faint, grid, ticks: { ...grid, size: 5 }, label: of.label, labelSize: 20, labelGap: 2,
      font: '12px system-ui, sans-serif', labelFont: '12px system-ui, sans-serif',
    };
    const short = value =>
      value == null ? '' : of.unit === 'bytes' ? bytes(value)
        : Math.abs(value) >= 1e5
          ? value.toLocaleString('en-GB', { notation: 'compact' }) : number(value, 6);
    if (of.unit === 'percentile') {
      return {
        ...shared, size: 34,
        splits: plot => [1, 2, 10, 100, 1e3, 1e4, 1e5].filter(tail =>
          tail >= plot.scales.x.min * 0.999 && tail <= plot.scales.x.max * 1.001),
        filter: (_, splits) => splits,
        values: (_, splits) => splits.map(tail => percentile(tail, Math.max(0, Math.round(Math.log10(tail)) - 2))),
      };
    }
    return {
      ...shared,
      size: isY
        ? (_, texts) => 16 + 7 * Math.max(3, ...(texts ?? []).map(text => text?.length ?? 0)) : 34,
      values: (_, splits) => splits.map(short),
      ...(of.unit === 'bytes' ? { incrs: binarySteps } : {}),
    };
  }

  // Each stacked line upon the one before; the others stay.
  function heights(lines) {
    let below = null;
    return lines.map(line => {
      if (line.look !== 'stacked') return line.values;
      below = line.values.map((value, place) => value == null ? null : value + (below?.[place] ?? 0));
      return below;
    });
  }

  function series(line, nth, unit, points) {
    const stacked = line.look === 'stacked';
    const stroke = () => line.label === 'fitted line' ? colour('--ink') : lineColour(nth);
    return {
      label: line.label, stroke, width: 1.75,
      ...(line.look === 'dashed' ? { dash: [6, 4] } : {}),
      ...(stacked ? { fill: () => lineColour(nth) + '55' } : {}),
      points: { show: points && line.look !== 'dashed', size: 6, fill: stroke },
      value: (_, height, __, place) =>
        place == null || line.values[place] == null ? '–' : WITH_UNIT[unit](line.values[place]),
    };
  }

  // What was measured lies behind the axes.
  const shade = measured => plot => {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.fillStyle = colour('--measured');
    for (const [from, to] of measured) {
      const [left, right] = [from, to].map(at => plot.valToPos(at, 'x', true));
      ctx.fillRect(left, bbox.top, right - left, bbox.height);
    }
    ctx.restore();
  };

  const logRange = (_, least, most) =>
    least == null ? [0.1, 10] : uPlot.rangeLog(least, most, 10, false);
  const fromNought = (_, __, most) => [0, most > 0 ? most * 1.06 : 1];

  function draw(plot, holder) {
    const first = plot.at[0];
    const isStacked = plot.lines.map(line => line.look === 'stacked');
    const bands = plot.lines.flatMap((_, nth) =>
      isStacked[nth] && isStacked[nth - 1] ? [{ series: [nth + 1, nth] }] : []);
    const isTime = plot.x.unit === 'seconds';
    const options = {
      width: Math.max(240, holder.clientWidth), height: HEIGHT,
      // Room for half of the last label, which is long where it is a percentile.
      padding: [10, plot.x.log ? 30 : 18, 0, 0],
      scales: {
        x: {
          time: false,
          ...(plot.x.log ? { distr: 3 } : {}),
          // All of it begins at nought, and a single value is no range; a zoom is as it is.
          range: (_, from, to) => plot.x.log ? [from, Math.max(to, from * 10)]
            : [from === first ? 0 : from, to > from ? to : from + 1],
        },
        y: plot.y.log ? { distr: 3, range: logRange } : { range: fromNought },
      },
      axes: [axis(plot.x, false), axis(plot.y, true)],
      series: [
        { label: plot.x.label.split(',')[0], value: (_, at) => at == null ? '–' : WITH_UNIT[plot.x.unit](at) },
        ...plot.lines.map((line, nth) => series(line, nth, plot.y.unit, !isTime && !plot.x.log)),
      ],
      bands,
      // The time axis is one: what the cursor or a zoom marks in one plot, it marks in all.
      cursor: isTime
        ? { sync: { key: 'time', setSeries: false, scales: ['x', null] } } : {},
      hooks: { drawClear: [shade(plot.measured)] },
    };
    const drawn = new uPlot(options, [plot.at, ...heights(plot.lines)], holder);
    const canvas = holder.querySelector('canvas');
    canvas.setAttribute('role', 'img');
    canvas.setAttribute('aria-label', holder.dataset.label);
    return { drawn, holder };
  }

  const all = read('plots').map(plot => draw(plot, document.getElementById(`plot-${plot.id}`)));

  const fit = ({ drawn, holder }) => {
    const width = Math.max(240, holder.clientWidth);
    if (width !== drawn.width) drawn.setSize({ width, height: HEIGHT });
  };
  const fitting = new ResizeObserver(entries => {
    if (root.classList.contains('paper')) return;
    const grown = new Set(entries.map(entry => entry.target));
    all.filter(({ holder }) => grown.has(holder)).forEach(fit);
  });
  all.forEach(({ holder }) => fitting.observe(holder));
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () =>
    all.forEach(({ drawn }) => drawn.redraw()));
  addEventListener('beforeprint', () => {
    root.classList.add('paper');
    all.forEach(({ drawn }) => drawn.setSize(PAPER));
  });
  addEventListener('afterprint', () => {
    root.classList.remove('paper');
    all.forEach(({ drawn, holder }) =>
      drawn.setSize({ width: Math.max(240, holder.clientWidth), height: HEIGHT }));
  });

  const save = document.getElementById('save');
  const text = document.getElementById('report').textContent;
  save.href = URL.createObjectURL(new Blob([text], { type: 'application/json' }));
  save.download = 'report.json';
  // For whoever checks the page from outside.
  root.dataset.drawn = String(all.length);
})();
