# Image of the product binary. Build: docker build -t cartulary .
FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends cmake libssl-dev pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --package cartulary --bin cartulary && cp target/release/cartulary /cartulary

FROM debian:bookworm-slim
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates curl libssl3 \
    && rm -rf /var/lib/apt/lists/* && useradd --system --uid 10001 cartulary
COPY --from=build /cartulary /usr/local/bin/cartulary
USER 10001
# The loopback address of a container cannot be reached from outside. Port 8481 belongs into a private network.
ENV CARTULARY_LISTEN=0.0.0.0:8480 CARTULARY_PEER_LISTEN=0.0.0.0:8481
EXPOSE 8480 8481
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s CMD curl -fsS http://127.0.0.1:8480/live
ENTRYPOINT ["cartulary"]
CMD ["serve", "--all"]
