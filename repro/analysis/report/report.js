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

// A click on a column's name sorts the rows by it, a second one the other way.
(function () {
  function value(row, column) {
    const text = row.cells[column] ? row.cells[column].textContent.trim() : "";
    const number = parseFloat(text.replace(/[,<]/g, "").replace("\u2212", "-"));
    return { text: text, number: number };
  }
  // Numbers before text, empty cells last; only within each kind the order is turned round.
  function compare(a, b, sign) {
    if (!a.text !== !b.text) return a.text ? -1 : 1;
    if (isNaN(a.number) !== isNaN(b.number)) return isNaN(a.number) ? 1 : -1;
    return sign * (isNaN(a.number) ? a.text.localeCompare(b.text) : a.number - b.number);
  }
  function sort(table, header, column) {
    const up = header.getAttribute("aria-sort") !== "ascending";
    for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", up ? "ascending" : "descending");
    for (const body of table.tBodies) {
      const rows = Array.from(body.rows).filter((row) => row.cells.length > 1);
      rows.sort((a, b) => compare(value(a, column), value(b, column), up ? 1 : -1));
      for (const row of rows) body.appendChild(row);
    }
  }
  for (const table of document.querySelectorAll("table:not(.matrix)")) {
    if (!table.tHead || table.tHead.rows.length !== 1) continue;
    Array.from(table.tHead.rows[0].cells).forEach(function (header, column) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      while (header.firstChild) button.appendChild(header.firstChild);
      header.appendChild(button);
      button.addEventListener("click", function () { sort(table, header, column); });
    });
  }
})();
