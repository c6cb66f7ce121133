"use strict";

// Type, and see what a model makes of it. All text is put in as text: labels and answers are never read as HTML.

const at = (id) => document.getElementById(id);
const models = new Map();

// What is asked of each kind of model: the names of the two fields, examples, the request, how its answer is shown.
const RANK = {
  fields: ["Query", "Texts, one a line"],
  examples: ["How do I bake bread?", "Mix flour, water, salt and yeast.\nThe train leaves at nine.\nLet the dough rise for an hour."],
  request: (model, query, texts) => ["/v1/rerank", { model, query, documents: lines(texts), return_documents: true }],
  show: (answer) => bars(answer.results.map((each) => [each.document.text, each.relevance_score])),
};
const KINDS = {
  "text-classification": {
    fields: ["Text"],
    examples: ["where is my card?"],
    request: (model, inputs) => ["/tasks/text-classification", { model, inputs, top_k: 10 }],
    show: (answer) => bars(answer.answer.map((each) => [each.label, each.score])),
  },
  "token-classification": {
    fields: ["Text"],
    examples: ["Ada Lovelace lived in London."],
    request: (model, inputs) => [
      "/tasks/token-classification",
      { model, inputs, aggregation_strategy: "simple", stride: Math.min(16, models.get(model).task.max_length >> 2) },
    ],
    show: (answer, text) => marked(text, answer.answer.map((each) => [each.start, each.end, each.entity_group])),
  },
  "question-answering": {
    fields: ["Question", "Text that may answer it"],
    examples: ["Where did Ada live?", "Ada Lovelace lived in London, and wrote about machines."],
    request: (model, question, context) => ["/tasks/question-answering", { model, inputs: { question, context } }],
    show: (answer, _, context) => marked(context, [[answer.answer.start, answer.answer.end, score(answer.answer.score)]]),
  },
  "fill-mask": {
    fields: ["Text with [MASK] or <mask>"],
    examples: ["Paris is the [MASK] of France."],
    request: (model, inputs) => ["/tasks/fill-mask", { model, inputs, top_k: 10 }],
    show: (answer) => bars(answer.answer.flat().map((each) => [each.sequence, each.score])),
  },
  "sentence-embedding": RANK,
  "multi-vector": RANK,
};

const lines = (text) => text.split("\n").filter((line) => line.trim());
const score = (value) => value.toFixed(3);

function element(tag, name, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

function bars(rows) {
  const values = rows.map((row) => row[1]);
  const least = Math.min(0, ...values), most = Math.max(1, ...values);
  return rows.map(([label, value]) => {
    const row = element("div", "row"), track = element("div", "track"), bar = element("div", "bar");
    bar.style.width = `${(100 * (value - least)) / (most - least)}%`;
    track.append(bar);
    row.append(element("span", "label", label), element("span", "score", score(value)), track);
    return row;
  });
}

// Places are counted in characters as Python has them: code points.
function marked(text, places) {
  const letters = Array.from(text), parts = [];
  let done = 0;
  for (const [start, end, label] of places) {
    parts.push(letters.slice(done, start).join(""));
    const mark = element("mark", "", letters.slice(start, end).join(""));
    mark.append(element("small", "", label));
    let hue = 0;
    for (const letter of String(label)) hue = (hue * 31 + letter.codePointAt(0)) % 360;
    mark.style.backgroundColor = `hsl(${hue} 70% 50% / 30%)`;
    parts.push(mark);
    done = end;
  }
  parts.push(letters.slice(done).join(""));
  return parts;
}

async function ask(path, body) {
  const headers = {};
  if (at("key").value) headers.Authorization = `Bearer ${at("key").value}`;
  const options = { headers };
  if (body) {
    options.method = "POST";
    headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const response = await fetch(path, options);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error?.message ?? answer.message ?? answer.error ?? response.statusText);
  return answer;
}

function kind() {
  const { task } = models.get(at("model").value);
  return task.kind === "text-classification" && task.labels.length === 1 ? RANK : KINDS[task.kind];
}

function choose() {
  const { task } = models.get(at("model").value), { fields, examples } = kind();
  at("about").textContent =
    `${task.kind}, reads ${task.max_length} tokens` + (task.labels.length ? `, ${task.labels.length} labels` : "");
  at("name1").textContent = fields[0];
  at("second").hidden = fields.length < 2;
  at("name2").textContent = fields[1] ?? "";
  at("text1").value = examples[0];
  at("text2").value = examples[1] ?? "";
  at("answer").replaceChildren();
  at("error").textContent = at("time").textContent = "";
}

async function load() {
  at("error").textContent = "";
  try {
    const { data } = await ask("/v1/models");
    models.clear();
    for (const each of data) models.set(each.id, each);
    at("model").replaceChildren(...data.map((each) => element("option", "", each.id)));
    choose();
  } catch (error) {
    at("error").textContent = error.message;
  }
}

async function submit(event) {
  event.preventDefault();
  at("error").textContent = "";
  if (!models.size) await load();
  if (!models.size) return;
  const { request, show } = kind(), texts = [at("text1").value, at("text2").value];
  const begun = performance.now();
  try {
    const answer = await ask(...request(at("model").value, ...texts));
    at("time").textContent = `${(performance.now() - begun).toFixed(1)} ms`;
    at("answer").replaceChildren(...show(answer, ...texts));
    if (!at("answer").textContent) at("answer").textContent = "nothing found";
  } catch (error) {
    at("answer").replaceChildren();
    at("error").textContent = error.message;
  }
}

at("model").addEventListener("change", choose);
at("key").addEventListener("change", load);
at("form").addEventListener("submit", submit);
load();
