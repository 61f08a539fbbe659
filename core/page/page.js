/* core/page/page.js: the report page's script. It draws from the JSON beside it and from nothing else; what the JSON holds reaches
 * the page as text nodes and attributes only, never as markup. */
"use strict";
(() => {
const data = JSON.parse(document.getElementById("data").textContent);
const root = document.documentElement, page = document.getElementById("page");
const MEASURES = {
  seen: ["tasks so far", "mean over the tasks of the steps trained on so far", (row, i) => row.slice(0, i + 1)],
  all: ["all tasks", "mean over the tasks of all steps, past and to come", row => row],
  own: ["newest task", "task of the step just trained on", (row, i) => [row[i]]],
  past: ["earlier tasks", "mean over the tasks of earlier steps", (row, i) => row.slice(0, i)],
  next: ["next task", "task of the step to come", (row, i) => row.slice(i + 1, i + 2)],
};
const SHARE = new Set(["in_domain", "backward", "forward", "next_domain", "forgetting", "gem_bwt", "gem_fwt", "regret"]);

/* ---- elements and numbers ---- */

function make(space, tag, attributes, children) {
  const node = space ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.flat(3).filter(child => child !== null && child !== undefined && child !== false));
  return node;
}
const el = (tag, attributes, ...children) => make(false, tag, attributes, children);
const svg = (tag, attributes, ...children) => make(true, tag, attributes, children);
const name = text => el("bdi", {}, text);
const known = x => typeof x === "number" && Number.isFinite(x);
const mean = list => { const all = list.filter(known); return all.length ? all.reduce((a, b) => a + b, 0) / all.length : null; };
/* One decimal as the command line prints it: halves (only .25 and .75 are halves in binary) to the even digit, and not away from zero. */
const tenths = v => (Math.abs(v) % 1 === .25 ? v - Math.sign(v) * .01 : v).toFixed(1);
const percent = x => known(x) ? tenths(100 * x).replace(/^-0\.0$/, "0.0").replace("-", "−") : "–";
const exact = x => known(x) ? String(+(100 * x).toFixed(4)).replace("-", "−") + " %" : "not evaluated";
const count = x => known(x) ? x.toLocaleString("en-US") : "–";
const small = x => known(x) ? String(+x.toPrecision(4)) : "–";
function si(x, digits = 3) {
  if (!known(x)) return "–";
  const steps = ["", "k", "M", "G", "T", "P", "E", "Z", "Y"];
  let at = 0;
  while (Math.abs(x) >= 999.5 && at + 1 < steps.length) { x /= 1000; at++; }
  return +x.toPrecision(digits) + (steps[at] ? " " + steps[at] : "");
}
function duration(s) {
  if (!known(s)) return "–";
  if (s < 59.95) return +s.toPrecision(s < 10 ? 2 : 3) + " s";
  const whole = Math.round(s), minutes = Math.round(s / 60);
  if (whole < 3600) return Math.floor(whole / 60) + " min " + whole % 60 + " s";
  return Math.floor(minutes / 60) + " h " + minutes % 60 + " min";
}
const scientific = x => x === 0 ? "0" : x.toExponential(+x.toPrecision(2) === +x.toPrecision(1) ? 0 : 1).replace("e-", "e−").replace("e+", "e");
const luminance = hex => [1, 3, 5].map(i => parseInt(hex.substr(i, 2), 16) / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
const mapColour = f => data.style.map[Math.round(Math.min(1, Math.max(0, f)) * (data.style.map.length - 1))];
const colourOf = s => `var(--s${s.colour})`;
const dashOf = s => data.style.dashes[s.dash] || null;
function marker(s, x, y, size, attributes) {
  const points = data.style.markers[s.marker];
  let path = "";
  for (let i = 0; i < points.length; i += 2) path += (i ? "L" : "M") + (x + size * points[i]).toFixed(1) + " " + (y + size * points[i + 1]).toFixed(1);
  return svg("path", { class: "mark", d: path + "Z", fill: colourOf(s), ...attributes });
}
function swatch(s) {
  return svg("svg", { width: 26, height: 12, viewBox: "0 0 26 12", "aria-hidden": "true" },
    svg("line", { x1: 1, x2: 25, y1: 6, y2: 6, stroke: colourOf(s), "stroke-width": s.oracle ? 2.5 : 1.75, "stroke-dasharray": dashOf(s) }), marker(s, 13, 6, 4.2));
}

/* ---- the tip: one for the page ---- */

const tip = el("div", { id: "tip", role: "status", "aria-live": "polite", hidden: true });
function showTip(x, y, ...lines) {
  tip.replaceChildren(...lines.filter(Boolean));
  tip.hidden = false;
  const box = tip.getBoundingClientRect(), room = document.documentElement.clientWidth;
  const left = x + 14 + box.width > room ? x - 14 - box.width : x + 14;
  tip.style.left = Math.max(6, Math.min(left, room - box.width - 6)) + scrollX + "px";
  tip.style.top = Math.max(6, y - box.height - 12 < 6 ? y + 16 : y - box.height - 12) + scrollY + "px";
}
const hideTip = () => { tip.hidden = true; };

/* ---- line charts ---- */

function niceTicks(low, high, wanted) {
  const raw = (high - low) / wanted || 1, base = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map(m => m * base).find(s => s >= raw * .999), ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) ticks.push(+(k * step).toPrecision(12));
  return ticks;
}
function logTicks(low, high, wanted) {
  const lists = [[1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 4, 5, 6, 8]];
  let best = [];
  for (const list of lists) {
    const ticks = [];
    for (let d = Math.floor(Math.log10(low)); d <= Math.ceil(Math.log10(high)); d++)
      for (const m of list) { const v = m * 10 ** d; if (v >= low * .999 && v <= high * 1.001) ticks.push(+v.toPrecision(12)); }
    if (ticks.length > wanted) return best.length >= 2 ? best : ticks;
    best = ticks;
    if (ticks.length >= 4) break;
  }
  return best;
}

/* spec: { label, series: [{ s, points: [{ x, y, low?, high?, tip }] }], x: { kind: "band" | "log" | "linear", labels?, title, format },
 *         y: { title, format, zero, top? }, dots, ends, empty } */
function chart(host, spec, focus) {
  const width = Math.max(280, host.clientWidth || 640), height = Math.round(Math.min(spec.tall ? 440 : 340, Math.max(240, width * .56)));
  const series = spec.series.filter(line => line.points.some(p => known(p.y)));
  if (!series.length) {
    host.replaceChildren(el("p", { class: "empty" }, spec.series.length ? spec.empty || "Nothing is there to draw yet." : "No strategy is shown."));
    return;
  }
  const all = series.flatMap(line => line.points.filter(p => known(p.y)));
  let yLow = Math.min(...all.map(p => known(p.low) ? p.low : p.y)), yHigh = Math.max(...all.map(p => known(p.high) ? p.high : p.y));
  if (spec.y.zero) { yLow = Math.min(0, yLow); yHigh = Math.max(0, yHigh); }
  if (yHigh - yLow < 1e-12) { yHigh += Math.abs(yHigh) || 1e-3; }
  const pad = (yHigh - yLow) * .05;
  yHigh += pad;
  if (yLow !== 0) yLow -= pad;
  const yTicks = niceTicks(yLow, yHigh, height > 300 ? 6 : 5);
  const wide = width >= 560 && spec.ends && series.length * 13 < height - 70;
  const longest = Math.max(...series.map(line => [...line.s.label].length));
  const m = { left: 16 + 7 * Math.max(...yTicks.map(v => spec.y.format(v).length)), top: spec.y.title ? 26 : 10, right: wide ? Math.min(width * .3, 28 + 6.6 * longest) : 16, bottom: 46 };
  const inner = { w: width - m.left - m.right, h: height - m.top - m.bottom };
  const y = v => m.top + inner.h * (1 - (v - yLow) / (yHigh - yLow));
  let x, xTicks, xText = spec.x.format;
  if (spec.x.kind === "band") {
    const n = spec.x.labels.length, free = spec.x.span ? 0 : .35;
    x = v => m.left + inner.w * (v + free) / (n - 1 + 2 * free + (spec.x.span ? 1 : 0) || 1);
    const most = Math.max(1, Math.floor(inner.w / (10 + 6.4 * Math.max(...spec.x.labels.map(t => Math.min(14, [...t].length))))));
    const every = Math.ceil(n / most);
    xTicks = spec.x.labels.map((_, i) => i).filter(i => i % every === 0);
    xText = i => [...spec.x.labels[i]].length > 14 ? [...spec.x.labels[i]].slice(0, 13).join("") + "…" : spec.x.labels[i];
  } else {
    let low = Math.min(...all.map(p => p.x)), high = Math.max(...all.map(p => p.x));
    if (spec.x.kind === "log") {
      low = Math.max(low, Number.MIN_VALUE) / 1.12; high = Math.max(high, low) * 1.12;
      x = v => m.left + inner.w * Math.log(v / low) / Math.log(high / low);
      xTicks = logTicks(low, high, Math.max(2, Math.floor(inner.w / 70)));
    } else {
      if (high === low) high = low + 1;
      x = v => m.left + inner.w * (v - low) / (high - low);
      xTicks = niceTicks(low, high, Math.max(2, Math.floor(inner.w / 90)));
    }
  }
  const body = [svg("text", { class: "title", x: 0, y: 12 }, spec.y.title)];
  for (const v of yTicks) {
    body.push(svg("line", { class: v === 0 ? "axis" : "grid-line", x1: m.left, x2: m.left + inner.w, y1: y(v), y2: y(v) }),
      svg("text", { x: m.left - 8, y: y(v) + 4, "text-anchor": "end" }, spec.y.format(v)));
  }
  const half = spec.x.span ? inner.w / spec.x.labels.length / 2 : 0;
  for (const v of xTicks) {
    body.push(svg("text", { x: x(v) + half, y: m.top + inner.h + 19, "text-anchor": "middle" }, xText(v)));
    if (!spec.x.span) body.push(svg("line", { class: "axis", x1: x(v), x2: x(v), y1: m.top + inner.h, y2: m.top + inner.h + 4 }));
  }
  if (spec.x.span) for (let i = 0; i <= spec.x.labels.length; i++) body.push(svg("line", { class: "grid-line", x1: x(i), x2: x(i), y1: m.top, y2: m.top + inner.h + 4 }));
  body.push(svg("line", { class: "axis", x1: m.left, x2: m.left + inner.w, y1: m.top + inner.h, y2: m.top + inner.h }),
    svg("text", { x: m.left + inner.w / 2, y: height - 6, "text-anchor": "middle" }, spec.x.title));
  const placed = [], ends = [];
  const ordered = [...series].sort((a, b) => (a.s.oracle ? 1 : 0) - (b.s.oracle ? 1 : 0));
  for (const line of ordered) {
    const dim = focus !== null && focus !== undefined && focus !== line.s.index ? " dim" : "", paths = [[]];
    for (const p of line.points) {
      if (!known(p.y) || p.gap) paths.push([]);
      if (known(p.y)) {
        p.at = [x(p.x), y(p.y)];
        paths[paths.length - 1].push(p);
        placed.push({ line, p });
      }
    }
    for (const part of paths.filter(list => list.length)) {
      const to = list => list.map(([a, b], i) => (i ? "L" : "M") + a.toFixed(1) + " " + b.toFixed(1)).join("");
      if (part.some(p => known(p.low) && p.high > p.low)) {
        const upper = part.map(p => [p.at[0], y(known(p.high) ? p.high : p.y)]), lower = part.map(p => [p.at[0], y(known(p.low) ? p.low : p.y)]).reverse();
        body.unshift(svg("path", { class: "band" + dim, "data-s": line.s.index, fill: colourOf(line.s), style: `--band:${Math.min(.18, .9 / series.length).toFixed(3)}`, d: to(upper.concat(lower)) + "Z" }));
      }
      body.push(svg("path", { class: "series" + dim, "data-s": line.s.index, d: to(part.map(p => p.at)), stroke: colourOf(line.s),
        "stroke-width": spec.dots ? (line.s.oracle ? 2.5 : 1.75) : (line.s.oracle ? 1.75 : 1.35), "stroke-dasharray": dashOf(line.s) }));
      if (spec.dots || part.length === 1) for (const p of part) {
        body.push(marker(line.s, p.at[0], p.at[1], line.s.oracle ? 5 : 4, { class: "mark" + dim, "data-s": line.s.index, stroke: "var(--paper)", "stroke-width": .75 }));
      }
    }
    const last = [...line.points].reverse().find(p => known(p.y));
    ends.push({ line, at: last.at, y: last.at[1], dim });
  }
  if (wide) { /* labels at the right, pushed apart from the top and then back from the bottom */
    ends.sort((a, b) => a.y - b.y);
    for (let i = 1; i < ends.length; i++) ends[i].y = Math.max(ends[i].y, ends[i - 1].y + 13);
    let floor = m.top + inner.h + 4;
    for (let i = ends.length - 1; i >= 0; i--) { ends[i].y = Math.min(ends[i].y, floor); floor = ends[i].y - 13; }
    for (const end of ends) {
      const right = m.left + inner.w + 10, most = Math.floor((m.right - 22) / 6.4), text = [...end.line.s.label];
      body.push(svg("path", { class: "leader" + end.dim, "data-s": end.line.s.index, stroke: colourOf(end.line.s), d: `M${end.at[0] + 6} ${end.at[1]}L${right} ${end.y}` }),
        svg("text", { class: "end" + end.dim, "data-s": end.line.s.index, x: right + 4, y: end.y + 4, style: `fill:${colourOf(end.line.s)}` },
          text.length > most ? text.slice(0, most - 1).join("") + "…" : end.line.s.label));
    }
  }
  const ring = svg("g", { visibility: "hidden", "pointer-events": "none" }, svg("line", { class: "cross", y1: m.top, y2: m.top + inner.h }), svg("circle", { class: "ring", r: 7 }));
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: 0, "aria-label": spec.label + "; arrow keys read the values" }, body, ring);
  let now = -1;
  function point(index) {
    now = index;
    const { line, p } = placed[index], box = drawing.getBoundingClientRect(), zoom = box.width / width;
    ring.setAttribute("visibility", "visible");
    ring.firstChild.setAttribute("x1", p.at[0]); ring.firstChild.setAttribute("x2", p.at[0]);
    ring.lastChild.setAttribute("cx", p.at[0]); ring.lastChild.setAttribute("cy", p.at[1]);
    showTip(box.left + p.at[0] * zoom, box.top + p.at[1] * zoom, el("strong", {}, swatch(line.s), name(line.s.label)),
      el("span", { class: "value" }, p.tip[0]), ...p.tip.slice(1).filter(Boolean).map(text => el("span", {}, text)));
  }
  function leave() { now = -1; ring.setAttribute("visibility", "hidden"); hideTip(); }
  function nearest(event) {
    const box = drawing.getBoundingClientRect(), zoom = width / box.width, px = (event.clientX - box.left) * zoom, py = (event.clientY - box.top) * zoom;
    let best = -1, least = 48 ** 2;
    placed.forEach(({ p }, i) => { const d = (p.at[0] - px) ** 2 + (p.at[1] - py) ** 2; if (d < least) { least = d; best = i; } });
    if (best < 0) leave(); else if (best !== now || tip.hidden) point(best);
  }
  drawing.addEventListener("pointermove", nearest);
  drawing.addEventListener("pointerdown", nearest);
  drawing.addEventListener("pointerleave", event => { if (event.pointerType !== "touch") leave(); });
  drawing.addEventListener("blur", leave);
  drawing.addEventListener("keydown", event => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key], jump = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") return leave();
    if (!step && !jump) return;
    event.preventDefault();
    if (now < 0) return point(0);
    if (step) { if (placed[now + step] && placed[now + step].line === placed[now].line) point(now + step); return; }
    const at = ordered.indexOf(placed[now].line), other = ordered[(at + jump + ordered.length) % ordered.length], here = placed[now].p.at[0];
    let best = -1;
    placed.forEach((q, i) => { if (q.line === other && (best < 0 || Math.abs(q.p.at[0] - here) < Math.abs(placed[best].p.at[0] - here))) best = i; });
    point(best);
  });
  host.replaceChildren(drawing);
}

/* ---- heat maps ---- */

function heat(host, run, s, score, top, room) {
  if (!run.time_steps.length) return;
  const T = run.time_steps.length, width = Math.max(220, room || 300), labels = run.time_steps;
  const cut = t => [...t].length > 11 ? [...t].slice(0, 10).join("") + "…" : t;
  const wide = 7 * Math.max(...labels.map(t => [...cut(t)].length)), left = wide + 10;
  const turned = wide + 4 > Math.min(64, (width - left - 2) / T), cell = Math.min(64, (width - left - (turned ? Math.min(26, .4 * wide) : 2)) / T);
  const topRoom = turned ? Math.min(70, wide * .72 + 14) : 20;
  const tall = Math.min(cell, 44), height = topRoom + tall * T + 2, each = T > 24 ? Math.ceil(T / 24) : 1, body = [];
  const rects = [];
  for (let j = 0; j < T; j++) if (j % each === 0) {
    const cx = left + (j + .5) * cell;
    body.push(svg("text", turned ? { x: cx + 3, y: topRoom - 6, transform: `rotate(-45 ${cx + 3} ${topRoom - 6})` } : { x: cx, y: topRoom - 7, "text-anchor": "middle" }, cut(labels[j])));
  }
  for (let i = 0; i < T; i++) {
    const cy = topRoom + (i + .5) * tall;
    if (i % each === 0) body.push(svg("text", { x: left - 8, y: cy + 4, "text-anchor": "end" }, cut(labels[i])));
    for (let j = 0; j < T; j++) {
      const value = score ? score.matrix[i * T + j] : null, fill = known(value) ? mapColour(top > 0 ? value / top : 0) : null;
      const rect = svg("rect", { class: known(value) ? "cell" : "cell none", x: left + j * cell, y: topRoom + i * tall, width: cell, height: tall, rx: 2, fill, "data-i": i, "data-j": j });
      rects.push(rect);
      body.push(rect);
      if (cell >= 31 && tall >= 18) body.push(svg("text", { class: !known(value) ? "on-none" : luminance(fill) > .28 ? "on-light" : "on-dark", x: left + (j + .5) * cell, y: cy + 4,
        "text-anchor": "middle", "font-size": cell < 38 ? 10.5 : 12 }, percent(value)));
    }
  }
  for (let i = 0; i < T; i++) body.push(svg("rect", { class: "own", x: left + i * cell + 1.5, y: topRoom + i * tall + 1.5, width: Math.max(0, cell - 3), height: Math.max(0, tall - 3), rx: 1.5 }));
  const ring = svg("rect", { class: "ring", visibility: "hidden", "pointer-events": "none", rx: 2, width: cell, height: tall });
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: 0,
    "aria-label": `${s.label}: scores after each step (rows) on each step's task (columns); arrow keys read the values` }, body, ring);
  let now = -1;
  function show(k) {
    now = k;
    const i = Math.floor(k / T), j = k % T, box = rects[k].getBoundingClientRect(), value = score ? score.matrix[k] : null;
    ring.setAttribute("x", left + j * cell); ring.setAttribute("y", topRoom + i * tall); ring.setAttribute("visibility", "visible");
    showTip(box.left + box.width / 2, box.top + box.height / 2, el("strong", {}, swatch(s), name(s.label)), el("span", { class: "value" }, exact(value)),
      el("span", {}, "after ", name(labels[i])), el("span", {}, "tested on ", name(labels[j]), j < i ? " (past)" : j > i ? " (to come)" : " (its own)"));
  }
  function leave() { now = -1; ring.setAttribute("visibility", "hidden"); hideTip(); }
  const over = event => { const k = rects.indexOf(event.target); if (k >= 0) { if (k !== now) show(k); } else leave(); };
  drawing.addEventListener("pointermove", over);
  drawing.addEventListener("pointerdown", over);
  drawing.addEventListener("pointerleave", event => { if (event.pointerType !== "touch") leave(); });
  drawing.addEventListener("blur", leave);
  drawing.addEventListener("keydown", event => {
    const move = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
    if (event.key === "Escape") return leave();
    if (!move) return;
    event.preventDefault();
    if (now < 0) return show(0);
    const i = Math.floor(now / T) + move[0], j = now % T + move[1];
    if (i >= 0 && j >= 0 && i < T && j < T) show(i * T + j);
  });
  host.replaceChildren(drawing);
}

/* ---- tables ---- */

/* columns: [{ key, title, help, format, group, better: 1 | -1 | 0, text }], rows: [{ head: nodes, off, values: { key } }] */
function table(host, columns, rows, sort, redraw) {
  const shown = [...rows];
  if (sort.key) shown.sort((a, b) => {
    const p = a.values[sort.key], q = b.values[sort.key];
    if (typeof p === "string" || typeof q === "string") return sort.way * String(p).localeCompare(String(q));
    return known(p) && known(q) ? sort.way * (p - q) : known(q) - known(p);
  });
  const groups = [];
  for (const c of columns) {
    if (groups.length && groups[groups.length - 1].name === c.group) groups[groups.length - 1].span++;
    else groups.push({ name: c.group, span: 1 });
  }
  const best = {};
  for (const c of columns) if (c.better) {
    const values = rows.filter(r => !r.off).map(r => r.values[c.key]).filter(known);
    if (values.length > 1) best[c.key] = c.better > 0 ? Math.max(...values) : Math.min(...values);
  }
  host.replaceChildren(el("table", {},
    el("thead", {},
      groups.some(g => g.name) && el("tr", { class: "groups" }, groups.map(g => el("th", { colspan: g.span, scope: g.name ? "colgroup" : null }, g.name || ""))),
      el("tr", {}, columns.map(c => el("th", { scope: "col", class: c.text ? "text" : null, title: c.help, "aria-sort": sort.key === c.key ? (sort.way > 0 ? "ascending" : "descending") : null },
        el("button", { type: "button", "data-sort": c.key, onclick: () => {
          if (sort.key === c.key) sort.way = -sort.way; else { sort.key = c.key; sort.way = c.text || c.better < 0 ? 1 : -1; }
          redraw();
        } }, c.title))))),
    el("tbody", {}, shown.map(r => el("tr", { class: r.off ? "off" : null }, columns.map((c, i) => i === 0
      ? el("th", { scope: "row" }, el("span", {}, r.head))
      : el("td", { class: [c.text && "text", known(best[c.key]) && r.values[c.key] === best[c.key] && "best"].filter(Boolean).join(" ") || null, "data-key": c.key,
        title: SHARE.has(c.key) && known(r.values[c.key]) ? exact(r.values[c.key]) : null }, c.text ? name(r.values[c.key]) : c.show ? c.show(r) : c.format(r.values[c.key]))))))));
  const pressed = sort.pressed && host.querySelector(`[data-sort="${sort.key}"]`);
  if (pressed) pressed.focus();
}

/* ---- what is not a figure ---- */

function tree(value) {
  if (Array.isArray(value)) {
    if (value.every(v => v === null || typeof v !== "object")) return name(value.map(v => v === null ? "–" : String(v)).join(", ") || "none");
    const keys = [...new Set(value.flatMap(v => Object.keys(v || {})))];
    if (value.every(v => v && keys.every(k => v[k] === null || typeof v[k] !== "object")))
      return el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, keys.map(k => el("th", { scope: "col", class: "text" }, name(k))))),
        el("tbody", {}, value.map(v => el("tr", {}, keys.map(k => el("td", { class: "text" }, name(String(v[k] ?? "–")))))))));
    return value.map(v => tree(v));
  }
  if (value !== null && typeof value === "object") return el("dl", { class: "tree" }, Object.entries(value).map(([key, v]) => [el("dt", {}, name(key)), el("dd", {}, tree(v))]));
  return name(value === null ? "–" : String(value));
}
const parsed = text => { try { return JSON.parse(text); } catch (_) { return null; } };
const choice = (label, options, value, act) => {
  const list = el("select", { onchange: () => act(list.value) }, options.map(([v, text]) => el("option", { value: v, selected: String(v) === String(value) }, text)));
  return el("label", {}, label, list);
};

const titleOf = run => run.settings ? `${run.name} (${run.settings})` : run.name;

/* ---- one run ---- */

function article(run, number) {
  run.strategies.forEach((s, i) => { s.index = i; });
  const T = run.time_steps.length, state = { task: 0, score: run.tasks.length ? run.tasks[0].scores[0] : null, measure: "seen", cost: "total_macs", along: "steps", hidden: new Set(), focus: null };
  const sort = { key: null, way: 1 }, scored = [], trained = [];
  const visible = () => run.strategies.filter(s => !state.hidden.has(s.index));
  const scoreOf = s => s.tasks.length ? s.tasks[state.task][state.score] || null : null;
  const rowOf = (score, i) => score.matrix.slice(i * T, (i + 1) * T);
  const refresh = list => { hideTip(); for (const draw of list) draw(); };
  const host = () => el("div", { class: "plot" });
  const empty = run.tasks.length ? "No score of this kind is there yet." : "This run scored nothing.";
  const id = text => `run${number + 1}-${text}`;

  /* what there is */
  const cells = run.tasks.length * run.strategies.length * T * T;
  let missing = 0;
  for (const s of run.strategies) s.tasks.forEach((task, k) => { missing += task[run.tasks[k].scores[0]].matrix.filter(v => !known(v)).length; });
  const lost = run.strategies.reduce((sum, s) => sum + s.curve.not_finite, 0);
  const notes = [];
  if (run.state !== "done" || run.stages_done < run.stages) {
    const states = { running: "is still running", interrupted: "was interrupted and can be continued", failed: "failed", done: "is done" };
    notes.push(`This run ${states[run.state] || "is " + run.state}: ${count(run.stages_done)} of ${count(run.stages)} stages are trained.` +
      (missing ? ` ${count(missing)} of ${count(cells)} cells of the matrices have no score; they are left blank, and means are over the others.` : "") + (run.message ? ` It stopped because: ${run.message.replace(/\.?$/, ".")}` : ""));
  } else if (missing) notes.push(`${count(missing)} of ${count(cells)} cells of the matrices have no score; they are left blank, and means are over the others.`);
  if (lost) notes.push(`The loss was not a number in ${count(lost)} updates; the curves leave them out.`);

  const environment = parsed(run.environment), device = environment && environment.device;
  const fact = (term, ...value) => el("div", {}, el("dt", {}, term), el("dd", {}, ...value));
  const head = el("header", {}, el("h1", {}, name(titleOf(run))),
    el("dl", { class: "facts" }, fact("stream", name(run.stream)), fact("time steps", count(T)), fact("model", name(run.model)),
      fact("backend", name(device && device.backend || run.backend)), fact("batch", count(run.batch)), fact("seed", String(run.seed)), fact("state", run.state),
      fact("started", name(run.started.replace("T", " ").replace("Z", " UTC"))), run.finished && fact("finished", name(run.finished.replace("T", " ").replace("Z", " UTC"))),
      fact("stages", `${count(run.stages_done)} of ${count(run.stages)}`), fact("compute", si(run.total_macs) + " MACs"), fact("samples", count(run.samples))),
    notes.map(text => el("p", { class: "note", role: "note" }, text)));

  /* choices and legend */
  const choices = el("div", { class: "choices" }), legend = el("div", { class: "legend", role: "group", "aria-label": "Strategies shown" });
  function drawChoices() {
    choices.replaceChildren(...run.tasks.length ? [
      choice("Task", run.tasks.map((t, i) => [i, t.name]), state.task, v => {
        state.task = +v;
        if (!run.tasks[state.task].scores.includes(state.score)) state.score = run.tasks[state.task].scores[0];
        drawChoices(); refresh(scored);
      }),
      choice("Score", run.tasks[state.task].scores.map(t => [t, t]), state.score, v => { state.score = v; refresh(scored); }),
      choice("Averaged over", Object.entries(MEASURES).map(([k, v]) => [k, v[0]]), state.measure, v => { state.measure = v; refresh(scored); }),
      choice("Compute", [["total_macs", "total MACs"], ["forward_macs", "forward MACs"]], state.cost, v => { state.cost = v; refresh(scored); })] : []);
    [...choices.querySelectorAll("select")].forEach((list, i) => { list.id = id(["task", "score", "measure", "cost"][i]); });
  }
  function light() { /* one strategy stands out, without drawing anything anew */
    for (const mark of box.querySelectorAll("svg [data-s]")) {
      mark.classList.toggle("dim", state.focus !== null && +mark.dataset.s !== state.focus);
      mark.classList.toggle("lit", +mark.dataset.s === state.focus);
    }
  }
  function drawLegend() {
    legend.replaceChildren(...run.strategies.map(s => el("button", { type: "button", "data-strategy": s.label, "aria-pressed": String(!state.hidden.has(s.index)), title: "show or hide; double click: this one alone",
      onclick: () => { if (!state.hidden.delete(s.index)) state.hidden.add(s.index); state.focus = null; mark(); },
      ondblclick: () => { const alone = visible().length === 1 && !state.hidden.has(s.index); state.hidden = new Set(alone ? [] : run.strategies.map(o => o.index).filter(i => i !== s.index)); mark(); },
      onpointerenter: event => { if (event.pointerType === "mouse" && !state.hidden.has(s.index)) { state.focus = s.index; light(); } },
      onpointerleave: () => { state.focus = null; light(); } }, swatch(s), name(s.label))));
  }
  function mark() {
    [...legend.children].forEach((button, i) => button.setAttribute("aria-pressed", String(!state.hidden.has(i))));
    refresh(scored); refresh(trained);
  }

  /* summary; the texts above the figures name the task and the score, for the choices are not printed */
  const where = () => run.tasks.length ? `${state.score || "score"} on ${run.tasks[state.task].name}` : "score";
  const aboutSummary = el("p", { class: "lead" }), aboutMatrices = el("p", { class: "lead" });
  const summary = el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Summary table" });
  const percentColumn = (key, title, group, better, help) => ({ key, title, group, better, help, format: percent });
  scored.push(function draw() {
    aboutSummary.textContent = `${where()}, in percent. Raw means as time-continual benchmarks give them; differences as the continual-learning literature does. The best of the strategies shown is bold.`;
    const rows = run.strategies.map(s => ({ head: [swatch(s), name(s.label)], off: state.hidden.has(s.index), values: { ...(scoreOf(s) || {}), ...s, ...{ label: s.label } } }));
    const columns = [
      { key: "label", title: "strategy", group: "", text: true },
      percentColumn("in_domain", "in-domain", "raw means", 1, "mean of the diagonal"),
      percentColumn("backward", "backward", "raw means", 1, "mean below the diagonal: tasks of the past"),
      percentColumn("forward", "forward", "raw means", 1, "mean above the diagonal: tasks to come"),
      percentColumn("next_domain", "next", "raw means", 1, "mean of the task one step ahead"),
      percentColumn("gem_bwt", "BWT", "differences", 1, "GEM: mean over earlier tasks of the last score minus the score when it was new"),
      percentColumn("gem_fwt", "FWT", "differences", 1, "GEM: mean over later tasks of the score just before its step minus the baseline's"),
      percentColumn("forgetting", "max forgetting", "differences", -1, "mean over earlier tasks of the best score ever minus the last"),
      percentColumn("regret", "regret", "differences", -1, "mean distance to the oracle on the tasks so far"),
      { key: "forward_macs", title: "forward", group: "MACs", better: 0, format: si }, { key: "total_macs", title: "total", group: "MACs", better: 0, format: si },
      { key: "teacher_macs", title: "teacher", group: "MACs", better: 0, format: si }, { key: "tuning_macs", title: "tuning", group: "MACs", better: 0, format: si },
      { key: "samples", title: "samples", group: "training", better: 0, format: count }, { key: "seconds", title: "time", group: "training", better: 0, format: duration },
      { key: "skipped", title: "skipped", group: "training", better: 0, format: count },
    ].filter(c => c.text || rows.some(r => SHARE.has(c.key) ? known(r.values[c.key]) : ["teacher_macs", "tuning_macs", "skipped"].includes(c.key) ? r.values[c.key] > 0 : true));
    table(summary, columns, rows, sort, () => { sort.pressed = true; draw(); sort.pressed = false; });
  });

  /* score against compute, over time, forgetting */
  const compute = host(), time = host(), forgetting = host(), about = el("p", { class: "lead" }), aboutTime = el("figcaption");
  const title = () => `${state.score}, ${MEASURES[state.measure][0]}, in percent`;
  const overSteps = { kind: "band", labels: run.time_steps, title: "after training on time step" };
  scored.push(() => {
    about.textContent = `Each point is a model after one more time step: the compute its strategy has spent until then, and its ${where()}, ${MEASURES[state.measure][1]}. ` +
      (run.strategies.some(s => s.oracle) ? "The thick line is the oracle, trained anew on everything at each step: what reaches it from the left costs less." : "Up and to the left is better.");
    chart(compute, { label: "Score against compute", tall: true, dots: true, ends: true, empty,
      series: visible().map(s => {
        const score = scoreOf(s);
        let spent = 0;
        return { s, points: run.time_steps.map((step, i) => {
          spent += s.stages[i][state.cost];
          const value = score ? mean(MEASURES[state.measure][2](rowOf(score, i), i)) : null;
          return { x: spent, y: spent > 0 ? value : null, tip: [exact(value), `after ${step}`, `${si(spent, 4)} ${state.cost === "total_macs" ? "total" : "forward"} MACs so far`] };
        }) };
      }),
      x: { kind: "log", title: (state.cost === "forward_macs" ? "forward MACs" : compute.clientWidth < 480 ? "total MACs" : "total MACs (forward, backward, teacher, tuning)") + " so far, log scale", format: v => si(v) },
      y: { title: title(), format: v => String(+(100 * v).toFixed(2)), zero: true } }, state.focus);
  });
  scored.push(() => {
    aboutTime.textContent = `${where()} after each step, ${MEASURES[state.measure][1]}.`;
    chart(time, { label: "Score over time", dots: true, ends: true, empty,
      series: visible().map(s => { const score = scoreOf(s); return { s, points: run.time_steps.map((step, i) => {
        const value = score ? mean(MEASURES[state.measure][2](rowOf(score, i), i)) : null;
        return { x: i, y: value, tip: [exact(value), `after ${step}`, MEASURES[state.measure][1]] };
      }) }; }),
      x: overSteps, y: { title: title(), format: v => String(+(100 * v).toFixed(2)), zero: true } }, state.focus);
  });
  scored.push(() => chart(forgetting, { label: "Forgetting per step", dots: true, ends: true, empty: T < 2 ? "Forgetting needs two time steps." : empty,
    series: visible().map(s => { const score = scoreOf(s); return { s, points: run.time_steps.map((step, i) => {
      const lost = [];
      for (let j = 0; j < i && score; j++) {
        const last = score.matrix[i * T + j], column = [];
        for (let k = j; k <= i; k++) column.push(score.matrix[k * T + j]);
        if (known(last)) lost.push(Math.max(...column.filter(known)) - last);
      }
      const value = mean(lost);
      return { x: i, y: value, tip: [exact(value).replace("%", "points"), `after ${step}`, `mean of ${lost.length} earlier task${lost.length === 1 ? "" : "s"}`] };
    }) }; }), x: overSteps, y: { title: `forgetting of ${state.score}, in points`, format: v => String(+(100 * v).toFixed(2)), zero: true } }, state.focus));

  /* matrices */
  const matrices = el("div", { class: "grid" }), scale = el("div", { class: "scale" });
  matrices.style.setProperty("--panel", T > 12 ? "30rem" : T > 8 ? "24rem" : "18rem");
  scored.push(() => {
    aboutMatrices.textContent = `${where()}, in percent. Row: after training on a time step. Column: tested on a step’s task. The outlined diagonal is each step’s own task; below it is the past, above it what is to come.`;
    const list = visible().map(s => [s, scoreOf(s)]), values = list.flatMap(([, score]) => score ? score.matrix.filter(known) : []), top = values.length ? Math.max(...values) : 0;
    const stops = data.style.map.filter((_, i) => i % 8 === 0 || i === data.style.map.length - 1);
    const bar = el("i");
    bar.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
    scale.replaceChildren("0", bar, values.length ? percent(top) + " %, the best of those shown" : "no score yet");
    const panels = list.map(([s, score]) => [s, score, el("div", { class: "heat" })]);
    matrices.replaceChildren(...panels.map(([s, score, panel]) => el("figure", { "data-strategy": s.label }, el("h3", {}, swatch(s), name(s.label)), panel,
      el("figcaption", {}, score ? `in-domain ${percent(score.in_domain)} · backward ${percent(score.backward)} · forward ${percent(score.forward)}` : ""))));
    if (!panels.length) matrices.replaceChildren(el("p", { class: "empty" }, "No strategy is shown."));
    const rooms = panels.map(([, , panel]) => panel.clientWidth); /* all before the first is drawn: one layout, not one each */
    panels.forEach(([s, score, panel], i) => heat(panel, run, s, score, top, rooms[i]));
  });

  /* training */
  const places = { loss: host(), rate: host(), speed: host(), wait: host(), memory: host() };
  function curve(s, key, tipOf, band) {
    const c = s.curve, points = [];
    let step = 0;
    for (let k = 0; k < c.at.length; k++) {
      const u = c.at[k];
      while (step + 1 < T && u >= c.starts[step + 1]) step++;
      const room = c.starts[step + 1] - c.starts[step], x = state.along === "steps" ? step + (room > 0 ? Math.min(1, (u - c.starts[step]) / room) : 0) : u;
      const value = c[key][k];
      points.push({ x, y: value, low: band ? c[band + "_low"][k] : undefined, high: band ? c[band + "_high"][k] : undefined, gap: k > 0 && u - c.at[k - 1] > c.width,
        tip: [tipOf(value), band && c.width > 1 && `${small(c[band + "_low"][k])} to ${small(c[band + "_high"][k])}`,
          c.width > 1 ? `updates ${count(u + 1)} to ${count(Math.min(u + c.width, c.updates))}` : `update ${count(u + 1)}`, `time step ${run.time_steps[step]}`] });
    }
    return { s, points };
  }
  const axis = () => state.along === "steps" ? { kind: "band", span: true, labels: run.time_steps, title: "time step, each as wide as the others" } : { kind: "linear", title: "updates", format: v => si(v) };
  const kinds = [
    ["loss", "loss", "Loss", small, { title: "", format: small }, "loss", "No training is recorded yet."],
    ["rate", "rate_high", "Learning rate", scientific, { title: "", format: scientific, zero: true }, null, "No training is recorded yet."],
    ["speed", "speed", "Throughput", v => small(v) + " samples/s", { title: "samples per second", format: v => si(v), zero: true }, null, "No training is recorded yet."],
    ["wait", "wait", "Data wait", v => small(100 * v) + " % of the time", { title: "percent of the time", format: v => small(100 * v), zero: true }, null, "No training is recorded yet."],
    ["memory", "memory", "Memory", v => si(v) + "B", { title: "peak of the process so far, bytes", format: v => si(v), zero: true }, null, "This ledger has no record of memory: it was written before memory was recorded."],
  ];
  for (const [place, key, label, tipOf, y, band, none] of kinds) {
    trained.push(() => chart(places[place], { label, empty: none, series: visible().map(s => curve(s, key, v => known(v) ? tipOf(v) : "–", band)), x: axis(), y }, state.focus));
  }
  const along = choice("Along", [["steps", "time steps"], ["updates", "updates"]], state.along, v => { state.along = v; refresh(trained); });
  const widest = Math.max(1, ...run.strategies.map(s => s.curve.width));

  /* skipped, recipe, environment */
  const reasons = new Map();
  for (const skip of run.skips) reasons.set(skip.reason, (reasons.get(skip.reason) || 0) + skip.count);
  const skips = run.skips.length ? [
    el("p", { class: "lead" }, `${count([...reasons.values()].reduce((a, b) => a + b, 0))} samples could not be used while training: ` +
      [...reasons].map(([reason, n]) => `${count(n)} ${reason}`).join(", ") + (run.skip_rows > run.skips.length ? `, counting the first ${run.skips.length} of ${count(run.skip_rows)} entries` : "") + "."),
    el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, ["shard", "reason", "stage", "samples"].map((t, i) => el("th", { scope: "col", class: i < 3 ? "text" : null }, t)))),
      el("tbody", {}, run.skips.map(k => el("tr", {}, el("td", { class: "text" }, name(k.shard)), el("td", { class: "text" }, name(k.reason)), el("td", { class: "text" }, name(k.stage.slice(0, 12))), el("td", {}, count(k.count))))))),
  ] : [el("p", { class: "lead" }, "None: every sample that was drawn could be used.")];
  const resolved = parsed(run.resolved);

  const bar = el("div", { class: "bar" }, choices, legend);
  const box = el("article", { id: id("top") }, head, bar,
    el("h2", { id: id("summary") }, "Summary"), aboutSummary, summary,
    el("h2", { id: id("compute") }, "Score against compute"), about, el("figure", {}, compute),
    el("h2", { id: id("matrices") }, "Transfer matrices"), aboutMatrices,
    scale, matrices,
    el("h2", { id: id("time") }, "Over time"), el("div", { class: "pair" },
      el("figure", {}, el("h3", {}, "Score"), time, aboutTime),
      el("figure", {}, el("h3", {}, "Forgetting"), forgetting, el("figcaption", {}, "How far the best score an earlier task ever had lies above its score now, mean over earlier tasks."))),
    el("h2", { id: id("training") }, "Training"), el("p", { class: "lead" }, widest > 1 ? `The stages of each strategy one behind the other. Each point stands for up to ${count(widest)} updates: the line is their mean, the band reaches from the lowest to the highest, so that no spike is lost.` : "The stages of each strategy one behind the other, every update."),
    el("div", { class: "choices", style: "font: .8125rem/1.4 var(--ui)" }, along),
    el("div", { class: "pair" }, el("figure", {}, el("h3", {}, "Loss"), places.loss), el("figure", {}, el("h3", {}, "Learning rate"), places.rate),
      el("figure", {}, el("h3", {}, "Throughput"), places.speed), el("figure", {}, el("h3", {}, "Data wait"), places.wait), el("figure", {}, el("h3", {}, "Memory"), places.memory)),
    el("h2", { id: id("skipped") }, "Skipped samples"), skips,
    el("h2", { id: id("recipe") }, "Recipe and environment"),
    el("p", { class: "lead" }, "Recipe ", name(run.recipe_path), ", stream ", name(run.manifest), `, ${count(run.attempts)} attempt${run.attempts === 1 ? "" : "s"}.`),
    el("details", { open: run.recipe.length < 6000 }, el("summary", {}, "Recipe"), el("pre", {}, el("code", {}, run.recipe || "not recorded"))),
    el("details", { class: "screen" }, el("summary", {}, "Every value, defaults too"), el("pre", {}, el("code", {}, resolved ? JSON.stringify(resolved, null, 2) : run.resolved || "not recorded"))),
    el("details", {}, el("summary", {}, "Strategies and their options"), el("dl", { class: "tree" }, run.strategies.map(s => [el("dt", {}, name(s.label)), el("dd", {}, name(s.strategy), " ", tree(parsed(s.options)))]))),
    el("details", {}, el("summary", {}, "Environment of the last attempt"), environment ? tree(environment) : el("p", {}, "not recorded")));
  drawChoices();
  drawLegend();
  return { box, redraw() { refresh(scored); refresh(trained); } };
}

/* ---- all runs in one table ---- */

function overview() {
  const host = el("div", { class: "scroll" }), sort = { key: null, way: 1 };
  const rows = data.runs.flatMap((run, r) => run.strategies.map(s => {
    const score = run.tasks.length ? s.tasks[0][run.tasks[0].scores[0]] : {};
    return { head: [el("a", { href: `#run${r + 1}-top` }, name(titleOf(run)))], values: { run: titleOf(run), strategy: s.label, task: run.tasks.length ? `${run.tasks[0].name} ${run.tasks[0].scores[0]}` : "–", ...score, total_macs: s.total_macs, samples: s.samples } };
  }));
  const columns = [{ key: "run", title: "run", text: true }, { key: "strategy", title: "strategy", text: true }, { key: "task", title: "score", text: true },
    ...["in_domain", "backward", "forward", "forgetting"].map(key => ({ key, title: key.replace("_", "-"), better: key === "forgetting" ? -1 : 1, format: percent })),
    { key: "total_macs", title: "total MACs", format: si }, { key: "samples", title: "samples", format: count }];
  const draw = () => table(host, columns, rows, sort, () => { sort.pressed = true; draw(); sort.pressed = false; });
  draw();
  return el("section", {}, el("h2", {}, `${data.runs.length} runs`), host);
}

/* ---- sweeps: means over seeds ---- */

function sweep(text) {
  const all = parsed(text);
  if (!all) return null;
  const of = all.sweep, spread = s => known(s.mean) ? percent(s.mean) + (known(s.standard_deviation) ? " ± " + percent(s.standard_deviation) : "") : "–";
  const strategies = Object.entries(all.strategies), first = strategies.flatMap(([, s]) => s.rows)[0];
  const tasks = first ? Object.keys(first.tasks).filter(task => first.tasks[task].score) : [];
  const told = settings => Object.entries(settings).map(([key, value]) => `${key} = ${typeof value === "string" ? value : JSON.stringify(value)}`).join(", ");
  return el("section", {}, el("h2", {}, "Sweep ", name(of.name)),
    el("p", { class: "lead" }, `${count(of.complete)} of ${count(of.combinations)} runs are complete. ` +
      (of.chosen_on ? `The best setting of each strategy has the highest ${String(of.criterion).replace("_", "-")} of ${of.score} on ${of.chosen_on}, mean over seeds${of.held_out ? "" : "; no other set is held out for choosing"}. ` : "") +
      "Mean ± sample standard deviation over seeds, in percent; tuning is what the other settings cost."),
    tasks.map(task => {
      const host = el("div", { class: "scroll" }), sort = { key: null, way: 1 };
      const rows = strategies.flatMap(([label, s]) => s.rows.map(row => ({ head: [name(label)], row, score: row.tasks[task],
        values: { strategy: label, setting: row.settings.map(told).filter(Boolean).join("; or ") || "–", best: row.best ? "best" : "", n: row.runs_complete, total_macs: row.total_macs, tuning_macs: row.best ? s.tuning_macs : null,
          ...Object.fromEntries(["average", "in_domain", "backward", "forward", "forgetting"].map(key => [key, row.tasks[task][key].mean])) } })));
      const column = (key, better) => ({ key, title: key.replace("_", "-"), better, show: r => spread(r.score[key]) });
      const columns = [{ key: "strategy", title: "strategy", text: true }, { key: "setting", title: "setting", text: true }, { key: "best", title: "chosen", text: true }, { key: "n", title: "runs", format: count },
        column("average", 1), column("in_domain", 1), column("backward", 1), column("forward", 1), column("forgetting", -1),
        { key: "total_macs", title: "total MACs", format: si }, { key: "tuning_macs", title: "tuning MACs", format: si }];
      const draw = () => table(host, columns, rows, sort, () => { sort.pressed = true; draw(); sort.pressed = false; });
      draw();
      return [el("h3", { style: "margin-top: 1.5rem" }, name(`${task}: ${first.tasks[task].score}`), first.tasks[task].chosen_on && " (settings are chosen on it)"), host];
    }));
}

/* ---- the page ---- */

const prefers = matchMedia("(prefers-color-scheme: dark)");
let chosen = null;
const themeButton = el("button", { type: "button", class: "plain", id: "theme", onclick: () => { chosen = root.dataset.theme === "dark" ? "light" : "dark"; theme(); } });
function theme() {
  root.dataset.theme = chosen || (prefers.matches ? "dark" : "light");
  themeButton.textContent = root.dataset.theme === "dark" ? "Light" : "Dark";
}
prefers.addEventListener("change", theme);
theme();
const articles = data.runs.map(article);
const links = data.runs.length > 6 ? [] : data.runs.length > 1 ? data.runs.map((run, r) => el("a", { href: `#run${r + 1}-top` }, name(titleOf(run))))
  : [["summary", "Summary"], ["compute", "Compute"], ["matrices", "Matrices"], ["time", "Over time"], ["training", "Training"], ["recipe", "Recipe"]].map(([k, t]) => el("a", { href: "#run1-" + k }, t));
page.append(el("div", { class: "top" }, el("nav", { "aria-label": "Parts of the page" }, links), themeButton), ...data.sweeps.map(sweep).filter(Boolean), ...(data.runs.length > 1 ? [overview()] : []), ...articles.map(a => a.box),
  el("footer", {}, `Made by perennial ${data.perennial}. This file holds everything it shows and loads nothing.`));
document.body.append(tip);
for (const a of articles) a.redraw();
root.dataset.ready = "";

let width = document.documentElement.clientWidth, waiting = 0;
addEventListener("resize", () => {
  if (document.documentElement.clientWidth === width) return;
  width = document.documentElement.clientWidth;
  cancelAnimationFrame(waiting);
  waiting = requestAnimationFrame(() => { for (const a of articles) a.redraw(); });
});
addEventListener("scroll", hideTip, { passive: true });
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open]):not(.screen)")];
  opened.forEach(d => { d.open = true; });
  root.dataset.theme = "light";
  hideTip();
});
addEventListener("afterprint", () => { opened.forEach(d => { d.open = false; }); theme(); });
})();
