"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const drawn = new Set();
  const paper = 840; // pixels, which shrink to a page's width: letters as large as a table's
  let printing = false;

  // "@ink" in a figure is the style sheet's --ink as it is now, light or dark.
  function coloured(value, style) {
    if (typeof value === "string" && value.startsWith("@")) {
      return style.getPropertyValue(`--${value.slice(1)}`).trim();
    }
    if (Array.isArray(value)) return value.map((part) => coloured(part, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, coloured(v, style)]));
    }
    return value;
  }

  function axis(own) {
    return { automargin: true, gridcolor: "@line", linecolor: "@muted", zeroline: false, fixedrange: true, ...own };
  }

  function layoutOf(own, width) {
    return {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: "@ink", size: 13, family: getComputedStyle(document.body).fontFamily },
      margin: { l: 8, r: 12, t: 8, b: 8 },
      showlegend: false,
      hoverlabel: { bgcolor: "@surface", bordercolor: "@muted", font: { color: "@ink" } },
      ...own,
      width,
      xaxis: axis(own.xaxis),
      yaxis: axis(own.yaxis),
    };
  }

  const groupOf = (trace) => trace.legendgroup || trace.name;
  const signs = {
    "circle-open": "○", circle: "●", diamond: "◆", square: "■", "triangle-up": "▲", star: "★",
    cross: "✚", "triangle-down": "▼", x: "✖", "diamond-open": "◇",
  };

  // A legend of check boxes, which a keyboard and a screen reader can use; what is off is hidden.
  function legend(box, data) {
    const field = box.closest("figure").querySelector(".legend");
    const named = data.filter((trace) => groupOf(trace) && trace.showlegend !== false);
    if (named.length > 1 && field.hidden) {
      const seen = new Set();
      for (const trace of named) {
        const group = groupOf(trace);
        if (seen.has(group)) continue;
        seen.add(group);
        const label = document.createElement("label");
        const input = Object.assign(document.createElement("input"), { type: "checkbox", checked: true, value: group });
        const sign = Object.assign(document.createElement("span"), { className: "sign", ariaHidden: "true" });
        sign.textContent = trace.mode.includes("markers") ? signs[trace.marker.symbol] || "●" : "—";
        const colour = (trace.marker || trace.line).color;
        sign.style.color = `var(--${colour.slice(1)})`;
        input.addEventListener("change", () => draw(box));
        label.append(input, sign, group);
        field.append(label);
      }
      field.hidden = false;
    }
    return new Set([...field.querySelectorAll("input:not(:checked)")].map((input) => input.value));
  }

  function draw(box) {
    const name = box.dataset.plot;
    const style = getComputedStyle(document.documentElement);
    const { data, layout } = figures[name];
    const hidden = legend(box, data);
    const screen = box.clientWidth || box.closest("main").clientWidth - 48;
    const width = printing ? paper : Math.max(240, screen);
    const full = coloured(layoutOf(layout, width), style);
    const options = { displayModeBar: false, responsive: false };
    const visible = data.map((trace) => ({ ...trace, visible: !hidden.has(groupOf(trace)) }));
    Plotly.react(box, coloured(visible, style), full, options).then(() => {
      // So that print can shrink the drawing by style alone.
      for (const svg of box.querySelectorAll(".main-svg")) {
        svg.setAttribute("viewBox", `0 0 ${full.width} ${full.height}`);
      }
      box.style.setProperty("--shape", `${full.width} / ${full.height}`);
    });
    drawn.add(box);
  }

  const boxes = [...document.querySelectorAll("[data-plot]")];
  const redraw = () => [...drawn].filter((box) => box.offsetParent).forEach(draw);

  if (window.Plotly) {
    const seen = new IntersectionObserver(
      (entries) => entries.forEach((e) => e.isIntersecting && !drawn.has(e.target) && draw(e.target)),
      { rootMargin: "600px" },
    );
    boxes.forEach((box) => seen.observe(box));
    let width = innerWidth;
    addEventListener("resize", () => {
      if (innerWidth !== width) requestAnimationFrame(redraw);
      width = innerWidth;
    });
    dark.addEventListener("change", redraw);
    addEventListener("beforeprint", () => {
      printing = true; // else letters drawn for a wide screen would be too small on paper
      boxes.forEach(draw);
    });
    addEventListener("afterprint", () => {
      printing = false;
      redraw();
    });
  }

  for (const picker of document.querySelectorAll(".picker")) {
    picker.addEventListener("change", () => {
      for (const figure of picker.closest(".plots").querySelectorAll("figure")) {
        const shown = figure.dataset.choice === picker.value;
        figure.classList.toggle("aside", !shown);
        if (shown && window.Plotly) draw(figure.querySelector("[data-plot]"));
      }
    });
  }

  for (const section of document.querySelectorAll(".examples")) {
    const list = section.querySelector(".list");
    const all = [...list.children];
    const filters = [...section.querySelectorAll("[data-filter]")];
    const search = section.querySelector("[data-search]");
    const order = section.querySelector("[data-order]");
    const by = {
      turn: (a, b) => a.dataset.turn - b.dataset.turn,
      worst: (a, b) => a.dataset.delta - b.dataset.delta,
      best: (a, b) => b.dataset.delta - a.dataset.delta,
      item: (a, b) => a.dataset.item.localeCompare(b.dataset.item),
    };
    const more = section.querySelector(".more");
    let most = 10;
    const show = () => {
      const wanted = search.value.trim().toLowerCase();
      const fits = (example) =>
        filters.every((f) => !f.value || example.dataset[f.dataset.filter] === f.value) &&
        example.textContent.toLowerCase().includes(wanted);
      all.sort(by[order.value]);
      list.append(...all);
      const found = all.filter(fits);
      const shown = new Set(found.slice(0, most));
      all.forEach((example) => (example.hidden = !shown.has(example)));
      more.hidden = found.length <= most;
      section.querySelector(".count").textContent = `${shown.size} of ${found.length} shown`;
    };
    const again = () => {
      most = 10;
      show();
    };
    more.addEventListener("click", () => {
      most += 30;
      show();
    });
    [...filters, order].forEach((control) => control.addEventListener("change", again));
    search.addEventListener("input", again);
    show();
  }

  for (const button of document.querySelectorAll(".copy")) {
    button.addEventListener("click", async () => {
      const text = button.parentElement.querySelector("pre");
      try {
        await navigator.clipboard.writeText(text.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(text);
        button.textContent = "Selected";
      }
    });
  }
})();
