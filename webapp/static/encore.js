// What the pages do beyond their links and forms: suggestions while one types, and runs that update themselves.
"use strict";

const WAIT_MS = 120;
const REFRESH_MS = 2000;
const MOST = 8;

// -- suggestions: a combobox over what the API finds ------------------------------------------------------------------

const kinds = {
  users: {
    of: "users",
    line: (user) => ({
      text: user.user_id, more: `${user.heard.toLocaleString("en")} heard`, href: pageOf("users", user.user_id),
    }),
  },
  tracks: tracksTo((id) => pageOf("tracks", id)),
  picks: tracksTo(withPick),
};

function tracksTo(hrefOf) {
  return {
    of: "tracks",
    line: (track) => ({
      text: track.title ?? track.track_id, more: track.artist ?? "", href: hrefOf(track.track_id),
    }),
  };
}

function pageOf(kind, id) {
  const fits = id !== "." && id !== "..";
  const url = new URL(fits ? `/${kind}/${encodeURIComponent(id)}` : `/${kind}`, location.origin);
  if (!fits) url.searchParams.set("q", id);
  if (dataset()) url.searchParams.set("dataset", dataset());
  return url.href;
}

function withPick(id) {
  const url = new URL(location.href);
  url.searchParams.delete("q");
  if (!url.searchParams.getAll("t").includes(id)) url.searchParams.append("t", id);
  return url.href;
}

function dataset() {
  return document.querySelector('input[name="dataset"]')?.value ?? new URL(location.href).searchParams.get("dataset");
}

function suggest(input) {
  const kind = kinds[input.dataset.suggest];
  const list = document.createElement("ul");
  list.id = `${input.id}-found`;
  list.className = "suggestions";
  list.role = "listbox";
  list.ariaLabel = "Suggestions";
  list.hidden = true;
  input.parentElement.append(list);
  input.role = "combobox";
  input.ariaAutoComplete = "list";
  input.ariaExpanded = "false";
  input.setAttribute("aria-controls", list.id);
  let timer, asking, active = -1;

  const choose = (place) => {
    const options = [...list.children];
    active = options.length ? (place + options.length) % options.length : -1;
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
  const show = (found) => {
    list.replaceChildren(...found.map((each, place) => {
      const option = document.createElement("li");
      option.id = `${list.id}-${place}`;
      option.role = "option";
      option.ariaSelected = "false";
      option.dataset.href = each.href;
      const text = document.createElement("bdi");
      text.textContent = each.text;
      const more = document.createElement("small");
      more.textContent = each.more;
      option.append(text, " ", more);
      return option;
    }));
    active = -1;
    list.hidden = !found.length;
    input.ariaExpanded = String(!list.hidden);
  };
  const ask = async () => {
    asking?.abort();
    const words = input.value;
    if (!words.trim()) return close();
    asking = new AbortController();
    const query = { q: words, limit: MOST };
    if (dataset()) query.dataset = dataset();
    try {
      const answer = await fetch(`/api/v1/${kind.of}?${new URLSearchParams(query)}`, { signal: asking.signal });
      if (answer.ok && document.activeElement === input) show((await answer.json())[kind.of].map(kind.line));
    } catch (error) {
      if (error.name !== "AbortError") close(); // the form still works
    }
  };
  input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(ask, WAIT_MS); });
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if (list.hidden) return;
    if (event.key === "ArrowDown") choose(active + 1);
    else if (event.key === "ArrowUp") choose(active - 1);
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

// -- a page about something that goes on is asked for again until it has ended ------------------------------------------

const FOCUSABLE = "a, button, input, summary, [tabindex]";
const SCROLLING = ".scroll, .log";

async function refresh() {
  const main = document.getElementById("content");
  if (!("live" in main.dataset)) return;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = answer.ok && page.getElementById("content");
    if (fresh) {
      document.title = page.title;
      update(main, fresh);
      if (!("live" in fresh.dataset)) delete main.dataset.live;
    }
  } catch {
    // The server may be starting again: ask later.
  }
  setTimeout(refresh, REFRESH_MS);
}

// What is the same stays, with what is marked in it; what changed keeps its place and the focus.
function update(main, fresh) {
  const parts = [...main.children], renewed = [...fresh.children];
  renewed.forEach((part, place) => {
    const before = parts[place];
    if (!before) main.append(part);
    else if (before.outerHTML !== part.outerHTML) replace(before, part);
  });
  parts.slice(renewed.length).forEach((part) => part.remove());
}

function replace(before, part) {
  const scrolled = [...before.querySelectorAll(SCROLLING)].map((box) => [box.scrollLeft, box.scrollTop]);
  const focused = [...before.querySelectorAll(FOCUSABLE)].indexOf(document.activeElement);
  before.replaceWith(part);
  part.querySelectorAll(SCROLLING).forEach((box, place) => {
    [box.scrollLeft, box.scrollTop] = scrolled[place] ?? [0, 0];
  });
  part.querySelectorAll(FOCUSABLE)[focused]?.focus({ preventScroll: true });
}

document.querySelectorAll("input[data-suggest]").forEach(suggest);
setTimeout(refresh, REFRESH_MS);
