// Shows the structures of the report's JSON payload with 3Dmol.js, one at a time.
(function () {
  "use strict";
  const data = JSON.parse(document.getElementById("payload").textContent);
  const element = (id) => document.getElementById(id);
  const labels = [...new Set(data.views.map((view) => view.label))];
  const shown = { label: labels[0], state: null, colour: "coordination" };
  const statesOf = (label) =>
    data.views.filter((view) => view.label === label).map((view) => view.state);
  const current = () =>
    data.views.find((view) => view.label === shown.label && view.state === shown.state);
  let viewer = null;

  // Five anchors of the viridis map (S. van der Walt and N. Smith, 2015; CC0).
  const ramp = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
  function rampColour(fraction) {
    const place = Math.min(Math.max(fraction, 0), 1) * (ramp.length - 1);
    const low = Math.min(Math.floor(place), ramp.length - 2);
    const mix = ramp[low].map((c, k) => Math.round(c + (place - low) * (ramp[low + 1][k] - c)));
    return "rgb(" + mix.join(",") + ")";
  }

  const elementColours = ["#4d4d4d", "#d55e00", "#0072b2", "#e69f00", "#009e73", "#cc79a7"];
  const elements = [...new Set(data.views.flatMap((view) => view.symbols))];
  const elementColour = (symbol) =>
    elementColours[elements.indexOf(symbol) % elementColours.length];
  const coordinationColour = (n) => data.colours[String(Math.min(n, 6))];

  function piRange() {
    let low = Infinity, high = -Infinity;
    data.views.forEach((view) => (view.pi_star || []).forEach((x) => {
      if (x !== null) { low = Math.min(low, x); high = Math.max(high, x); }
    }));
    return [low, high];
  }
  const range = piRange();

  function colourOf(view, n) {
    if (shown.colour === "element") return elementColour(view.symbols[n]);
    if (shown.colour === "pi_star" && view.pi_star) {
      const x = view.pi_star[n];
      return x === null ? "#bbbbbb" : rampColour((x - range[0]) / (range[1] - range[0] || 1));
    }
    return coordinationColour(view.coordination[n]);
  }

  function atomsOf(view) {
    const atoms = view.symbols.map((symbol, n) => ({
      elem: symbol, serial: n, index: n, bonds: [], bondOrder: [], hetflag: true,
      x: view.xyz[3 * n], y: view.xyz[3 * n + 1], z: view.xyz[3 * n + 2],
      properties: { colour: colourOf(view, n), place: n },
    }));
    for (let k = 0; k < view.bonds.length; k += 2) {
      const [i, j] = [view.bonds[k], view.bonds[k + 1]];
      atoms[i].bonds.push(j); atoms[i].bondOrder.push(1);
      atoms[j].bonds.push(i); atoms[j].bondOrder.push(1);
    }
    return atoms;
  }

  function drawCell(cell) {
    const corner = (i, j, k) => {
      const at = [0, 1, 2].map((x) => i * cell[0][x] + j * cell[1][x] + k * cell[2][x]);
      return { x: at[0], y: at[1], z: at[2] };
    };
    [[0, 0], [0, 1], [1, 0], [1, 1]].forEach(([a, b]) => {
      [[corner(0, a, b), corner(1, a, b)], [corner(a, 0, b), corner(a, 1, b)],
       [corner(a, b, 0), corner(a, b, 1)]].forEach(([start, end]) => {
        viewer.addCylinder({ start, end, radius: 0.04, color: "#555555", fromCap: 1, toCap: 1 });
      });
    });
  }

  function draw(keepView) {
    const view = current();
    const before = keepView ? viewer.getView() : null;
    viewer.removeAllModels();
    viewer.removeAllShapes();
    viewer.removeAllLabels();
    const model = viewer.addModel();
    model.addAtoms(atomsOf(view));
    const large = view.symbols.length > 1500;
    const colorfunc = (atom) => atom.properties.colour;
    viewer.setStyle({}, large
      ? { sphere: { radius: 0.45, colorfunc } }
      : { stick: { radius: 0.11, colorfunc }, sphere: { radius: 0.32, colorfunc } });
    if (view.cell && view.symbols.length === view.atoms) drawCell(view.cell);
    viewer.setClickable({}, true, (atom) => {
      viewer.removeAllLabels();
      const n = atom.properties.place;
      let text = atom.elem + ", " + view.coordination[n] + " bonds";
      if (view.pi_star && view.pi_star[n] !== null) text += ", pi* " + view.pi_star[n];
      viewer.addLabel(text, { position: atom, backgroundColor: "#222222", fontSize: 12 });
      viewer.render();
    });
    if (before) viewer.setView(before); else home();
    viewer.render();
    legend(view);
    about(view);
  }

  function home() {
    viewer.zoomTo();
    viewer.rotate(25, "y");
    viewer.rotate(18, "x");
    viewer.zoom(0.95);
  }

  function entry(colour, text) {
    const item = document.createElement("span");
    const dot = document.createElement("i");
    dot.style.background = colour;
    item.append(dot, text);
    return item;
  }

  function legend(view) {
    const box = element("legend");
    box.replaceChildren();
    if (shown.colour === "pi_star" && view.pi_star) {
      const bar = entry("", "absorption at 285 eV, " + range[0].toPrecision(2) + " to " +
        range[1].toPrecision(2));
      bar.firstChild.className = "ramp";
      bar.firstChild.style.background =
        "linear-gradient(90deg," + ramp.map((c) => "rgb(" + c.join(",") + ")").join(",") + ")";
      box.append(bar);
    } else if (shown.colour === "element") {
      [...new Set(view.symbols)].forEach((symbol) =>
        box.append(entry(elementColour(symbol), symbol)));
    } else {
      const counts = {};
      view.coordination.forEach((n) => { counts[n] = (counts[n] || 0) + 1; });
      Object.keys(counts).map(Number).sort((a, b) => a - b).forEach((n) =>
        box.append(entry(coordinationColour(n), n + " bonds: " +
          (100 * counts[n] / view.coordination.length).toFixed(1) + " %")));
    }
  }

  function about(view) {
    let text = view.label + ", " + view.state + ": " + view.summary + ".";
    if (view.symbols.length < view.atoms) {
      text += " A cut-out of " + view.symbols.length + " atoms is shown, a cube around the middle of " +
        view.atoms + " atoms, without the cell; the shares above are of these.";
    }
    element("about").textContent = text;
    document.querySelectorAll("figure.slice").forEach((figure) => {
      figure.hidden = data.views[figure.dataset.view] !== view;
    });
  }

  function stateButtons() {
    element("states").replaceChildren(...statesOf(shown.label).map((state) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = state;
      button.setAttribute("aria-pressed", String(state === shown.state));
      button.onclick = () => { shown.state = state; stateButtons(); draw(true); };
      return button;
    }));
  }

  function choose(label, state) {
    shown.label = label;
    const states = statesOf(label);
    shown.state = states.includes(state) ? state : states[states.length - 1];
    stateButtons();
  }

  function option(value, text) {
    const item = document.createElement("option");
    item.value = value;
    item.textContent = text;
    return item;
  }

  labels.forEach((label) => element("structure").append(option(label, label)));
  element("colour").append(option("coordination", "coordination"));
  if (elements.length > 1) element("colour").append(option("element", "element"));
  if (range[0] <= range[1]) element("colour").append(option("pi_star", "pi* absorption"));
  const first = data.first || [labels[0], "relaxed"];
  choose(labels.includes(first[0]) ? first[0] : labels[0], first[1]);
  element("structure").value = shown.label;

  try {
    viewer = $3Dmol.createViewer(element("viewer"), { backgroundColor: "white", antialias: true });
    viewer.setProjection("orthographic");
    draw(false);
  } catch (error) {
    element("viewer").style.height = "auto";
    element("viewer").textContent =
      "The structures need WebGL, which this browser does not offer (" + error.message + ").";
    return;
  }
  element("structure").onchange = (event) => { choose(event.target.value, shown.state); draw(false); };
  element("colour").onchange = (event) => { shown.colour = event.target.value; draw(true); };
  element("reset").onclick = () => { viewer.spin(false); draw(false); };
  element("spin").onclick = (event) => {
    const spinning = event.target.getAttribute("aria-pressed") !== "true";
    event.target.setAttribute("aria-pressed", String(spinning));
    viewer.spin(spinning ? "y" : false, 0.6);
  };
})();
