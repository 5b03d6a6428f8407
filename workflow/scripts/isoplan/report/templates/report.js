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
