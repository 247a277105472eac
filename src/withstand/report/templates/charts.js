"use strict";
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
      gridcolor: color("line"), linecolor: color("line"), zeroline: false, automargin: true,
      tickfont: { color: color("soft") }, title: { font: { color: color("soft"), size: 12 }, standoff: 8 },
      fixedrange: false,
    };
    return {
      control: color("chart-control"),
      colorway: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map((k) => color(`chart-${k}`)),
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: style.fontFamily, size: 12, color: color("ink") },
      margin: { l: 48, r: 12, t: 8, b: 40 },
      xaxis: axis, yaxis: axis,
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { color: color("ink") } },
      hovermode: "x unified",
      hoverlabel: { bgcolor: color("card"), bordercolor: color("line"), font: { color: color("ink") } },
    };
  };

  const plots = [...document.querySelectorAll(".plot")].map((place) => ({
    place, figure: JSON.parse(place.nextElementSibling.textContent),
  }));
  plots.forEach(({ place }) => place.replaceChildren());
  const colored = (trace, common) => {
    if (trace.meta === undefined) return trace;
    const color = trace.meta === null ? common.control : common.colorway[trace.meta % common.colorway.length];
    return { ...trace, line: { ...trace.line, color }, marker: { ...trace.marker, color } };
  };
  const draw = (size = {}) => {
    const common = theme();
    const halo = getComputedStyle(document.documentElement).getPropertyValue("--halo").trim();
    for (const { place, figure } of plots) {
      const layout = merge({ ...common, control: undefined, height: place.clientHeight, autosize: true }, { ...figure.layout, ...size });
      layout.annotations = (layout.annotations || []).map((note) => ({ bgcolor: halo, borderpad: 2, ...note }));
      const data = structuredClone(figure.data).map((trace) => colored(trace, common));
      Plotly.react(place, data, layout, { displayModeBar: false, responsive: true });
    }
  };
  draw();
  document.documentElement.dataset.charts = "drawn";
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw());
  addEventListener("beforeprint", () => draw({ autosize: false, width: 640 }));
  addEventListener("afterprint", () => draw());
})().catch((error) => {
  document.documentElement.dataset.charts = "failed";
  console.error(error);
});
