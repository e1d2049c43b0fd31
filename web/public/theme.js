// Runs before the first paint, so that a stored choice never flashes the other theme.
(() => {
  let stored = null;
  try {
    stored = localStorage.getItem("gp4u.theme");
  } catch {
    // Storage may be blocked; the system's choice is then the theme.
  }
  const dark =
    stored === "dark" || (stored !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();
