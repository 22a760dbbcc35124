// Sets the theme that was chosen before anything is drawn, so that nothing flashes.
try {
  document.documentElement.dataset.theme = localStorage.getItem("convscope theme") ?? "auto";
} catch {
  document.documentElement.dataset.theme = "auto"; // storage is forbidden: the system's theme it is
}
