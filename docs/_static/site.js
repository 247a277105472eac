"use strict";
// What the theme leaves out for those who do not see the page or use no mouse.
addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll('p.caption[role="heading"]').forEach((caption) => caption.setAttribute("aria-level", "2"));
  for (const [aside, name] of [["sidebar-drawer", "All pages"], ["toc-drawer", "On this page"]]) {
    document.querySelector(`aside.${aside}`)?.setAttribute("aria-label", name);
  }
  // What is wider than the page says that it scrolls, and the keyboard reaches it.
  const tell = (place) => {
    const more = place.scrollWidth > place.clientWidth + 1;
    if (more === place.hasAttribute("data-more")) return;
    place.toggleAttribute("data-more", more);
    if (more) place.setAttribute("tabindex", "0"); else place.removeAttribute("tabindex");
  };
  const watch = new ResizeObserver((seen) => requestAnimationFrame(() => seen.forEach(({ target }) => tell(target))));
  document.querySelectorAll(".highlight pre, .table-wrapper").forEach((place) => watch.observe(place));
});
