// Shows the panels of Figure 3 that the control chooses; without this script all are shown.
(function () {
  const control = document.getElementById("gate-control");
  if (!control) return;
  const panels = Array.from(document.querySelectorAll("#gate-panels figure"));
  const output = control.querySelector("output");
  function chosen(name) {
    return control.querySelector('input[name="' + name + '"]:checked').value;
  }
  function update() {
    const layer = chosen("layer"), shot = chosen("shot");
    let shown = 0;
    for (const panel of panels) {
      const fits = (layer === "all" || panel.dataset.layer === layer) &&
        (shot === "all" || panel.dataset.shot === shot);
      panel.hidden = !fits;
      shown += fits;
    }
    output.textContent = shown + " of " + panels.length + " panels shown";
  }
  control.hidden = false;
  control.addEventListener("change", update);
  update();
})();
