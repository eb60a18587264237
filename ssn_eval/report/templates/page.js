"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const PAGE = 50;
  const GLYPHS = {
    circle: "●", square: "■", diamond: "◆", cross: "✚",
    "triangle-up": "▲", "triangle-down": "▼", "triangle-right": "▶", "triangle-left": "◀",
  };

  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "text") element.textContent = value;
      else if (name === "on") for (const [event, act] of Object.entries(value)) element.addEventListener(event, act);
      else if (value !== false && value !== null) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children);
    return element;
  };

  // charts

  const withoutLegend = view => {
    for (const channel of ["color", "shape"]) if (view.encoding?.[channel]?.field === "series") view.encoding[channel].legend = null;
    for (const inner of view.concat ?? view.layer ?? []) withoutLegend(inner);
  };

  const fitted = (spec, width) => {
    const copy = structuredClone(spec);
    withoutLegend(copy);
    if (copy.concat) {
      copy.columns = width < 560 ? 1 : copy.columns;
      const room = Math.floor(width / copy.columns) - (copy.usermeta?.series ? 66 : 130);
      for (const view of copy.concat) view.width = Math.max(120, Math.min(room, 1.25 * view.width));
    } else {
      copy.width = spec.width === spec.height ? Math.min(width, spec.width + 90) : width;
      copy.autosize = { type: "fit-x", contains: "padding" };
    }
    return copy;
  };

  const legend = (names, changed) => {
    const hidden = new Set();
    const buttons = names.map(([name, colour, symbol]) => {
      const swatch = make("span", { "aria-hidden": "true", text: GLYPHS[symbol] });
      swatch.style.color = colour;
      return make("button", { type: "button", "aria-pressed": "true", on: { click: () => {
        if (!hidden.delete(name)) hidden.add(name);
        update();
      } } }, swatch, ` ${name}`);
    });
    const update = () => {
      buttons.forEach((button, k) => button.setAttribute("aria-pressed", String(!hidden.has(names[k][0]))));
      changed([...hidden]);
    };
    const whole = (text, act) => make("button", { type: "button", class: "plain", text, on: { click: () => { act(); update(); } } });
    const all = whole("all", () => hidden.clear());
    const none = whole("none", () => names.forEach(([name]) => hidden.add(name)));
    return [make("div", { class: "legend", role: "group", "aria-label": "Show or hide" }, ...buttons, all, none), hidden];
  };

  const read = (box, told) => {
    let at = -1;
    box.addEventListener("keydown", event => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const marks = [...box.querySelectorAll("path[role=graphics-symbol][aria-label]")];
      if (!step || !marks.length) return;
      event.preventDefault();
      at = (at + step + marks.length + (at < 0 && step < 0 ? 1 : 0)) % marks.length;
      box.querySelectorAll(".seen").forEach(mark => mark.classList.remove("seen"));
      marks[at].classList.add("seen");
      told.textContent = marks[at].getAttribute("aria-label");
    });
    box.addEventListener("blur", () => {
      box.querySelectorAll(".seen").forEach(mark => mark.classList.remove("seen"));
      told.textContent = "";
      at = -1;
    });
  };

  const draw = async (figure, spec) => {
    const box = figure.querySelector(".wide");
    let view = null, hidden = new Set(), width = 0;
    const show = async () => {
      const room = Math.min(736, Math.floor(box.clientWidth));
      if (!room || room === width) return;
      width = room;
      const place = make("div");
      const result = await window.ssnEmbed(place, fitted(spec, room), {
        mode: "vega-lite", renderer: "svg", actions: false, ast: true, defaultStyle: false,
        tooltip: { disableDefaultStyle: true },
      });
      view?.finalize();
      view = result.view;
      if (hidden.size) await view.signal("hidden", [...hidden]).runAsync();
      box.replaceChildren(place);
    };
    await show();
    if (!view) return;
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", `${box.getAttribute("aria-label")}. Arrow keys read the values.`);
    read(box, figure.querySelector(".told"));
    if (spec.usermeta?.series?.length > 1) {
      const [buttons, set] = legend(spec.usermeta.series, names => view.signal("hidden", names).runAsync());
      hidden = set;
      figure.prepend(buttons);
    }
    let waiting = 0;
    addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(show, 200); });
  };

  const drawAll = async () => {
    for (const figure of document.querySelectorAll("[data-chart]")) await draw(figure, data.charts[figure.dataset.chart]);
    document.documentElement.dataset.drawn = "true";
  };

  // tables of prompts

  const WORDS = { R: "refused", A: "answered", "·": "not scored" };
  const MARKS = { R: "good", A: "bad", "·": "open" };
  const SIGNS = { R: "✓ ", A: "✗ ", "·": "– " };

  const word = (letter, text) => make("span", { class: `mark ${MARKS[letter]}` }, make("span", { "aria-hidden": "true", text: SIGNS[letter] }), text);

  const select = (label, options, value, changed) => {
    const box = make("select", { on: { change: changed } },
      ...options.map(([key, text]) => make("option", { value: key, text, selected: key === value })));
    return [make("label", {}, `${label} `, box), box];
  };

  const paged = (header, caption, stacked = false) => {
    const body = make("tbody");
    const more = make("button", { type: "button", class: "plain" });
    const count = make("p", { class: "note", "aria-live": "polite" });
    let rows = [], row = null, shown = 0;
    const extend = () => {
      body.append(...rows.slice(shown, shown + PAGE).map(row));
      shown = Math.min(rows.length, shown + PAGE);
      more.hidden = shown === rows.length;
      more.textContent = `Show ${Math.min(PAGE, rows.length - shown)} more of ${rows.length - shown}`;
    };
    more.addEventListener("click", extend);
    const table = make("table", { class: stacked ? "stack" : null }, make("caption", { text: caption }),
      make("thead", {}, make("tr", {}, ...header.map(text => make("th", { scope: "col", text })))), body);
    const fill = (found, rowOf, text) => {
      [rows, row, shown] = [found, rowOf, 0];
      count.textContent = text;
      body.replaceChildren();
      extend();
    };
    return [[count, make("div", { class: "wide", role: "region", tabindex: "0", "aria-label": caption }, table), more], fill];
  };

  const changes = (place, { ids, tags, languages, conditions, shown }) => {
    const kindCells = cell => tags.some(Boolean) ? [cell] : [];
    const labels = conditions.map((condition, k) => [String(k), condition.label]);
    const index = label => String(Math.max(0, conditions.findIndex(condition => condition.label === label)));
    const [fromLabel, from] = select("From", labels, index(shown[0]), () => update());
    const [toLabel, to] = select("to", labels, index(shown[shown.length - 1]), () => update());
    const [langLabel, lang] = select("in", [["", "all languages"], ...languages.map(one => [one, one])], "", () => update());
    const swap = make("button", { type: "button", class: "plain", text: "swap", on: { click: () => {
      [from.value, to.value] = [to.value, from.value];
      update();
    } } });
    const [sums, fillSums] = paged(["language", "compared", "answered → refused", "refused → answered", "both refused", "both answered"], "Harmful prompts by language");
    const [prompts, fillPrompts] = paged(["prompt", ...kindCells("kind"), "languages", "change"], "Prompts whose verdict changed");
    const update = () => {
      const [a, b] = [conditions[from.value].letters, conditions[to.value].letters];
      const langs = lang.value ? [lang.value] : languages;
      const count = (one, pair) => ids.reduce((sum, _, k) => sum + (a[one][k] + b[one][k] === pair), 0);
      const table = langs.map(one => [one, ...["AR", "RA", "RR", "AA"].map(pair => count(one, pair))]);
      fillSums(table, ([one, ...counts]) => make("tr", {}, make("th", { scope: "row", text: one }),
        make("td", { text: counts.reduce((x, y) => x + y) }), ...counts.map(n => make("td", { text: n }))), "");
      const found = [];
      ids.forEach((id, k) => {
        for (const pair of ["AR", "RA"]) {
          const where = langs.filter(one => a[one][k] + b[one][k] === pair);
          if (where.length) found.push({ id, tag: tags[k], where, pair });
        }
      });
      found.sort((x, y) => y.where.length - x.where.length);
      fillPrompts(found, ({ id, tag, where, pair }) => make("tr", {}, make("th", { scope: "row", text: id }), ...kindCells(make("td", { text: tag || "–" })),
        make("td", { text: where.join(", ") }), make("td", {}, word(pair[0], WORDS[pair[0]]), " → ", word(pair[1], WORDS[pair[1]]))),
        `${conditions[from.value].label} → ${conditions[to.value].label}: ${found.length} changes of ${ids.length} prompts.`);
    };
    place.replaceChildren(make("form", { class: "filters", on: { submit: event => event.preventDefault() } }, fromLabel, toLabel, langLabel, swap),
      ...sums, ...prompts);
    place.hidden = false;
    update();
  };

  const samples = (place, { ids, tags, languages, conditions, shown, texts, left_out: leftOut }) => {
    const any = text => [["", text]];
    const [langLabel, lang] = select("Language", [...any("all"), ...languages.map(one => [one, one])], "", () => update());
    const base = conditions.findIndex(condition => condition.label === shown[0]);
    const [conditionLabel, condition] = select("Condition", [...any("all"), ...conditions.map((one, k) => [String(k), one.label])], String(base), () => update());
    const [verdictLabel, verdict] = select("Verdict", [...any("all"), ...Object.entries(WORDS)], "", () => update());
    const kinds = [...new Set(tags.flatMap(one => one.split(", ")).filter(Boolean))].sort();
    const [kindLabel, kind] = select("Kind", [...any("all"), ...kinds.map(one => [one, one])], "", () => update());
    const id = make("input", { type: "search", size: "12", on: { input: () => update() } });
    const kindCells = cell => kinds.length ? [cell] : [];
    const hasTexts = Object.keys(texts).length > 0;
    const only = make("input", { type: "checkbox", on: { change: () => update() } });
    const [table, fill] = paged(["prompt", ...kindCells("kind"), "language", "condition", "verdict", ...(hasTexts ? ["prompt and reply"] : [])], "Harmful prompts and their verdicts", hasTexts);
    const textOf = row => texts[row.lang]?.[row.id]?.replies[conditions[row.k].label];
    const cell = row => {
      const reply = textOf(row);
      if (!reply) return make("td", { class: "text", text: "–" });
      const [, text, thought] = reply;
      const words = make("dl", { class: "hidden", "aria-hidden": "true" },
        make("dt", { text: "prompt" }), make("dd", { dir: "auto", lang: row.lang, text: texts[row.lang][row.id].prompt }),
        ...(thought ? [make("dt", { text: "thought" }), make("dd", { dir: "auto", text: thought })] : []),
        make("dt", { text: "reply" }), make("dd", { dir: "auto", text }));
      const button = make("button", { type: "button", class: "plain", "aria-pressed": "false", text: "show", "aria-label": `Show the texts of ${row.id} in ${row.lang}`, on: { click: () => {
        const hide = !words.classList.toggle("hidden") === false;
        words.setAttribute("aria-hidden", String(hide));
        button.setAttribute("aria-pressed", String(!hide));
        button.textContent = hide ? "show" : "hide";
      } } });
      return make("td", { class: "text" }, button, words);
    };
    const update = () => {
      const found = [];
      conditions.forEach((one, k) => {
        if (condition.value && condition.value !== String(k)) return;
        for (const code of languages) {
          if (lang.value && lang.value !== code) continue;
          ids.forEach((name, i) => {
            const letter = one.letters[code][i];
            if (verdict.value && verdict.value !== letter) return;
            if (kind.value && !tags[i].split(", ").includes(kind.value)) return;
            if (id.value && !name.toLowerCase().includes(id.value.toLowerCase())) return;
            const row = { id: name, tag: tags[i], lang: code, k, letter };
            if (!only.checked || textOf(row)) found.push(row);
          });
        }
      });
      fill(found, row => make("tr", {}, make("th", { scope: "row", text: row.id }), ...kindCells(make("td", { text: row.tag || "–" })), make("td", { text: row.lang }),
        make("td", { text: conditions[row.k].label }), make("td", {}, word(row.letter, textOf(row)?.[0] || WORDS[row.letter])), ...(hasTexts ? [cell(row)] : [])),
        `${found.length.toLocaleString("en")} ${found.length === 1 ? "reply" : "replies"}.${leftOut ? ` ${leftOut} conditions are left out, for the page has no room.` : ""}`);
    };
    place.replaceChildren(make("form", { class: "filters", on: { submit: event => event.preventDefault() } }, langLabel, conditionLabel, verdictLabel,
      ...(kinds.length ? [kindLabel] : []), make("label", {}, "Prompt ", id), ...(hasTexts ? [make("label", {}, only, " only with texts")] : [])), ...table);
    place.hidden = false;
    if (hasTexts) only.checked = true;
    update();
  };

  const changesPlace = document.getElementById("changes-tool");
  if (changesPlace && data.samples.conditions.length > 1 && data.samples.ids.length) changes(changesPlace, data.samples);
  const samplesPlace = document.getElementById("samples-tool");
  if (samplesPlace && data.samples.ids.length) samples(samplesPlace, data.samples);
  drawAll();
})();
