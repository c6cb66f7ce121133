"use strict";

// The routes of /openapi.json, each with an example for curl.

function add(parent, tag, text) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

// Text between single quotes of a shell.
function quoted(text) {
  return "'" + text.replaceAll("'", "'\\''") + "'";
}

async function show() {
  const routes = document.getElementById("routes");
  const answer = await fetch("/openapi.json");
  const { paths } = await answer.json();
  for (const [path, methods] of Object.entries(paths)) {
    for (const [method, route] of Object.entries(methods)) {
      const section = add(routes, "section");
      add(add(section, "h2"), "code", `${method.toUpperCase()} ${path}`);
      add(section, "p", route.summary);
      const content = route.requestBody?.content["application/json"];
      if (!content) continue;
      const body = JSON.stringify(content.example);
      const url = location.origin + path;
      add(section, "pre", `curl ${url} -H 'Content-Type: application/json' \\\n  -d ${quoted(body)}`);
      const needed = new Set(content.schema.required);
      const names = Object.keys(content.schema.properties).map((name) => (needed.has(name) ? name : `${name}?`));
      add(section, "p", `Fields: ${names.join(", ")}`);
    }
  }
}

show();
