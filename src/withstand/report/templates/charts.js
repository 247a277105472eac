"use strict";
// Says of what is wider than its place that it scrolls, and lets the keyboard reach it.
{
  const tell = (place) => {
    const more = place.scrollWidth > place.clientWidth + 1;
    if (more === place.hasAttribute("data-more")) return;
    place.toggleAttribute("data-more", more);
    for (const [name, value] of [["tabindex", "0"], ["role", "region"], ["aria-label", place.dataset.label]]) {
      if (more) place.setAttribute(name, value); else place.removeAttribute(name);
    }
  };
  // In the next frame, for what is told changes sizes itself.
  const watch = new ResizeObserver((seen) => requestAnimationFrame(() => seen.forEach(({ target }) => tell(target))));
  document.querySelectorAll(".scroll").forEach((place) => watch.observe(place));
}
// Unpacks plotly, draws every figure of the page, and draws anew when the color scheme or the medium changes.
(async () => {
  const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (c) => c.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const library = document.createElement("script");
  library.textContent = await new Response(unpacked).text();
  document.head.append(library);

  const merge = (theme, own) => {
    const both = { ...theme };
    for (const [key, value] of Object.entries(own)) {
      const nested = value && typeof value === "object" && !Array.isArray(value);
      both[key] = nested ? merge(theme[key] || {}, value) : value;
    }
    return both;
  };

  const theme = () => {
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(`--${name}`).trim();
    const axis = {
      exponentformat: "power", minexponent: 4, gridcolor: color("line"), linecolor: color("line"), zeroline: false, automargin: true,
      tickfont: { color: color("soft") }, title: { font: { color: color("soft"), size: 12 }, standoff: 8 },
      fixedrange: false,
    };
    return {
      control: color("chart-control"), halo: color("halo"),
      colorway: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map((k) => color(`chart-${k}`)),
      layout: {
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false,
        font: { family: style.fontFamily, size: 12, color: color("ink") },
        margin: { l: 48, r: 12, t: 8, b: 40 },
        xaxis: axis, yaxis: axis,
        hovermode: "x unified",
        hoverlabel: { bgcolor: color("card"), bordercolor: color("line"), font: { color: color("ink") } },
      },
    };
  };

  const plots = [...document.querySelectorAll(".plot")].map((place) => ({
    place, figure: JSON.parse(place.nextElementSibling.textContent),
  }));
  plots.forEach(({ place }) => place.replaceChildren());
  const colored = (trace, { control, colorway }) => {
    const color = trace.meta === null ? control : colorway[(trace.meta ?? 0) % colorway.length];
    return { ...trace, line: { ...trace.line, color }, marker: { ...trace.marker, color } };
  };
  const drawOne = ({ place, figure }, common, size) => {
    const layout = merge({ ...common.layout, height: place.clientHeight, autosize: true }, { ...figure.layout, ...size });
    layout.annotations = (layout.annotations || []).map((note) => ({ bgcolor: common.halo, borderpad: 2, ...note }));
    const data = structuredClone(figure.data).map((trace) => colored(trace, common));
    Plotly.react(place, data, layout, { displayModeBar: false, responsive: true });
  };
  const draw = (size = {}) => {
    const common = theme();
    plots.forEach((plot) => drawOne(plot, common, size));
  };
  draw();
  for (const plot of plots) {
    plot.place.closest("figure").querySelectorAll(".keys button").forEach((key) => key.addEventListener("click", () => {
      const shown = key.getAttribute("aria-pressed") !== "true";
      key.setAttribute("aria-pressed", shown);
      plot.figure.data[key.dataset.trace].visible = shown;
      drawOne(plot, theme(), {});
    }));
  }
  document.documentElement.dataset.charts = "drawn";
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw());
  addEventListener("beforeprint", () => draw({ autosize: false, width: 640 }));
  addEventListener("afterprint", () => draw());
})().catch((error) => {
  document.documentElement.dataset.charts = "failed";
  console.error(error);
});
