// The page works without this: it answers while one types, and moves among the results by keys.
"use strict";

const form = document.getElementById("form");
const box = document.getElementById("q");
let timer, latest = 0;

async function answer() {
  const number = ++latest;
  const url = "/?" + new URLSearchParams(new FormData(form));
  let text;
  try {
    text = await (await fetch(url)).text();
  } catch {
    text = '<title>Search</title><p id="found">The service does not answer.</p>';
  }
  if (number !== latest) return; // a later query is on its way
  const page = new DOMParser().parseFromString(text, "text/html");
  for (const id of ["found", "content", "index"]) {
    document.getElementById(id).replaceChildren(...(page.getElementById(id)?.childNodes ?? []));
  }
  document.title = page.title;
  history.replaceState(null, "", url);
}

form.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(answer, 120);
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(timer);
  answer();
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const typing = document.activeElement === box;
  if ((event.key === "/" && !typing) || (event.key === "Escape" && !typing)) {
    event.preventDefault();
    box.select();
  } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    const links = [...document.querySelectorAll("article h2 a")];
    const place = links.indexOf(document.activeElement);
    if (!links.length || (!typing && place < 0)) return;
    event.preventDefault();
    const next = place + (event.key === "ArrowDown" ? 1 : -1);
    (links[Math.min(next, links.length - 1)] ?? box).focus();
  }
});
