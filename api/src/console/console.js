"use strict";

// GraphiQL with the token of the page, which is sent with every request and kept in this tab only.
const token = document.getElementById("token");
token.value = sessionStorage.getItem("token") || "";
token.addEventListener("change", () => sessionStorage.setItem("token", token.value));

const send = GraphiQL.createFetcher({ url: "/graphql" });
const fetcher = (request, options) =>
  send(request, { ...options, headers: { Authorization: `Bearer ${token.value.trim()}`, ...options?.headers } });
const defaultQuery = document.getElementById("query").content.textContent;

ReactDOM.createRoot(document.getElementById("graphiql")).render(
  React.createElement(GraphiQL, { fetcher, defaultQuery, shouldPersistHeaders: false }),
);
