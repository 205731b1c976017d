// Progressive enhancement: search suggestions while typing, and pages of running runs that update themselves.
"use strict";

const DEBOUNCE_MS = 120;
const REFRESH_MS = 2000;
const MAX_SUGGESTIONS = 8;

// -- suggestions: a combobox over the API's search --------------------------------------------------------------------

// By the value of data-suggest: the API's collection, and how a result becomes an option.
const sources = {
  users: {
    collection: "users",
    option: (user) => ({
      text: user.user_id, details: `${user.tracks_heard.toLocaleString("en")} heard`, href: pageUrl("users", user.user_id),
    }),
  },
  tracks: trackSource((id) => pageUrl("tracks", id)),
  picks: trackSource(urlWithPick),
};

function trackSource(urlOf) {
  return {
    collection: "tracks",
    option: (track) => ({
      text: track.title ?? track.track_id, details: track.artist ?? "", href: urlOf(track.track_id),
    }),
  };
}

function pageUrl(collection, id) {
  const fitsInPath = id !== "." && id !== "..";
  const url = new URL(fitsInPath ? `/${collection}/${encodeURIComponent(id)}` : `/${collection}`, location.origin);
  if (!fitsInPath) url.searchParams.set("q", id);
  if (dataset()) url.searchParams.set("dataset", dataset());
  return url.href;
}

function urlWithPick(id) {
  const url = new URL(location.href);
  url.searchParams.delete("q");
  if (!url.searchParams.getAll("t").includes(id)) url.searchParams.append("t", id);
  return url.href;
}

function dataset() {
  return document.querySelector('input[name="dataset"]')?.value ?? new URL(location.href).searchParams.get("dataset");
}

function addSuggestions(input) {
  const source = sources[input.dataset.suggest];
  const list = document.createElement("ul");
  list.id = `${input.id}-suggestions`;
  list.className = "suggestions";
  list.role = "listbox";
  list.ariaLabel = "Suggestions";
  list.hidden = true;
  input.parentElement.append(list);
  input.role = "combobox";
  input.ariaAutoComplete = "list";
  input.ariaExpanded = "false";
  input.setAttribute("aria-controls", list.id);
  let timer, request, active = -1;

  const activate = (index) => {
    const options = [...list.children];
    active = options.length ? (index + options.length) % options.length : -1;
    options.forEach((option, other) => { option.ariaSelected = String(other === active); });
    if (active < 0) input.removeAttribute("aria-activedescendant");
    else {
      input.setAttribute("aria-activedescendant", options[active].id);
      options[active].scrollIntoView({ block: "nearest" });
    }
  };
  const close = () => {
    list.hidden = true;
    active = -1;
    input.ariaExpanded = "false";
    input.removeAttribute("aria-activedescendant");
  };
  const show = (results) => {
    list.replaceChildren(...results.map((result, index) => {
      const option = document.createElement("li");
      option.id = `${list.id}-${index}`;
      option.role = "option";
      option.ariaSelected = "false";
      option.dataset.href = result.href;
      const text = document.createElement("bdi");
      text.textContent = result.text;
      const details = document.createElement("small");
      details.textContent = result.details;
      option.append(text, " ", details);
      return option;
    }));
    active = -1;
    list.hidden = !results.length;
    input.ariaExpanded = String(!list.hidden);
  };
  const search = async () => {
    request?.abort();
    const query = input.value;
    if (!query.trim()) return close();
    request = new AbortController();
    const parameters = { q: query, limit: MAX_SUGGESTIONS };
    if (dataset()) parameters.dataset = dataset();
    try {
      const url = `/api/v1/${source.collection}?${new URLSearchParams(parameters)}`;
      const response = await fetch(url, { signal: request.signal });
      if (response.ok && document.activeElement === input) {
        show((await response.json())[source.collection].map(source.option));
      }
    } catch (error) {
      if (error.name !== "AbortError") close(); // the form still works without suggestions
    }
  };
  input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(search, DEBOUNCE_MS); });
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if (list.hidden) return;
    if (event.key === "ArrowDown") activate(active + 1);
    else if (event.key === "ArrowUp") activate(active - 1);
    else if (event.key === "Escape") close();
    else if (event.key === "Enter" && active >= 0) location.assign(list.children[active].dataset.href);
    else return;
    event.preventDefault();
  });
  list.addEventListener("mousedown", (event) => {
    const option = event.target.closest("li");
    if (option) location.assign(option.dataset.href);
    event.preventDefault();
  });
}

// -- pages with data-live reload their content until the server sends one without it -----------------------------------

const FOCUSABLE = "a, button, input, summary, [tabindex]";
const SCROLLABLE = ".scroll, .log";

async function refresh() {
  const main = document.getElementById("content");
  if (!("live" in main.dataset)) return;
  try {
    const response = await fetch(location.href, { headers: { Accept: "text/html" } });
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const newMain = response.ok && page.getElementById("content");
    if (newMain) {
      document.title = page.title;
      update(main, newMain);
      if (!("live" in newMain.dataset)) delete main.dataset.live;
    }
  } catch {
    // The server may be restarting: try again later.
  }
  setTimeout(refresh, REFRESH_MS);
}

// Keeps unchanged sections, so that text selections survive; changed sections keep their scroll position and focus.
function update(main, newMain) {
  const oldSections = [...main.children], newSections = [...newMain.children];
  newSections.forEach((section, index) => {
    const old = oldSections[index];
    if (!old) main.append(section);
    else if (old.outerHTML !== section.outerHTML) replaceSection(old, section);
  });
  oldSections.slice(newSections.length).forEach((section) => section.remove());
}

function replaceSection(old, section) {
  const positions = [...old.querySelectorAll(SCROLLABLE)].map((box) => [box.scrollLeft, box.scrollTop]);
  const focused = [...old.querySelectorAll(FOCUSABLE)].indexOf(document.activeElement);
  old.replaceWith(section);
  section.querySelectorAll(SCROLLABLE).forEach((box, index) => {
    [box.scrollLeft, box.scrollTop] = positions[index] ?? [0, 0];
  });
  section.querySelectorAll(FOCUSABLE)[focused]?.focus({ preventScroll: true });
}

document.querySelectorAll("input[data-suggest]").forEach(addSuggestions);
setTimeout(refresh, REFRESH_MS);
