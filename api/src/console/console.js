"use strict";

const field = (id) => document.getElementById(id);
const form = field("request");

async function run() {
  const answer = field("answer");
  const status = field("status");
  let variables;
  try {
    variables = JSON.parse(field("variables").value || "{}");
  } catch (error) {
    status.textContent = "";
    answer.textContent = `Variables are not valid JSON: ${error.message}`;
    return;
  }
  status.textContent = "…";
  const startedAt = performance.now();
  try {
    const response = await fetch("/graphql", {
      method: "POST",
      headers: {
        "Content-Type": "application/json",
        Accept: "application/graphql-response+json",
        Authorization: `Bearer ${field("token").value.trim()}`,
      },
      body: JSON.stringify({ query: field("query").value, variables }),
    });
    const text = await response.text();
    status.textContent = `${response.status} · ${Math.round(performance.now() - startedAt)} ms`;
    try {
      answer.textContent = JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      answer.textContent = text;
    }
  } catch (error) {
    status.textContent = "";
    answer.textContent = `The server cannot be reached: ${error.message}`;
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    run();
  }
});
field("token").value = sessionStorage.getItem("token") || "";
field("token").addEventListener("change", () => sessionStorage.setItem("token", field("token").value));
