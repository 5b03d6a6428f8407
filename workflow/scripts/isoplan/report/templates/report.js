"use strict";
(function () {
  // A printed page has no way to open what is folded.
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));

  // A figure opens at its full size; Esc or another click closes it.
  const zoomed = document.createElement("dialog");
  zoomed.className = "zoomed";
  zoomed.addEventListener("click", () => zoomed.close());
  document.body.append(zoomed);
  document.querySelectorAll(".figures img").forEach((image) => {
    function open() {
      const large = image.cloneNode();
      large.removeAttribute("class");
      zoomed.replaceChildren(large);
      zoomed.setAttribute("aria-label", image.alt);
      zoomed.showModal();
    }
    image.classList.add("zooms");
    image.tabIndex = 0;
    image.title = "Enlarge";
    image.addEventListener("click", open);
    image.addEventListener("keydown", (event) => { if (event.key === "Enter") open(); });
  });

  // A surface is drawn cell by cell, the farthest first, and turns under the pointer or the arrow keys.
  document.querySelectorAll("figure.surface").forEach((figure) => {
    const data = JSON.parse(figure.querySelector("script").textContent), canvas = figure.querySelector("canvas");
    const rows = data.rows, ny = rows.length, nx = rows[0].length, side = Math.max(nx, ny) - 1 || 1;
    const scale = Math.min(2, devicePixelRatio || 1), width = 760, height = 480;
    canvas.width = width * scale;
    canvas.height = height * scale;
    const pen = canvas.getContext("2d"), span = data.high - data.low || 1;
    const middle = (data.low + data.high) / 2, rise = 0.35 / span;
    let yaw = -0.6, pitch = 0.55, held = null;

    // Of a place in cells and a height: right, down and away from the eye, where the surface's side is 1.
    function project(x, y, z) {
      const u = (x - (nx - 1) / 2) / side, v = (y - (ny - 1) / 2) / side, w = (z - middle) * rise;
      const right = u * Math.cos(yaw) - v * Math.sin(yaw), away = u * Math.sin(yaw) + v * Math.cos(yaw);
      return [right, away * Math.sin(pitch) - w * Math.cos(pitch), -away * Math.cos(pitch) - w * Math.sin(pitch)];
    }

    function draw() {
      const size = 0.54 * width * scale, cells = [];
      for (let y = 0; y + 1 < ny; y++) for (let x = 0; x + 1 < nx; x++) {
        const z = [rows[y][x], rows[y][x + 1], rows[y + 1][x + 1], rows[y + 1][x]];
        if (z.some((one) => one === null)) continue;
        const corners = [project(x, y, z[0]), project(x + 1, y, z[1]), project(x + 1, y + 1, z[2]), project(x, y + 1, z[3])];
        const mean = (z[0] + z[1] + z[2] + z[3]) / 4;
        cells.push({ corners, far: corners.reduce((sum, one) => sum + one[2], 0), colour: data.colours[Math.round((mean - data.low) / span * 31)] });
      }
      cells.sort((a, b) => b.far - a.far);
      pen.clearRect(0, 0, canvas.width, canvas.height);
      const text = getComputedStyle(canvas).color;
      const place = ([right, down]) => [canvas.width / 2 + right * size, canvas.height / 2 + down * size];
      function line(corners) {
        pen.beginPath();
        corners.forEach((one, k) => { const at = place(one); if (k) pen.lineTo(at[0], at[1]); else pen.moveTo(at[0], at[1]); });
      }
      const floor = [[0, 0], [nx - 1, 0], [nx - 1, ny - 1], [0, ny - 1], [0, 0]].map(([x, y]) => project(x, y, data.low));
      pen.strokeStyle = pen.fillStyle = text;
      pen.lineWidth = scale;
      pen.globalAlpha = 0.35;
      line(floor);
      pen.stroke();
      pen.globalAlpha = 1;
      cells.forEach((cell) => {
        line(cell.corners);
        pen.closePath();
        pen.fillStyle = pen.strokeStyle = cell.colour;
        pen.fill();
        pen.stroke();
      });
      pen.fillStyle = text;
      pen.font = 13 * scale + "px " + getComputedStyle(canvas).fontFamily;
      const wide = ((nx - 1) * data.cell).toPrecision(3), deep = ((ny - 1) * data.cell).toPrecision(3);
      pen.fillText(Number(wide) + " × " + Number(deep) + " " + data.unit + ", heights from " + Number(data.low.toPrecision(3)) + " to " + Number(data.high.toPrecision(3)) + " " + data.unit, 12 * scale, canvas.height - 12 * scale);
    }

    function turn(right, down) {
      yaw += right;
      pitch = Math.min(1.5, Math.max(0.05, pitch + down));
      draw();
    }
    canvas.addEventListener("pointerdown", (event) => { held = [event.clientX, event.clientY]; canvas.setPointerCapture(event.pointerId); });
    canvas.addEventListener("pointerup", () => { held = null; });
    canvas.addEventListener("pointermove", (event) => {
      if (!held) return;
      turn((event.clientX - held[0]) / 150, (event.clientY - held[1]) / 150);
      held = [event.clientX, event.clientY];
    });
    const keys = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };
    canvas.addEventListener("keydown", (event) => {
      if (!keys[event.key]) return;
      event.preventDefault();
      turn(...keys[event.key]);
    });
    draw();
  });

  const source = document.getElementById("scenes");
  if (!source) return;
  const scenes = JSON.parse(source.textContent);
  const at = (id) => document.getElementById(id);
  const stage = at("stage"), slider = at("slider");
  const state = { scene: 0, place: 0, left: "", right: "" };

  function move(share) {
    const percent = Math.min(100, Math.max(0, share));
    slider.value = percent;
    slider.setAttribute("aria-valuetext", Math.round(percent) + " % shows the left picture");
    at("left-picture").style.clipPath = "inset(0 " + (100 - percent) + "% 0 0)";
    at("divider").style.left = percent + "%";
  }

  function element(name, text) {
    const made = document.createElement(name);
    if (text) made.textContent = text;
    return made;
  }

  function fillMethods(select, methods, labels, chosen) {
    select.replaceChildren(...methods.map((method) => {
      const option = element("option", labels[method]);
      option.value = method;
      option.selected = method === chosen;
      return option;
    }));
  }

  // The choice stays when another mosaic has it too; else before and after.
  function chooseMosaic(index) {
    const key = scenes[state.scene].places[state.place].key;
    state.scene = index;
    const scene = scenes[index], has = (method) => scene.methods.includes(method);
    if (!has(state.left)) state.left = has("none") ? "none" : scene.methods[0];
    if (!has(state.right)) state.right = has("estimated") ? "estimated" : scene.methods[scene.methods.length - 1];
    state.place = Math.max(0, scene.places.findIndex((place) => place.key === key));
    fillMethods(at("left"), scene.methods, scene.labels, state.left);
    fillMethods(at("right"), scene.methods, scene.labels, state.right);
    at("places").replaceChildren(...scene.places.map((place, i) => {
      const label = element("label"), radio = element("input");
      radio.type = "radio";
      radio.name = "place";
      radio.checked = i === state.place;
      radio.addEventListener("change", () => { state.place = i; show(); });
      label.append(radio, place.label);
      return label;
    }));
    show();
  }

  function showSide(side, scene, place) {
    const method = state[side], image = at(side + "-picture"), tag = at(side + "-tag");
    // A method without a picture of this place (a mosaic too large for an overview) says so.
    const picture = place.pictures[method];
    image.src = picture || Object.values(place.pictures)[0];
    image.alt = scene.name + ", " + place.label + ": " + scene.labels[method];
    tag.textContent = scene.labels[method] + (picture ? "" : " (no picture of this place)");
    tag.style.setProperty("--tag", scene.colours[method]);
  }

  function showPsf(psf) {
    const figure = element("figure"), image = element("img"), caption = element("figcaption");
    image.src = psf.uri;
    image.alt = psf.label + " at this place: " + psf.words.join(", ");
    caption.append(element("strong", psf.label), ...psf.words.flatMap((word) => [word, element("br")]));
    figure.append(image, caption);
    return figure;
  }

  function show() {
    const scene = scenes[state.scene], place = scene.places[state.place], here = at("here");
    stage.style.setProperty("--ratio", place.width + " / " + place.height);
    showSide("left", scene, place);
    showSide("right", scene, place);
    at("scale-bar").style.width = place.bar.share + "%";
    at("scale-label").textContent = place.bar.label;
    at("locator").hidden = !scene.thumbnail;
    if (scene.thumbnail) at("thumbnail").src = scene.thumbnail;
    at("thumbnail").alt = "Where the place is in " + scene.name;
    ["left", "top", "width", "height"].forEach((side, i) => { at("locator-box").style[side] = place.box[i] + "%"; });
    const row = element("div");
    row.className = "psf-row";
    row.append(...place.psfs.map(showPsf));
    here.replaceChildren(...place.words.map((word) => element("p", word)), row);
    if (place.psfs.length) here.append(element("small", "PSF pictures: " + place.psfSide));
    if (scene.scaled.length) here.append(element("small", "Brought to the mosaic's brightness: " + scene.scaled.join(", ")));
  }

  function follow(event) {
    const box = stage.getBoundingClientRect();
    move(100 * (event.clientX - box.left) / box.width);
  }
  stage.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    stage.setPointerCapture(event.pointerId);
    follow(event);
    slider.focus({ preventScroll: true });
    event.preventDefault();
  });
  stage.addEventListener("pointermove", (event) => { if (stage.hasPointerCapture(event.pointerId)) follow(event); });
  slider.addEventListener("input", () => move(+slider.value));
  at("mosaic").addEventListener("change", (event) => chooseMosaic(+event.target.value));
  ["left", "right"].forEach((side) => at(side).addEventListener("change", (event) => { state[side] = event.target.value; show(); }));
  chooseMosaic(0);
  move(50);
})();
